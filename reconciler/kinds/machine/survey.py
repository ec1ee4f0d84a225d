"""Read every domain of a host, for those who inspect it without manifests, and for snapshots."""

from __future__ import annotations

import json
from typing import (
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from reconciler.control.ports import Host
from reconciler.core.frozen import replace
from reconciler.core.host_snapshot import HostSnapshot, hide_view
from reconciler.core.images import Images, SnapshotView
from reconciler.core.machine import Disk
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.secrets import hide_text
from reconciler.core.world import (
    DomainView,
    FileKind,
    FileView,
    PoolView,
    Reading,
    Unknown,
    World,
    size_key,
)
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.answers import attempt, read, read_pools, understand
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.observe import ObservedHost, begin
from reconciler.kinds.machine.planning.differences import find
from reconciler.kinds.machine.planning.images import read_uses
from reconciler.kinds.machine.planning.requirements import find_files
from reconciler.kinds.machine.status import is_owned


def read_domains(host: Host) -> Mapping[str, Union[Reading, Unknown]]:
    """Return every domain with its jobs and snapshots; what cannot be understood is Unknown."""
    return add_snapshots(host, add_jobs(host, survey(host)))


def survey(host: Host) -> Mapping[str, Union[Reading, Unknown]]:
    """Return every domain by name; what cannot be read or understood is Unknown."""
    return {name: understand(view) for name, view in host.domains.list_domains().items()}


def add_jobs(
    host: Host, readings: Mapping[str, Union[Reading, Unknown]]
) -> Mapping[str, Union[Reading, Unknown]]:
    """Return the domains with what libvirt does at this moment to the guests that are ours."""
    return {name: _add_job(host, reading) for name, reading in readings.items()}


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
    seen = begin(host, Desired(), readings)
    return {name: _add_snapshots(seen, reading) for name, reading in readings.items()}


def _add_snapshots(seen: ObservedHost, reading: Union[Reading, Unknown]) -> Union[Reading, Unknown]:
    manifest = _read_applied(reading) if isinstance(reading, Reading) else None
    if isinstance(reading, Unknown) or manifest is None:
        return reading
    found = attempt(seen.make, lambda world: find(manifest, reading, world))
    if isinstance(found, Unknown):
        return reading
    notes = (chain.note for chain in found.chains)
    return replace(reading, snapshots="; ".join(note for note in notes if note))


def _read_applied(reading: Reading) -> Optional[MachineManifest]:
    if reading.owner is None or not is_owned(reading):
        return None
    try:
        data = {"metadata": {"name": reading.view.name}, "spec": json.loads(reading.owner.spec)}
        return build_machine(data, Place("", 1, 1))
    except (ReconcilerError, ValueError, TypeError, AttributeError, KeyError):
        return None  # somebody edited it


def read_sizes(host: Host, reading: Reading) -> Mapping[str, int]:
    """Return path or target → virtual size of a domain's disks, as far as they can be read."""
    disks = reading.persistent.disks or ()
    keys: Tuple[str, ...] = tuple(size_key(disk) for disk in disks)
    wanted: Dict[str, Tuple[str, ...]] = {reading.view.name: keys}
    return host.domains.read_disk_sizes(wanted).get(reading.view.name, {})


def look_around(host: Host, readings: Iterable[Reading]) -> World:
    """Return the host as far as manifests of these domains depend on it, and no domain."""
    found = tuple(readings)
    machines = sorted({"", *(reading.persistent.machine or "" for reading in found)})
    networks = attempt(host.networks.list_networks)
    pools = attempt(_read_pools, host, found)
    world = World(
        host=host.domains.host,
        uri=host.domains.uri,
        networks={} if isinstance(networks, Unknown) else networks,
        pools={} if isinstance(pools, Unknown) else pools,
        machines={machine: attempt(host.domains.read_caps, machine) for machine in machines},
    )
    return replace(world, images=_read_images(host, found, world))


def _read_pools(host: Host, readings: Sequence[Reading]) -> Mapping[str, Union[PoolView, Unknown]]:
    """Return every active pool, and those that the domains name."""
    sides = [
        side
        for reading in readings
        for side in (reading.persistent, reading.live)
        if side is not None
    ]
    sources = [disk.source or "" for side in sides for disk in side.disks or ()]
    sources += [cdrom.media or "" for side in sides for cdrom in side.cdroms or ()]
    named = {source.partition("/")[0] for source in sources}
    pools = {pool for pool in named if pool and ":" not in pool}
    return read_pools(host, frozenset(pools.union(host.storage.list_pools())))


def _read_images(host: Host, readings: Tuple[Reading, ...], world: World) -> Images:
    """Return the domains' images with what lies below them, and the domains' snapshots."""
    uses = tuple(use for reading in readings for use in read_uses(reading, world))
    views = attempt(host.storage.read_images, {use.path: use.format for use in uses})
    names = sorted(reading.view.name for reading in readings)
    snapshots = {name: attempt(host.domains.read_snapshots, name) for name in names}
    return Images(
        {} if isinstance(views, Unknown) else views,
        uses,
        {name: some for name, some in snapshots.items() if not isinstance(some, Unknown)},
    )


DEFAULT_MACHINE = ""
Views = Mapping[str, Union[DomainView, Unknown]]
Pools = Mapping[str, Union[PoolView, Unknown]]


def take_snapshot(host: Host, taken_at: str, version: str, revision: Optional[str]) -> HostSnapshot:
    """Return the host as it is. Raises TransientError if its domains cannot be listed."""
    views = {
        name: _add_view_job(host, domain) for name, domain in host.domains.list_domains().items()
    }
    pools: Pools = {
        pool: _still(attempt(host.storage.read_pool, pool)) for pool in host.storage.list_pools()
    }
    disks = {name: keys for name, view in views.items() for keys in [_find_disks(view)] if keys}
    types, obstacles = host.domains.list_machines(), _find_obstacles(host, views)
    return HostSnapshot(
        taken_at=taken_at,
        version=version,
        host=host.domains.host,
        uri=hide_text(host.domains.uri),
        revision=revision,
        domains={name: hide_view(view) for name, view in views.items()},
        sizes=host.domains.read_disk_sizes(disks) if disks else {},
        obstacles=obstacles,
        networks=host.networks.list_networks(),
        pools=pools,
        machine_types=types,
        machines={
            machine_type: attempt(host.domains.read_caps, machine_type)
            for machine_type in (DEFAULT_MACHINE, *types)
        },
        shared=_find_shared(host, pools, views),
        images=host.storage.read_images(_find_images(pools, views)),
        snapshots=_find_snapshots(host, obstacles),
        daemons=host.units.observe(),
        memory=host.domains.read_memory(),
        devices=host.networks.list_devices(),
        off_reasons=_find_off_reasons(host, views),
        inactive_pools=host.storage.list_inactive_pools(),
        files=_find_files(host, views),
    )


def _find_off_reasons(host: Host, views: Views) -> Mapping[str, str]:
    off = [
        view.name for view in views.values() if isinstance(view, DomainView) and not view.is_active
    ]
    found = {name: attempt(host.domains.read_off_reason, name) for name in sorted(off)}
    return {name: reason for name, reason in found.items() if isinstance(reason, str) and reason}


def _find_files(host: Host, views: Views) -> Mapping[str, FileView]:
    """Return the files that a domain opens at its start; how large one is changes all the time."""
    paths: Set[str] = set()
    for view in views.values():
        reading = understand(view)
        if isinstance(reading, Reading):
            paths |= find_files(reading.view.persistent_xml)
    found = host.storage.read_files(sorted(paths))
    return {
        path: file if file.kind is FileKind.BLOCK else replace(file, size=0)
        for path, file in found.items()
    }


def _add_view_job(host: Host, view: Union[DomainView, Unknown]) -> Union[DomainView, Unknown]:
    if isinstance(view, Unknown) or not view.is_active:
        return view
    job = attempt(host.domains.find_job, view.name)
    return view if isinstance(job, Unknown) else replace(view, job=job)


def _still(pool: Union[PoolView, Unknown]) -> Union[PoolView, Unknown]:
    """Leave out what is never the same twice: how full the pool and its images are."""
    if isinstance(pool, Unknown):
        return pool
    volumes = {name: replace(volume, allocation=None) for name, volume in pool.volumes.items()}
    return replace(pool, volumes=volumes, available=None)


def _find_disks(view: Union[DomainView, Unknown]) -> Tuple[str, ...]:
    """Return the keys of a domain's disks in both configurations."""
    return tuple(sorted({size_key(disk) for disk in _disks(view)} - {""}))


def _disks(view: Union[DomainView, Unknown]) -> Iterator[Disk]:
    if isinstance(view, Unknown):
        return
    try:
        reading = read(view)
    except ReconcilerError:  # what is not valid is a plan's to say
        return
    yield from reading.persistent.disks or ()
    if reading.live is not None:
        yield from reading.live.disks or ()


def _find_obstacles(host: Host, views: Views) -> Mapping[str, Tuple[str, ...]]:
    """Return snapshots and checkpoints of the domains that have any."""
    found: Dict[str, Tuple[str, ...]] = {}
    for name, view in views.items():
        if isinstance(view, Unknown):
            continue
        names = attempt(host.domains.list_snapshots, name)
        if isinstance(names, Unknown):
            found[name] = (f"snapshots that cannot be listed ({names.reason})",)
        elif names:
            found[name] = names
    return found


def _find_images(pools: Pools, views: Views) -> Mapping[str, str]:
    """Return the path and format of every volume and of every domain's disk."""
    there = [pool for pool in pools.values() if isinstance(pool, PoolView)]
    found = {volume.path: volume.format for pool in there for volume in pool.volumes.values()}
    for view in views.values():
        found.update((disk.source, disk.format or "") for disk in _disks(view) if disk.source)
    return found


def _find_snapshots(
    host: Host, obstacles: Mapping[str, Tuple[str, ...]]
) -> Mapping[str, Tuple[SnapshotView, ...]]:
    found = {
        name: attempt(host.domains.read_snapshots, name)
        for name, some in obstacles.items()
        if any(obstacle.startswith("snapshot ") for obstacle in some)
    }
    return {
        name: snapshots for name, snapshots in found.items() if not isinstance(snapshots, Unknown)
    }


def _find_shared(host: Host, pools: Pools, views: Views) -> FrozenSet[Tuple[str, str]]:
    there = [pool for pool in pools.values() if isinstance(pool, PoolView)]
    open_now = {disk.source for view in views.values() for disk in _live_disks(view)}
    images = {volume.path for pool in there for volume in pool.volumes.values()} - open_now
    return frozenset(
        (pool.name, image)
        for pool in there
        for image in sorted(images)
        if host.storage.can_reflink(pool, image)
    )


def _live_disks(view: Union[DomainView, Unknown]) -> Iterator[Disk]:
    """Yield the disks that a running guest has open."""
    if not isinstance(view, Unknown) and view.live_xml is not None:
        yield from _disks(view)
