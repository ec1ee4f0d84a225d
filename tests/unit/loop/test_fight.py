"""A field that someone else keeps changing back is left alone, and no other."""

from __future__ import annotations

from reconciler.control.state import MOST, WINDOW, Corrections, describe_left
from reconciler.core.conditions import planned
from reconciler.core.plan import Action, ActionKind, Change, Effect
from tests.lab.keys import vm

POWER, CPUS = frozenset({"power"}), frozenset({"cpus.count"})


def corrected(times: int) -> Corrections:
    made = Corrections("g1")
    for second in range(times):
        made = made.plus(float(second), POWER)
    return made


def test_it_is_left_alone_after_so_many_corrections_and_not_before() -> None:
    assert corrected(MOST - 1).leave(10.0, POWER | CPUS).left == frozenset()
    assert corrected(MOST).leave(10.0, POWER | CPUS).left == POWER
    assert corrected(MOST).leave(WINDOW + 10, POWER).left == frozenset()


def test_it_stays_left_alone_though_nobody_changes_it_for_long() -> None:
    left = corrected(MOST).leave(10.0, POWER)
    assert left.leave(10 * WINDOW, CPUS).left == POWER


def test_the_message_names_field_count_and_command_once() -> None:
    [reason] = describe_left(vm("my vm"), corrected(MOST).leave(10.0, POWER)).values()
    assert reason == (
        "power was changed back by someone 5 times in 10 min; left alone. Find out who, then: "
        "virt-reconciler resume 'my vm'"
    )
    change = Change("power", "stopped", "running", Effect.WITHHELD, reason)
    verdict = planned(Action("VirtualMachine", "my vm", ActionKind.WITHHELD, (change,)))
    assert verdict.reason == f"withheld: {reason}"
    assert not verdict.stalled
