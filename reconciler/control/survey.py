"""Read every domain of the host, for those who look at the host without manifests. Reads only."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Dict, Iterable, Mapping, Optional, Tuple, Union

from reconciler.control.observe import attempt, observe, read, read_pools
from reconciler.control.ports import Host
from reconciler.core.document import build_machine
from reconciler.core.faults import isolate
from reconciler.core.images import Images
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.needs import Needs, find_pools, find_strayed, size_key
from reconciler.core.plan import Action
from reconciler.core.planner import PlanOptions, plan_machine
from reconciler.core.planning.disk_chains import find_snapshot_notes
from reconciler.core.planning.images import read_uses
from reconciler.core.status import is_owned
from reconciler.core.world import DomainView, Reading, Unknown, World
from reconciler.errors import ReconcilerError


def survey(host: Host) -> Mapping[str, Union[Reading, Unknown]]:
    """Return every domain by name; what cannot be read or understood is Unknown."""
    return {name: understand(view) for name, view in host.domains.list_domains().items()}


def add_jobs(
    host: Host, readings: Mapping[str, Union[Reading, Unknown]]
) -> Mapping[str, Union[Reading, Unknown]]:
    """Return the domains with what libvirt does at this moment to the guests that are ours."""
    return {name: _add_job(host, one) for name, one in readings.items()}


def _add_job(host: Host, reading: Union[Reading, Unknown]) -> Union[Reading, Unknown]:
    if isinstance(reading, Unknown) or not (reading.is_active and is_owned(reading)):
        return reading
    job = attempt(host.domains.find_job, reading.view.name)
    if isinstance(job, Unknown) or not job:
        return reading
    return replace(reading, view=replace(reading.view, job=job))


def add_snapshots(
    host: Host, readings: Mapping[str, Union[Reading, Unknown]]
) -> Mapping[str, Union[Reading, Unknown]]:
    """Return the domains with what is known of the external snapshots that their disks are on.

    By the spec that was applied last, as our mark keeps it.
    """
    return {name: _add_snapshots(host, one) for name, one in readings.items()}


def _add_snapshots(host: Host, reading: Union[Reading, Unknown]) -> Union[Reading, Unknown]:
    manifest = _read_applied(reading) if isinstance(reading, Reading) else None
    if isinstance(reading, Unknown) or manifest is None:
        return reading
    if not find_strayed(manifest.machine.disks or (), reading):
        return reading
    action = attempt(_plan_again, host, manifest, reading)
    if isinstance(action, Unknown):
        return reading
    return replace(reading, snapshots=find_snapshot_notes(action.notes))


def _read_applied(reading: Reading) -> Optional[MachineManifest]:
    if reading.owner is None or not is_owned(reading):
        return None
    try:
        data = {"metadata": {"name": reading.view.name}, "spec": json.loads(reading.owner.spec)}
        return build_machine(data, Place("", 1, 1))
    except (ReconcilerError, ValueError, TypeError, AttributeError, KeyError):
        return None  # somebody edited it


def _plan_again(host: Host, manifest: MachineManifest, reading: Reading) -> Action:
    desired = Desired.of(manifest)
    world = observe(host, desired, {reading.view.name: reading.view})
    return plan_machine(manifest, desired, world, PlanOptions())


def read_sizes(host: Host, reading: Reading) -> Mapping[str, int]:
    """Return path or target → virtual size of a domain's disks, as far as they can be read."""
    disks = reading.persistent.disks or ()
    keys: Tuple[str, ...] = tuple(size_key(one) for one in disks)
    wanted: Dict[str, Tuple[str, ...]] = {reading.view.name: keys}
    return host.domains.read_disk_sizes(wanted).get(reading.view.name, {})


def look_around(host: Host, readings: Iterable[Reading]) -> World:
    """Return the host as far as manifests of these domains depend on it, and no domain."""
    found = tuple(readings)
    machines = sorted({"", *(one.persistent.machine or "" for one in found)})
    networks = attempt(host.networks.list_networks)
    named = frozenset().union(*map(find_pools, found))
    pools = attempt(read_pools, host, Needs(pools=named, all_pools=True))
    world = World(
        host=host.domains.host,
        uri=host.domains.uri,
        networks={} if isinstance(networks, Unknown) else networks,
        pools={} if isinstance(pools, Unknown) else pools,
        machines={one: attempt(host.domains.read_caps, one) for one in machines},
    )
    return replace(world, images=_read_images(host, found, world))


def _read_images(host: Host, readings: Tuple[Reading, ...], world: World) -> Images:
    """Return the domains' images with what lies below them, and the domains' snapshots."""
    uses = tuple(use for one in readings for use in read_uses(one, world))
    views = attempt(host.storage.read_images, {one.path: one.format for one in uses})
    names = sorted(one.view.name for one in readings)
    snapshots = {name: attempt(host.domains.read_snapshots, name) for name in names}
    return Images(
        {} if isinstance(views, Unknown) else views,
        uses,
        {name: some for name, some in snapshots.items() if not isinstance(some, Unknown)},
    )


def understand(view: Union[DomainView, Unknown]) -> Union[Reading, Unknown]:
    """Understand one domain; what makes no sense is Unknown."""
    if isinstance(view, Unknown):
        return view
    try:
        return isolate(read, view)
    except ReconcilerError as error:
        return Unknown(str(error))
