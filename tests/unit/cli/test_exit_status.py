"""Every exit status of the contract, by what happened."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Tuple

import pytest

from reconciler.core.world import Unknown
from reconciler.errors import RefusedError, TerminalError, TransientError
from reconciler.kinds.machine.domain.mark import drop_owner

from .fakes import BAD, FakeServices, applied, call, manifests

ROOT = {"name": "root", "bus": "sata", "size": "2GiB"}
FORMER: Mapping[str, Any] = {"power": "running", "disks": [ROOT]}
BOOT: Mapping[str, Any] = {**FORMER, "disks": [{**ROOT, "bus": "virtio"}]}
RESTART = {"lifecycle": {"disruption": "restart"}}


def changed(former: Mapping[str, Any], later: Mapping[str, Any]) -> FakeServices:
    """Return a host with a machine as the one, and a manifest that says the other."""
    services = applied(vm1=former)
    services.files = manifests(vm1=later)
    return services


def live() -> FakeServices:
    return changed(FORMER, {**FORMER, "autostart": True})


def waiting() -> FakeServices:
    services = changed(FORMER, BOOT)
    assert call(services, "apply", "vm/", "--yes").status == 0
    return services


def foreign() -> FakeServices:
    services = live()
    xml = services.host.views["vm1"].persistent_xml
    services.host.change("vm1", persistent_xml=drop_owner(xml))
    return services


def failed() -> FakeServices:
    services = live()
    services.host.snapshot.domains["vm1"] = Unknown("no answer")  # type: ignore[index]  # in memory
    return services


HOSTS: Dict[str, Callable[[], FakeServices]] = {
    "no change": lambda: applied(vm1=FORMER),
    "only waiting for a restart": waiting,
    "live change": live,
    "change at the next boot": lambda: changed(FORMER, BOOT),
    "restart": lambda: changed({**FORMER, **RESTART}, {**BOOT, **RESTART}),
    "guest is stopped": lambda: changed(FORMER, {**FORMER, "power": "stopped"}),
    "withheld": lambda: changed(FORMER, {**FORMER, "disks": [{**ROOT, "size": "1GiB"}]}),
    "not managed": foreign,
    "could not be planned": failed,
}
PLAN = {
    "no change": (0, 0),
    "only waiting for a restart": (0, 0),
    "live change": (0, 2),
    "change at the next boot": (0, 2),
    "restart": (0, 3),
    "guest is stopped": (0, 3),
    "withheld": (0, 2),
    "not managed": (0, 2),
    "could not be planned": (1, 1),
}
APPLY = {
    "no change": 0,
    "live change": 0,
    "withheld": 0,
    "not managed": 4,
    "could not be planned": 1,
}


@pytest.mark.parametrize("case", PLAN)
def test_plan(case: str) -> None:
    services = HOSTS[case]()
    found = call(services, "plan", "v").status, call(services, "plan", "v", "--detailed-exitcode")
    assert (found[0], found[1].status) == PLAN[case], found[1]


@pytest.mark.parametrize("case", APPLY)
def test_apply(case: str) -> None:
    assert call(HOSTS[case](), "apply", "vm/", "--yes").status == APPLY[case]


@pytest.mark.parametrize(
    "argv", [("plan", "vm/"), ("plan", "vm/", "--detailed-exitcode"), ("apply", "vm/", "--yes")]
)
def test_invalid_manifest_beside_valid_ones_is_65_and_the_valid_ones_are_handled(
    argv: Tuple[str, ...],
) -> None:
    services = live()
    services.files = {**services.files, "a.yaml": BAD}
    result = call(services, *argv)
    assert result.status == 65
    assert "a.yaml:1:" in result.err
    assert "not in this plan" in result.err
    assert "autostart: false → true" in result.out
    assert len(services.host.writes) == 2 * argv.count("--yes"), services.host.writes


@pytest.mark.parametrize("verb", ["validate", "plan", "apply"])
def test_only_invalid_manifests_is_65_without_reaching_for_libvirt(verb: str) -> None:
    services = FakeServices({"a.yaml": BAD})
    result = call(services, verb, "vm/")
    assert (result.status, result.out) == (65, "")
    assert all(line.startswith("a.yaml:1:") for line in result.err.splitlines())
    assert services.uris == []


def test_failure_outranks_an_invalid_manifest() -> None:
    services = live()
    services.files = {**services.files, "a.yaml": BAD}
    services.host.failures["set_autostart"] = TerminalError("no")
    assert call(services, "apply", "vm/", "--yes").status == 1


def test_valid_manifests_are_0_and_counted() -> None:
    result = call(FakeServices(), "validate", "vm/")
    assert (result.status, result.out) == (0, "Valid: 1 virtual machine.\n")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(TransientError("cannot reach libvirt"), 1, id="libvirt-away"),
        pytest.param(TerminalError("no such driver"), 1, id="libvirt-refuses"),
        pytest.param(RefusedError("stale plan"), 4, id="safety-rail"),
    ],
)
def test_our_errors_are_one_line_without_traceback(error: Exception, status: int) -> None:
    result = call(FakeServices(unreachable=error), "plan", "vm/")
    assert (result.status, result.out) == (status, "")
    assert result.err == f"virt-reconciler: error: {error}\n"


def test_verbose_says_what_lies_behind_an_error() -> None:
    error = TransientError("cannot reach libvirt")
    error.__cause__ = OSError("no socket")
    result = call(FakeServices(unreachable=error), "-v", "plan", "vm/")
    assert result.err.splitlines()[1] == "  because: OSError: no socket"


def test_error_of_many_lines_is_shown_as_one() -> None:
    result = call(FakeServices(unreachable=TerminalError("first\nsecond\x1b[2J")), "plan", "vm/")
    assert result.err == "virt-reconciler: error: first second\\x1b[2J\n"


def test_bug_is_called_one_and_shows_its_traceback() -> None:
    result = call(FakeServices(unreachable=KeyError("oops")), "plan", "vm/")
    assert result.status == 1
    assert result.err.startswith("virt-reconciler: error: this is a bug in virt-reconciler")
    assert "KeyError: 'oops'" in result.err


def test_interrupt_is_130_and_quiet() -> None:
    result = call(FakeServices(unreachable=KeyboardInterrupt()), "plan", "vm/")
    assert (result.status, result.out, result.err) == (130, "", "")


def test_a_package_that_only_a_host_needs_is_named_and_is_no_bug() -> None:
    missing = ModuleNotFoundError("No module named 'libvirt'", name="libvirt")
    result = call(FakeServices(unreachable=missing), "plan", "vms")
    assert result.status == 1
    assert "dnf install python3-libvirt" in result.err
    assert "bug" not in result.err


def test_any_other_module_that_is_missing_is_a_bug() -> None:
    missing = ModuleNotFoundError("No module named 'nothing'", name="nothing")
    result = call(FakeServices(unreachable=missing), "plan", "vms")
    assert "this is a bug in virt-reconciler" in result.err
