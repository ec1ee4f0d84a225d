"""`apply`: asking, carrying out, and what a person reads of it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Tuple, Union

import pytest

from reconciler.core.world import DomainView, GuestState, Unknown
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.mark import drop_owner

from .fakes import FakeServices, applied, call, manifests

LIMIT = 30.0  # seconds; only a failure takes that long
ROOT = {"name": "root", "bus": "sata", "size": "2GiB"}
FORMER: Mapping[str, Any] = {"power": "running", "disks": [ROOT]}
LATER: Mapping[str, Any] = {
    "power": "running",
    "autostart": True,
    "disks": [{**ROOT, "bus": "virtio", "size": "1GiB"}],
}
NEW: Mapping[str, Any] = {"power": "running"}
BOTH = ["define vm1", "define vm2", "set_autostart vm2", "start vm1"]


@pytest.fixture
def two() -> FakeServices:
    """Return a host on which one machine is to be changed and one to be created."""
    services = applied(vm2=FORMER)
    services.files = manifests(vm1=NEW, vm2=LATER)
    return services


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "YES\n", " y \n"])
def test_yes_applies(two: FakeServices, answer: str) -> None:
    assert call(two, "apply", "p", answers=answer).status == 0
    assert sorted(two.host.writes) == BOTH


@pytest.mark.parametrize("answer", ["n\n", "\n", "yeah\n", "yes please\n", ""])
def test_anything_else_changes_nothing(two: FakeServices, answer: str) -> None:
    result = call(two, "apply", "p", answers=answer)
    assert (result.status, two.host.writes) == (1, [])
    assert result.out.endswith("Nothing was applied.\n")


def test_without_a_terminal_yes_must_be_said(two: FakeServices) -> None:
    result = call(two, "apply", "p")
    assert (result.status, two.host.writes) == (64, [])
    assert "nothing was applied: there is no terminal to ask on; give --yes" in result.err


def test_question_is_asked_where_the_person_is(two: FakeServices) -> None:
    piped = call(two, "apply", "p", answers="n\n")
    assert "Apply these changes? [y/N] " in piped.err
    seen = call(two, "apply", "p", answers="n\n", terminal=True)
    assert "Apply these changes? [y/N] " in seen.out


def test_empty_plan_asks_nothing() -> None:
    services = applied(vm1={})
    result = call(services, "apply", "p")
    assert (result.status, services.host.writes, result.err) == (0, [], "")
    assert "No changes: the host matches the manifests." in result.out


def test_only_withheld_says_that_nothing_is_applied() -> None:
    services = applied(vm2=FORMER)
    services.files = manifests(vm2={**FORMER, "disks": [{**ROOT, "size": "1GiB"}]})
    result = call(services, "apply", "p")
    assert (result.status, services.host.writes) == (0, [])
    assert result.out.endswith("Nothing to apply: every difference is withheld.\n")


def test_one_line_for_each_object_then_the_sum(two: FakeServices) -> None:
    lines = call(two, "apply", "p", "--yes").out.splitlines()
    assert sorted(lines[-3:-1]) == [
        "vm1: created and started",
        "vm2: 2 changes applied, 1 withheld, 1 waits for the next boot",
    ]
    assert lines[-1:] == [
        "Applied: 1 created, 1 changed, 0 adopted, 0 deleted, 0 failed.",
    ]


def test_what_was_applied_is_there_and_the_next_plan_is_empty(two: FakeServices) -> None:
    call(two, "apply", "p", "--yes")
    assert two.host.views["vm1"].state is GuestState.RUNNING
    assert two.host.views["vm2"].autostart
    result = call(two, "plan", "p")
    assert "0 to create, 0 to change" in result.out
    assert result.out.splitlines()[-1].endswith("1 unchanged, 1 withheld.")


def test_failed_object_is_told_and_the_others_go_on(two: FakeServices) -> None:
    two.host.failures["define vm1"] = TerminalError("no space left")
    result = call(two, "apply", "p", "--yes")
    assert result.status == 1
    assert result.err == "virt-reconciler: error: vm1: no space left\n"
    assert result.out.splitlines()[-2:] == [
        "vm2: 2 changes applied, 1 withheld, 1 waits for the next boot",
        "Applied: 0 created, 1 changed, 0 adopted, 0 deleted, 1 failed (vm1).",
    ]


def test_what_a_failed_machine_has_kept_is_counted(two: FakeServices) -> None:
    two.host.failures["start vm1"] = TerminalError("not enough memory")
    result = call(two, "apply", "p", "--yes")
    assert result.status == 1
    assert "vm1: defined but not started: not enough memory" in result.err
    assert result.out.splitlines()[-1] == (
        "Applied: 1 created (1 not started), 1 changed, 0 adopted, 0 deleted, 1 failed (vm1)."
    )


RESTART = {"lifecycle": {"disruption": "restart"}}
# From what is there to what is to be there: the words of the result.
POWER: Dict[str, Tuple[Mapping[str, Any], Mapping[str, Any], str]] = {
    "cycle": (
        {**FORMER, **RESTART},
        {**FORMER, **RESTART, "disks": [{**ROOT, "bus": "virtio"}]},
        "1 change applied, restarted",
    ),
    "stop": ({"power": "running"}, {"power": "stopped"}, "1 change applied, shut down"),
    "start": ({"power": "stopped"}, {"power": "running"}, "1 change applied, started"),
}


@pytest.mark.parametrize("case", POWER)
def test_power_is_told(case: str) -> None:
    former, later, words = POWER[case]
    services = applied(vm1=former)
    services.files = manifests(vm1=later)
    assert f"vm1: {words}\n" in call(services, "apply", "p", "--yes").out


def test_interrupt_says_where_and_is_130(two: FakeServices) -> None:
    two.host.failures["start vm1"] = KeyboardInterrupt()
    result = call(two, "apply", "p", "--yes")
    assert result.status == 130
    assert "interrupted at vm1" in result.err


class Crowd:
    """Counts who defines a machine at the same time; as many as are expected meet."""

    def __init__(self, expected: int) -> None:
        self.meeting = threading.Barrier(expected)
        self.lock = threading.Lock()
        self.present = self.most = 0

    def meet(self, _call: str) -> None:
        """Wait for the others."""
        with self.lock:
            self.present += 1
            self.most = max(self.most, self.present)
        self.meeting.wait(LIMIT)
        with self.lock:
            self.present -= 1


@pytest.mark.parametrize(
    ("words", "lanes"), [((), 4), (("--parallel", "1"), 1), (("--parallel=64",), 64)]
)
def test_as_many_objects_at_a_time_as_the_person_says(words: Tuple[str, ...], lanes: int) -> None:
    specs: Dict[str, Mapping[str, Any]] = {f"vm{number}": {} for number in range(2 * lanes)}
    services, crowd = FakeServices(manifests(**specs)), Crowd(lanes)
    services.host.watch = crowd.meet
    result = call(services, "apply", "p", "--yes", *words)
    assert (result.status, crowd.most) == (0, lanes), result.err


@pytest.mark.parametrize("number", ["0", "65", "-1", "four", "1.5", ""])
def test_a_number_of_objects_that_makes_no_sense_is_wrong_usage(
    two: FakeServices, number: str
) -> None:
    result = call(two, "apply", "p", "--yes", f"--parallel={number}")
    assert (result.status, two.host.writes) == (64, [])
    assert f"{number!r} is not a number of objects from 1 to 64" in result.err


TEMPLATE = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: base}
spec: {volume: base.qcow2, os: rocky9, generalized: by hand}
"""


@pytest.fixture
def cloning() -> FakeServices:
    """Return a host on which a machine is to be made by a copy of an image."""
    services = applied(maker={"disks": [{"name": "base", "size": "100MiB"}]})
    [volume] = services.host.pools["default"].volumes.values()
    services.host.storage.rename(volume, "base.qcow2")
    services.host.views.clear()
    root = {"name": "root", "source": {"template": "base", "clone": "full"}}
    services.files = {**manifests(vm1={"disks": [root]}), "base.yaml": TEMPLATE}
    return services


def test_progress_in_a_pipe_is_a_line_every_tenth(cloning: FakeServices) -> None:
    result = call(cloning, "apply", "p", "--yes")
    assert result.status == 0, result
    lines = [line for line in result.out.splitlines() if "% of 100.0MiB" in line]
    assert len(lines) == 10
    assert lines[0] == "vm1-root.qcow2:  10% of 100.0MiB (10.0MiB)"


def test_progress_on_a_terminal_is_one_line_rewritten_and_then_gone(cloning: FakeServices) -> None:
    result = call(cloning, "apply", "p", "--yes", terminal=True)
    assert "\rvm1-root.qcow2: 100% of 100.0MiB (100.0MiB)\033[K\r\033[Kvm1: created" in result.out


def test_progress_on_a_dumb_terminal_is_plain(cloning: FakeServices) -> None:
    result = call(cloning, "apply", "p", "--yes", terminal=True, environ={"TERM": "dumb"})
    assert "% of 100.0MiB" in result.out
    assert "\r" not in result.out


def test_plan_file_is_applied_alone_and_never_left_out_unseen(tmp_path: Path) -> None:
    kept, manifest = tmp_path / "kept.plan", tmp_path / "vm.yaml"
    kept.touch()
    manifest.touch()
    result = call(FakeServices(), "apply", "--yes", str(kept), str(manifest))
    assert result.status == 64
    assert "kept.plan: is not a manifest (*.yaml, *.yml)" in result.err
    assert "a plan file must be the only argument" in result.err


def test_a_plan_file_is_applied_as_it_was_written(two: FakeServices, tmp_path: Path) -> None:
    path = str(tmp_path / "kept.plan")
    call(two, "plan", "--out", path, "p")
    assert call(two, "apply", "--yes", path).status == 0
    assert sorted(two.host.writes) == BOTH


def drop_mark(view: DomainView) -> DomainView:
    """Return a domain that is not managed."""
    return replace(view, persistent_xml=drop_owner(view.persistent_xml))


# How vm1 is when the plan is made: as its manifest says, not managed, not to be read.
KEPT: Dict[str, Callable[[DomainView], Union[DomainView, Unknown]]] = {
    "none": lambda view: view,
    "withheld": drop_mark,
    "failed": lambda _view: Unknown("libvirt does not answer"),
}


@pytest.mark.parametrize("kept", KEPT)
def test_what_a_kept_plan_leaves_alone_is_not_shown_as_if_it_were_done(
    kept: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "kept.plan")
    services = applied(vm1={"autostart": False}, vm2=FORMER)
    services.files = manifests(vm1={"autostart": False}, vm2=LATER)
    view = services.host.views["vm1"]
    services.host.snapshot.domains["vm1"] = KEPT[kept](view)  # type: ignore[index]  # in memory
    call(services, "plan", "--out", path, "p")
    services.host.views["vm1"] = replace(view, autostart=True)
    result = call(services, "apply", "--yes", path)
    assert "! vm1: 1 change withheld, the plan file does not change it; plan again" in result.out
    assert "0 to create, 1 to change" in result.out
    assert services.host.writes == ["define vm2", "set_autostart vm2"]
