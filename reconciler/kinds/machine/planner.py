"""Make the plan: for this host and each wanted machine, what happens to it, as one action.

Pure: the same manifests, world and options give the same plan. One machine that cannot be planned
is a FAILED action with its reason, and never keeps the others from being planned.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import datetime
from functools import partial
from typing import Callable, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.faults import isolate
from reconciler.core.frozen import frozen
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.plan import Action, ActionKind, Plan, failed_action
from reconciler.core.world import Reading, Unknown, World
from reconciler.errors import FaultError, ReconcilerError
from reconciler.kinds.host.faults import find_host, is_named
from reconciler.kinds.host.planning import find_missing, find_notes, plan_host
from reconciler.kinds.machine.guests import describe_unknown
from reconciler.kinds.machine.planning.create import plan_create
from reconciler.kinds.machine.planning.marks import refuse_renamed
from reconciler.kinds.machine.planning.recreate import find_shared, plan_recreate, store_again
from reconciler.kinds.machine.planning.requirements import settle_requirements
from reconciler.kinds.machine.planning.states import MIGRATED, refuse_migrated, refuse_unstored
from reconciler.kinds.machine.planning.update import Holding, Planner, plan_update
from reconciler.kinds.machine.status import is_unfinished

KIND = "VirtualMachine"


@frozen
class PlanOptions:
    """What the person asked for besides the manifests.

    `adopt` names domains that may be taken over, `adopt_all` all that the manifests name. `now`
    is the host's local time, for maintenance windows; `revision` the manifests' Git commit.
    `unattended` says that no person sees the plan before it is carried out: the daemon's. `left`
    says of paths why they are left alone as they are. `here` names machines that no other host has,
    by a person's word.
    `migrated` says that the machine went to another host, where it may run.
    """

    adopt: FrozenSet[str] = frozenset()
    adopt_all: bool = False
    now: Optional[datetime] = None
    revision: Optional[str] = None
    unattended: bool = False
    left: Mapping[str, str] = field(default_factory=dict)
    here: FrozenSet[str] = frozenset()
    migrated: bool = False

    def adopts(self, name: str) -> bool:
        """Whether that domain may be taken over."""
        return self.adopt_all or name in self.adopt


def make_plan(desired: Desired, world: World, options: PlanOptions) -> Plan:
    """Plan this host's daemons, and every machine that is placed on it.

    Raises HostQuestion for what was not read of the host; see `observe` for who answers.
    """
    planners = find_planners(desired, world.host, options)
    return to_plan(tuple(plan(world) for plan in planners), world, options)


def find_planners(
    desired: Desired, host: str, options: PlanOptions
) -> Tuple[Callable[[World], Action], ...]:
    """Return what plans each object of the host, to be called with a world."""
    planners: List[Callable[[World], Action]] = [
        partial(_plan_in, manifest, desired, options)
        for manifest in desired.machines
        if is_placed_here(manifest, host)
    ]
    manifest = find_host(desired.hosts, host)
    if manifest is not None and manifest.mode is not None:
        planners.append(partial(plan_host, manifest))
    return tuple(planners)


def _plan_in(
    manifest: MachineManifest, desired: Desired, options: PlanOptions, world: World
) -> Action:
    return plan_machine(manifest, desired, world, options)


def to_plan(actions: Sequence[Action], world: World, options: PlanOptions) -> Plan:
    """Return the plan of these actions."""
    ordered = sorted(actions, key=lambda action: (action.kind, action.name))
    return Plan(world.host, world.uri, tuple(ordered), options.revision)


def is_placed_here(manifest: MachineManifest, host: str) -> bool:
    """Whether the manifest is for this host: it names none, or this one (short or full name)."""
    return manifest.host is None or is_named((manifest.host,), host)


def plan_machine(
    manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> Action:
    """Plan one machine; what is impossible becomes the action's reason."""
    missing = find_missing(manifest, world.daemons)
    if missing:
        return Action(KIND, manifest.name, ActionKind.WITHHELD, reason=missing)
    try:
        action = isolate(_plan_served, manifest, desired, world, options)
    except FaultError as error:
        return failed_action(KIND, manifest.name, error)
    busy = world.busy.get((KIND, manifest.name))
    if busy and action.action is not ActionKind.NONE:
        return Action(KIND, manifest.name, ActionKind.WITHHELD, reason=busy, transient=True)
    if not action.changes:
        return action
    warning = describe_unknown(manifest.machine.os)
    notes = (*find_notes(manifest, world), *((warning,) if warning else ()))
    return replace(action, notes=(*action.notes, *notes))


def _plan_served(
    manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> Action:
    reading = world.domains.get(manifest.name)
    if isinstance(reading, Unknown):
        reason = f"cannot be read, so nothing is changed: {reading.reason}"
        return Action(KIND, manifest.name, ActionKind.FAILED, reason=reason, transient=True)
    try:
        if options.migrated and (reading is None or not reading.is_active):
            return _hold_migrated(manifest, reading, desired, world, options)
        if reading is None:
            refuse_renamed(manifest.name, world)
            action = _plan_absent(manifest, desired, world, options)
        else:
            action = _plan_found(manifest, reading, desired, world, options)
        return settle_requirements(action, manifest, world)
    except ReconcilerError as error:
        return failed_action(KIND, manifest.name, error)


def _hold_migrated(
    manifest: MachineManifest,
    reading: Optional[Reading],
    desired: Desired,
    world: World,
    options: PlanOptions,
) -> Action:
    """Plan a machine that went to another host: it is neither made nor started a second time."""
    if reading is not None:
        away = replace(reading, view=replace(reading.view, state_reason=MIGRATED))
        return _plan_found(manifest, away, desired, world, options)
    return Action(KIND, manifest.name, ActionKind.WITHHELD, reason=refuse_migrated(manifest.name))


def _plan_absent(
    manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> Action:
    """Plan a machine that is not there: as it was, if that is known, else a new one."""
    lost = world.lost.get(manifest.name)
    if lost is not None and world.find_holders("uuid", lost.reading.view.uuid):
        lost = None  # it is not lost: it was renamed, and goes by another name now
    elsewhere = world.elsewhere.get(manifest.name, "")
    if lost is not None and not elsewhere:
        elsewhere = find_shared(manifest, lost, world)
    if elsewhere and manifest.name not in options.here:
        held = ActionKind.WITHHELD
        return Action(KIND, manifest.name, held, reason=elsewhere, transient=True)
    action = lost and plan_recreate(
        manifest, lost, desired, world, Planner(options.now, options.unattended, options.left)
    )
    return action or plan_create(manifest, desired, world)


def _plan_found(
    manifest: MachineManifest,
    reading: Reading,
    desired: Desired,
    world: World,
    options: PlanOptions,
) -> Action:
    planner = Planner(options.now, options.unattended, options.left)
    holding = _find_holding(reading, options)
    if is_unfinished(reading):
        return plan_create(manifest, desired, world, reading)
    if reading.view.persistent:
        return plan_update(manifest, reading, desired, world, planner, holding)
    lost = world.lost.get(manifest.name)
    is_known = lost is not None and lost.reading.view.uuid == reading.view.uuid
    refuse_unstored(reading.view, may_store=is_known and holding is Holding.OURS)
    return store_again(plan_update(manifest, reading, desired, world, planner, holding), reading)


def _find_holding(reading: Reading, options: PlanOptions) -> Holding:
    name = reading.view.name
    if reading.owner is not None and reading.owner.name == name:
        return Holding.OURS
    return Holding.ADOPTED if options.adopts(name) else Holding.FOREIGN
