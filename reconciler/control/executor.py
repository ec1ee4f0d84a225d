"""Carry out a plan: every action by its kind, each after what it needs."""

from __future__ import annotations

from typing import Callable, Tuple

from reconciler.control.action_lanes import (
    ActionLanes,
    Interruption,
    LaneClock,
    LaneReporter,
    find_order,
)
from reconciler.control.ports import Clock, Host, Reporter
from reconciler.core.manifest import Desired
from reconciler.core.plan import Action, Outcome, Plan
from reconciler.kinds.api import find_kind


def execute(
    host: Host, desired: Desired, todo: Plan, report: Reporter, clock: Clock
) -> Tuple[Outcome, ...]:
    """Carry out every action that has steps, one after the other; return how each ended."""
    return execute_in_lanes(host, desired, todo, lambda _: report, clock, lanes=1)


def execute_in_lanes(
    host: Host,
    desired: Desired,
    todo: Plan,
    report_on: Callable[[Action], Reporter],
    clock: Clock,
    lanes: int,
) -> Tuple[Outcome, ...]:
    """Carry out every action that has steps, `lanes` at a time, and return how each ended.

    `report_on` returns whom to tell of an action.
    """
    actions = [action for action in todo.actions if action.steps]

    def carry(action: Action, interruption: Interruption) -> Outcome:
        report = LaneReporter(report_on(action), interruption)
        timer = LaneClock(clock, interruption)
        return find_kind(action.kind).find_executor(action)(host, desired, action, report, timer)

    def withhold(action: Action, outcome: Outcome) -> None:
        report_on(action).finished(outcome)

    return ActionLanes(actions, find_order(actions, desired), carry, withhold).run(lanes)
