"""From a machine's history to a plan that leads back, and the check that it led there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Optional, Sequence

from reconciler.control.observe import observe, read, read_pools
from reconciler.control.ports import Host
from reconciler.core.domain import digest
from reconciler.core.domain.rest import find_all
from reconciler.core.history import Past, find_former_sizes
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.needs import Needs
from reconciler.core.plan import Action, Define, Plan
from reconciler.core.planning.former import find_target
from reconciler.core.planning.rollback import GONE as GONE_VOLUME
from reconciler.core.planning.rollback import KIND, plan_rollback
from reconciler.core.world import Reading, World
from reconciler.errors import BusyError, NotFoundError, RefusedError, TerminalError

GONE = (
    "the domain is not there any more; `history {name} {number}` shows its former definition, "
    "which `virsh define` takes, and its manifest brings it back with its own disks"
)


@dataclass(frozen=True)
class WayBack:
    """The plan, and what it is made from: what the machine shall be again, as a manifest."""

    desired: Desired
    world: World
    plan: Plan


def plan_way_back(
    host: Host, past: Past, entries: Sequence[Past], now: Optional[datetime]
) -> WayBack:
    """Observe the machine and plan what leads back to before that change.

    `entries` are all that is known of it. Raises RefusedError where there is no way back, and
    TerminalError where a change is impossible.
    """
    present = _read(host, past)
    target = find_target(past, present, find_former_sizes(entries, past.number))
    desired = Desired.of(target.manifest)
    world = observe(host, desired, {past.name: present.view})
    world = replace(world, pools={**world.pools, **read_pools(host, Needs(all_pools=True))})
    busy = world.busy.get((KIND, past.name))
    if busy:
        raise BusyError(busy)
    found = world.domains[past.name]
    if not isinstance(found, Reading):
        raise TerminalError(f"{past.name}: cannot be read: {found.reason}")
    action = plan_rollback(target, found, world, now)
    plan = Plan(world.host, world.uri, (action,), target.manifest.revision)
    return WayBack(Desired.of(_leave_gone(target.manifest, action)), world, plan)


def _leave_gone(manifest: MachineManifest, action: Action) -> MachineManifest:
    """Want no disk whose volume is gone: what is done is held against this."""
    gone = {one.path for one in action.changes if one.reason == GONE_VOLUME}
    disks = tuple(
        replace(one, source=None) if f"disks[{one.name}].source" in gone else one
        for one in manifest.machine.disks or ()
        if f"disks[{one.name}]" not in gone
    )
    return replace(manifest, machine=replace(manifest.machine, disks=disks))


def _read(host: Host, past: Past) -> Reading:
    try:
        return read(host.domains.read_domain(past.name))
    except NotFoundError as error:
        why = GONE.format(name=past.name, number=past.number)
        raise RefusedError(f"{past.name}: {why}") from error


def find_kept_otherwise(host: Host, way: WayBack) -> str:
    """Return how the stored definition is not what the plan was to store; empty if it is."""
    [action] = way.plan.actions
    wanted = next((one.xml for one in action.steps if isinstance(one, Define)), None)
    if wanted is None:
        return ""
    stored = host.domains.read_domain(action.name).persistent_xml
    if digest(stored) == digest(wanted):
        return ""
    old, new = find_all(wanted, stored)
    return "; ".join((*(f"without {one}" for one in old), *(f"with {one}" for one in new)))
