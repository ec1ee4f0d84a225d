"""Take a snapshot of a host: read all that any plan may ask for. Reads only.

The manifests that will be planned against it are not known, so everything is asked: every domain,
volume and machine type, and of each image that no guest writes to which pools can share its blocks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, FrozenSet, Iterator, Mapping, Optional, Tuple, Union

from reconciler.control.observe import attempt, read
from reconciler.control.ports import Host
from reconciler.core.host_snapshot import HostSnapshot, hide_view
from reconciler.core.images import SnapshotView
from reconciler.core.model import Disk
from reconciler.core.needs import size_key
from reconciler.core.secrets import hide_text
from reconciler.core.world import DomainView, PoolView, Unknown
from reconciler.errors import ReconcilerError

DEFAULT_MACHINE = ""
Views = Mapping[str, Union[DomainView, Unknown]]
Pools = Mapping[str, Union[PoolView, Unknown]]


def take_snapshot(host: Host, taken_at: str, version: str, revision: Optional[str]) -> HostSnapshot:
    """Return the host as it is. Raises TransientError if its domains cannot be listed."""
    views = {name: _add_job(host, one) for name, one in host.domains.list_domains().items()}
    pools: Pools = {
        one: _still(attempt(host.storage.read_pool, one)) for one in host.storage.list_pools()
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
        machines={one: attempt(host.domains.read_caps, one) for one in (DEFAULT_MACHINE, *types)},
        shared=_find_shared(host, pools, views),
        images=host.storage.read_images(_find_images(pools, views)),
        snapshots=_find_snapshots(host, obstacles),
        daemons=host.units.observe(),
        memory=host.domains.read_memory(),
        devices=host.networks.list_devices(),
    )


def _add_job(host: Host, view: Union[DomainView, Unknown]) -> Union[DomainView, Unknown]:
    if isinstance(view, Unknown) or not view.is_active:
        return view
    job = attempt(host.domains.find_job, view.name)
    return view if isinstance(job, Unknown) else replace(view, job=job)


def _still(pool: Union[PoolView, Unknown]) -> Union[PoolView, Unknown]:
    """Leave out what is never the same twice: how full the pool and its images are."""
    if isinstance(pool, Unknown):
        return pool
    volumes = {name: replace(one, allocation=None) for name, one in pool.volumes.items()}
    return replace(pool, volumes=volumes, available=None)


def _find_disks(view: Union[DomainView, Unknown]) -> Tuple[str, ...]:
    """Return the keys of a domain's disks in both configurations."""
    return tuple(sorted({size_key(one) for one in _disks(view)} - {""}))


def _disks(view: Union[DomainView, Unknown]) -> Iterator[Disk]:
    if isinstance(view, Unknown):
        return
    try:
        reading = read(view)
    except ReconcilerError:  # what makes no sense is a plan's to say
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
    there = [one for one in pools.values() if isinstance(one, PoolView)]
    found = {one.path: one.format for pool in there for one in pool.volumes.values()}
    for view in views.values():
        found.update((one.source, one.format or "") for one in _disks(view) if one.source)
    return found


def _find_snapshots(
    host: Host, obstacles: Mapping[str, Tuple[str, ...]]
) -> Mapping[str, Tuple[SnapshotView, ...]]:
    found = {
        name: attempt(host.domains.read_snapshots, name)
        for name, some in obstacles.items()
        if any(one.startswith("snapshot ") for one in some)
    }
    return {name: one for name, one in found.items() if not isinstance(one, Unknown)}


def _find_shared(host: Host, pools: Pools, views: Views) -> FrozenSet[Tuple[str, str]]:
    there = [one for one in pools.values() if isinstance(one, PoolView)]
    open_now = {one.source for view in views.values() for one in _live_disks(view)}
    images = {one.path for pool in there for one in pool.volumes.values()} - open_now
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
