"""`apply`: asking, carrying out, and what a person reads of it."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import pytest

from reconciler.control.ports import Reporter
from reconciler.core.manifest import Desired
from reconciler.core.plan import (
    ActionKind,
    Change,
    Effect,
    Outcome,
    Plan,
    SetAutostart,
    Shutdown,
    Start,
)

from .fakes import FakeLoaded, FakeParts, action, call, fail, manifest, plan_of

STEP = (SetAutostart(enabled=True),)
TWO = plan_of(
    action("vm1", ActionKind.CREATE, steps=(Start(),)),
    action(
        "vm2",
        ActionKind.UPDATE,
        changes=(
            Change("memory.size", 1, 2, Effect.LIVE),
            Change("disks[root].bus", "sata", "virtio", Effect.NEXT_BOOT),
            Change("disks[root].size", 2, 1, Effect.WITHHELD),
        ),
        steps=STEP,
        pending=("disks[root].bus",),
    ),
)


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "YES\n", " y \n"])
def test_yes_applies(answer: str) -> None:
    parts = FakeParts(planned=TWO)
    assert call(parts, "apply", "p", answers=answer).status == 0
    assert len(parts.executed) == 1


@pytest.mark.parametrize("answer", ["n\n", "\n", "yeah\n", "yes please\n", ""])
def test_anything_else_changes_nothing(answer: str) -> None:
    parts = FakeParts(planned=TWO)
    result = call(parts, "apply", "p", answers=answer)
    assert (result.status, parts.executed) == (1, [])
    assert result.out.endswith("Nothing was applied.\n")


def test_without_a_terminal_yes_must_be_said() -> None:
    parts = FakeParts(planned=TWO)
    result = call(parts, "apply", "p")
    assert (result.status, parts.executed) == (64, [])
    assert "--yes" in result.err


def test_question_is_asked_where_the_person_is() -> None:
    piped = call(FakeParts(planned=TWO), "apply", "p", answers="y\n")
    assert "Apply these changes? [y/N] " in piped.err
    seen = call(FakeParts(planned=TWO), "apply", "p", answers="y\n", terminal=True)
    assert "Apply these changes? [y/N] " in seen.out


def test_empty_plan_asks_nothing() -> None:
    parts = FakeParts(planned=plan_of(action("vm1", ActionKind.NONE)))
    result = call(parts, "apply", "p")
    assert (result.status, parts.executed, result.err) == (0, [], "")
    assert "No changes: the host matches the manifests." in result.out


def test_only_withheld_says_that_nothing_is_applied() -> None:
    parts = FakeParts(planned=plan_of(action("vm1", ActionKind.WITHHELD)))
    result = call(parts, "apply", "p")
    assert (result.status, parts.executed) == (0, [])
    assert result.out.endswith("Nothing to apply: every difference is withheld.\n")


def test_one_line_for_each_object_then_the_sum() -> None:
    lines = call(FakeParts(planned=TWO), "apply", "p", "--yes").out.splitlines()
    assert lines[-3:] == [
        "vm1: created and started",
        "vm2: 2 changes applied, 1 withheld, 1 waits for the next boot",
        "Applied: 1 created, 1 changed, 0 adopted, 0 deleted, 0 failed.",
    ]


def test_failed_object_is_told_and_the_others_go_on() -> None:
    result = call(FakeParts(planned=TWO, carry=fail("vm1")), "apply", "p", "--yes")
    assert result.status == 1
    assert result.err == "virt-reconciler: error: vm1: no space left in pool\n"
    assert result.out.splitlines()[-2:] == [
        "vm2: 2 changes applied, 1 withheld, 1 waits for the next boot",
        "Applied: 0 created, 1 changed, 0 adopted, 0 deleted, 1 failed (vm1).",
    ]


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        pytest.param(
            (Shutdown(1, force=False), Start()), "1 change applied, restarted", id="cycle"
        ),
        pytest.param((Shutdown(1, force=False),), "1 change applied, shut down", id="stop"),
        pytest.param((Start(),), "1 change applied, started", id="start"),
    ],
)
def test_power_is_told(steps: Tuple[object, ...], words: str) -> None:
    change = (Change("power", None, None, Effect.LIVE),)
    plan = plan_of(action("vm1", ActionKind.UPDATE, changes=change, steps=steps))
    assert f"vm1: {words}\n" in call(FakeParts(planned=plan), "apply", "p", "--yes").out


def test_interrupt_says_where_and_is_130() -> None:
    def interrupted(plan: Plan, report: Reporter) -> Tuple[Outcome, ...]:
        report.started(plan.actions[0])
        raise KeyboardInterrupt

    result = call(FakeParts(planned=TWO, carry=interrupted), "apply", "p", "--yes")
    assert result.status == 130
    assert "interrupted at vm1" in result.err


@pytest.mark.parametrize(
    ("words", "lanes"), [((), 4), (("--parallel", "1"), 1), (("--parallel=64",), 64)]
)
def test_as_many_objects_at_a_time_as_the_person_says(words: Tuple[str, ...], lanes: int) -> None:
    parts = FakeParts(planned=TWO)
    assert call(parts, "apply", "p", "--yes", *words).status == 0
    assert parts.lanes == [lanes]


@pytest.mark.parametrize("number", ["0", "65", "-1", "four", "1.5", ""])
def test_a_number_of_objects_that_makes_no_sense_is_wrong_usage(number: str) -> None:
    parts = FakeParts(planned=TWO)
    result = call(parts, "apply", "p", "--yes", f"--parallel={number}")
    assert (result.status, parts.executed) == (64, [])
    assert f"{number!r} is not a number of objects from 1 to 64" in result.err


def cloning(name: Optional[str] = "root") -> object:
    def carry(plan: Plan, report: Reporter) -> Tuple[Outcome, ...]:
        report.started(plan.actions[0])
        for done in range(0, 101, 5):
            report.progress(str(name), done * 1024**2, 100 * 1024**2)
        outcome = Outcome("vm1", ActionKind.CREATE)
        report.finished(outcome)
        return (outcome,)

    return carry


def test_progress_in_a_pipe_is_a_line_every_tenth() -> None:
    result = call(FakeParts(planned=TWO, carry=cloning()), "apply", "p", "--yes")  # type: ignore[arg-type]
    lines = [line for line in result.out.splitlines() if line.startswith("vm1: root:")]
    assert len(lines) == 10
    assert lines[0] == "vm1: root:  10% of 100.0MiB (10.0MiB)"


def test_progress_on_a_terminal_is_one_line_rewritten_and_then_gone() -> None:
    parts = FakeParts(planned=TWO, carry=cloning())  # type: ignore[arg-type]
    result = call(parts, "apply", "p", "--yes", terminal=True)
    assert "\rvm1: root: 100% of 100.0MiB (100.0MiB)\033[K\r\033[Kvm1: created" in result.out


def test_progress_on_a_dumb_terminal_is_plain() -> None:
    parts = FakeParts(planned=TWO, carry=cloning())  # type: ignore[arg-type]
    result = call(parts, "apply", "p", "--yes", terminal=True, environ={"TERM": "dumb"})
    assert "\r" not in result.out


def test_plan_file_is_applied_alone_and_never_left_out_unseen(tmp_path: Path) -> None:
    kept, manifest = tmp_path / "kept.plan", tmp_path / "vm.yaml"
    kept.touch()
    manifest.touch()
    result = call(FakeParts(), "apply", "--yes", str(kept), str(manifest))
    assert result.status == 64
    assert "kept.plan: is not a manifest (*.yaml, *.yml)" in result.err
    assert "a plan file must be the only argument" in result.err


@pytest.mark.parametrize(
    "kept",
    [ActionKind.NONE, ActionKind.WITHHELD, ActionKind.FAILED],
)
def test_what_a_kept_plan_leaves_alone_is_not_shown_as_if_it_were_done(
    kept: ActionKind, tmp_path: Path
) -> None:
    path = str(tmp_path / "kept.plan")
    loaded = FakeLoaded(Desired.of(manifest("vm1"), manifest("vm2")))
    change = Change("autostart", observed=False, desired=True, effect=Effect.LIVE)
    vm1, vm2 = (
        action(name, ActionKind.UPDATE, changes=(change,), steps=STEP) for name in ("vm1", "vm2")
    )
    call(FakeParts(loaded, plan_of(action("vm1", kept), vm2)), "plan", "--out", path, "p")
    parts = FakeParts(loaded, plan_of(vm1, vm2))
    result = call(parts, "apply", "--yes", path)
    assert "! vm1: 1 change withheld, the plan file does not change it; plan again" in result.out
    assert "0 to create, 1 to change" in result.out
    assert [one.name for one in parts.executed[0].actions if one.steps] == ["vm2"]
