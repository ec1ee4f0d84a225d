"""Carry out plans and single actions as the product does, one after the other."""

from __future__ import annotations

from typing import Tuple

from reconciler.control.executor import Executor, make_lanes
from reconciler.control.ports import Clock, Host, Reporter
from reconciler.core.manifest import Desired
from reconciler.core.plan import Action, Outcome, Plan


def execute(
    host: Host, desired: Desired, todo: Plan, report: Reporter, clock: Clock
) -> Tuple[Outcome, ...]:
    """Carry out every action of a plan that has steps; return how each ended."""
    return make_lanes(Executor(host, desired, clock, lambda _: report), todo).run(1)


def execute_action(
    host: Host, desired: Desired, action: Action, report: Reporter, clock: Clock
) -> Outcome:
    """Carry out one action; return how it ended."""
    return Executor(host, desired, clock, lambda _: report).carry_out(action)
