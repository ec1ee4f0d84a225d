"""Make the plan: what happens to each object of this host, as one action.

Pure: the same manifests, world and options give the same plan. One object that cannot be planned
is a FAILED action with its reason, and never keeps the others from being planned.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, List, Sequence, Tuple

from reconciler.core.kinds import PureKind, find_row
from reconciler.core.manifest import Desired
from reconciler.core.plan import Action, Plan, PlanOptions
from reconciler.core.world import World


def make_plan(desired: Desired, world: World, options: PlanOptions) -> Plan:
    """Plan every object that is placed on this host.

    Raises HostQuestion for what was not read of the host; see `observe` for who answers.
    """
    planners = find_planners(desired, world.host, options)
    return to_plan(tuple(plan(world) for plan in planners), world, options)


def find_planners(
    desired: Desired, host: str, options: PlanOptions
) -> Tuple[Callable[[World], Action], ...]:
    """Return what plans each object of the host, to be called with a world."""
    planners: List[Callable[[World], Action]] = []
    for key, manifest in desired.objects.items():
        row = find_row(key.kind)
        if row.is_planned(manifest) and row.is_here(manifest, host):
            planners.append(partial(_plan_in, row, manifest, desired, options))
    return tuple(planners)


def _plan_in(
    row: PureKind, manifest: Any, desired: Desired, options: PlanOptions, world: World
) -> Action:
    return row.plan(manifest, desired, world, options)


def to_plan(actions: Sequence[Action], world: World, options: PlanOptions) -> Plan:
    """Return the plan of these actions."""
    ordered = sorted(actions, key=lambda action: action.key)
    return Plan(world.host, world.uri, tuple(ordered), options.revision)
