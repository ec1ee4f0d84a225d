"""From a machine's history to a plan that leads back, and the check that it led there."""

from __future__ import annotations

from datetime import datetime
from typing import Optional, Sequence

from reconciler.control.ports import Host
from reconciler.core.frozen import frozen, replace
from reconciler.core.history import ChangeRecord, find_former_sizes
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.plan import Action, Define, Plan
from reconciler.core.world import Reading, World
from reconciler.core.xmltree import digest
from reconciler.errors import BusyError, NotFoundError, RefusedError, TerminalError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.consequences import find_all
from reconciler.kinds.machine.observe import ObservedHost, observe
from reconciler.kinds.machine.planning.rollback import GONE as GONE_VOLUME
from reconciler.kinds.machine.planning.rollback import find_target, plan_rollback

GONE = (
    "the domain no longer exists; `history {name} {number}` shows its former definition, "
    "for `virsh define`; applying its manifest restores it with its own disks"
)


@frozen
class RollbackPlan:
    """The plan, and what it is made from: what the machine shall be again, as a manifest."""

    desired: Desired
    observation: ObservedHost
    plan: Plan


def plan_way_back(
    host: Host, past: ChangeRecord, entries: Sequence[ChangeRecord], now: Optional[datetime]
) -> RollbackPlan:
    """Observe the machine and plan what leads back to before that change.

    `entries` are all that is known of it. Raises RefusedError where there is no way back, and
    TerminalError where a change is impossible.
    """
    present = _read(host, past)
    target = find_target(past, present, find_former_sizes(entries, past.number))
    desired = Desired.of(target.manifest)
    observation = observe(host, desired, {past.name: present.view})
    busy = observation.world.busy.get(past.key)
    if busy:
        raise BusyError(busy)

    def plan_in(world: World) -> Action:
        found = world.domains[past.name]
        if not isinstance(found, Reading):
            raise TerminalError(f"{past.name}: cannot be read: {found.reason}")
        return plan_rollback(target, found, world, now)

    action = observation.make(plan_in)
    world = observation.world
    plan = Plan(world.host, world.uri, (action,), target.manifest.revision)
    return RollbackPlan(Desired.of(_leave_gone(target.manifest, action)), observation, plan)


def _leave_gone(manifest: MachineManifest, action: Action) -> MachineManifest:
    """Want no disk whose volume is gone: what is done is held against this."""
    gone = {change.path for change in action.changes if change.reason == GONE_VOLUME}
    disks = tuple(
        replace(disk, source=None) if f"disks[{disk.name}].source" in gone else disk
        for disk in manifest.machine.disks or ()
        if f"disks[{disk.name}]" not in gone
    )
    return replace(manifest, machine=replace(manifest.machine, disks=disks))


def _read(host: Host, past: ChangeRecord) -> Reading:
    try:
        return read(host.domains.read_domain(past.name))
    except NotFoundError as error:
        why = GONE.format(name=past.name, number=past.number)
        raise RefusedError(f"{past.name}: {why}") from error


def find_kept_otherwise(host: Host, way: RollbackPlan) -> str:
    """Return how the stored definition is not what the plan was to store; empty if it is."""
    [action] = way.plan.actions
    defined = [step.xml for step in action.steps if isinstance(step, Define)]
    if not defined:
        return ""
    wanted = defined[-1]
    stored = host.domains.read_domain(action.name).persistent_xml
    if digest(stored) == digest(wanted):
        return ""
    old, new = find_all(wanted, stored)
    return "; ".join((*(f"without {line}" for line in old), *(f"with {line}" for line in new)))
