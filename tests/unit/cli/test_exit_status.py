"""Every exit status of the contract, by what happened."""

from __future__ import annotations

from typing import Tuple

import pytest

from reconciler.core.manifest import Desired
from reconciler.core.plan import ActionKind, Change, Effect, Plan, SetAutostart, Shutdown, Start
from reconciler.errors import RefusedError, TerminalError, TransientError

from .fakes import ONE, PROBLEM, FakeLoaded, FakeParts, action, call, fail, plan_of

K = ActionKind
STEPS = (SetAutostart(enabled=True),)


def change(effect: Effect) -> Change:
    return Change("cpus.count", 1, 2, effect)


EMPTY = plan_of(action("vm1", K.NONE))
LIVE = plan_of(action("vm1", K.UPDATE, changes=(change(Effect.LIVE),), steps=STEPS))
BOOT = plan_of(action("vm1", K.UPDATE, changes=(change(Effect.NEXT_BOOT),), steps=STEPS))
RESTART = plan_of(
    action(
        "vm1",
        K.UPDATE,
        changes=(change(Effect.RESTART),),
        steps=(Shutdown(1, force=False), Start()),
    )
)
STOP = plan_of(
    action(
        "vm1",
        K.UPDATE,
        changes=(Change("power", "running", "stopped", Effect.LIVE),),
        steps=(Shutdown(1, force=False),),
    )
)
WITHHELD = plan_of(action("vm1", K.WITHHELD, changes=(change(Effect.WITHHELD),)))
FOREIGN = plan_of(action("vm1", K.ADOPT, reason="not managed yet"))
FAILED = plan_of(action("vm1", K.FAILED, reason="no pool 'fast'"))
WAITING = plan_of(action("vm1", K.NONE, pending=("disks[root].bus",)))
MIXED = FakeLoaded(ONE.desired, (PROBLEM,))
INVALID = FakeLoaded(Desired(), (PROBLEM,))


@pytest.mark.parametrize(
    ("plan", "plain", "detailed"),
    [
        pytest.param(EMPTY, 0, 0, id="no-change"),
        pytest.param(WAITING, 0, 0, id="only-waiting-for-a-restart"),
        pytest.param(LIVE, 0, 2, id="live-change"),
        pytest.param(BOOT, 0, 2, id="change-at-the-next-boot"),
        pytest.param(RESTART, 0, 3, id="restart"),
        pytest.param(STOP, 0, 3, id="guest-is-stopped"),
        pytest.param(WITHHELD, 0, 2, id="withheld"),
        pytest.param(FOREIGN, 0, 2, id="to-be-adopted-first"),
        pytest.param(FAILED, 1, 1, id="could-not-be-planned"),
    ],
)
def test_plan(plan: Plan, plain: int, detailed: int) -> None:
    assert call(FakeParts(planned=plan), "plan", "vm/").status == plain
    assert call(FakeParts(planned=plan), "plan", "vm/", "--detailed-exitcode").status == detailed


@pytest.mark.parametrize(
    ("plan", "status"),
    [
        pytest.param(EMPTY, 0, id="nothing-to-do"),
        pytest.param(LIVE, 0, id="done"),
        pytest.param(WITHHELD, 0, id="withheld-by-policy"),
        pytest.param(FOREIGN, 4, id="not-ours"),
        pytest.param(FAILED, 1, id="could-not-be-planned"),
    ],
)
def test_apply(plan: Plan, status: int) -> None:
    assert call(FakeParts(planned=plan), "apply", "vm/", "--yes").status == status


@pytest.mark.parametrize(
    "argv", [("plan", "vm/"), ("plan", "vm/", "--detailed-exitcode"), ("apply", "vm/", "--yes")]
)
def test_invalid_manifest_beside_valid_ones_is_65_and_the_valid_ones_are_handled(
    argv: Tuple[str, ...],
) -> None:
    parts = FakeParts(loaded=MIXED, planned=LIVE)
    result = call(parts, *argv)
    assert result.status == 65
    assert "a.yaml:3:5: spec.cpus: is required" in result.err
    assert "1 problem: not in this plan" in result.err
    assert "cpus.count: 1 → 2" in result.out
    assert len(parts.executed) == argv.count("--yes")


@pytest.mark.parametrize("verb", ["validate", "plan", "apply"])
def test_only_invalid_manifests_is_65_without_reaching_for_libvirt(verb: str) -> None:
    parts = FakeParts(loaded=INVALID)
    result = call(parts, verb, "vm/")
    assert (result.status, result.out) == (65, "")
    assert result.err == "a.yaml:3:5: spec.cpus: is required\n"
    assert parts.uris == []


def test_failure_outranks_an_invalid_manifest() -> None:
    parts = FakeParts(loaded=MIXED, planned=LIVE, carry=fail("vm1"))
    assert call(parts, "apply", "vm/", "--yes").status == 1


def test_valid_manifests_are_0_and_counted() -> None:
    result = call(FakeParts(), "validate", "vm/")
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
    result = call(FakeParts(unreachable=error), "plan", "vm/")
    assert (result.status, result.out) == (status, "")
    assert result.err == f"virt-reconciler: error: {error}\n"


def test_verbose_says_what_lies_behind_an_error() -> None:
    error = TransientError("cannot reach libvirt")
    error.__cause__ = OSError("no socket")
    result = call(FakeParts(unreachable=error), "-v", "plan", "vm/")
    assert result.err.splitlines()[1] == "  because: OSError: no socket"


def test_error_of_many_lines_is_shown_as_one() -> None:
    result = call(FakeParts(unreachable=TerminalError("first\nsecond\x1b[2J")), "plan", "vm/")
    assert result.err == "virt-reconciler: error: first second\\x1b[2J\n"


def test_bug_is_called_one_and_shows_its_traceback() -> None:
    result = call(FakeParts(unreachable=KeyError("oops")), "plan", "vm/")
    assert result.status == 1
    assert result.err.startswith("virt-reconciler: error: this is a bug in virt-reconciler")
    assert "KeyError: 'oops'" in result.err


def test_interrupt_is_130_and_quiet() -> None:
    parts = FakeParts()
    parts.unreachable = KeyboardInterrupt()  # type: ignore[assignment]  # raised like any other
    assert call(parts, "plan", "vm/") == call(parts, "plan", "vm/")
    result = call(parts, "plan", "vm/")
    assert (result.status, result.out, result.err) == (130, "", "")


def test_a_package_that_only_a_host_needs_is_named_and_is_no_bug() -> None:
    missing = ModuleNotFoundError("No module named 'libvirt'", name="libvirt")
    result = call(FakeParts(unreachable=missing), "plan", "vms")
    assert result.status == 1
    assert "dnf install python3-libvirt" in result.err
    assert "bug" not in result.err


def test_any_other_module_that_is_missing_is_a_bug() -> None:
    missing = ModuleNotFoundError("No module named 'nothing'", name="nothing")
    result = call(FakeParts(unreachable=missing), "plan", "vms")
    assert "this is a bug in virt-reconciler" in result.err
