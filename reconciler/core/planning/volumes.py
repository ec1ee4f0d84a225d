"""Which volumes may be deleted with a machine, and why the others are kept. Pure.

Only those that were made for it, that the last applied spec still counts as its own, and that
nothing else on the host depends on. In doubt a volume stays: it can be deleted by hand, and not be
brought back.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

from reconciler.core.applied import Applied, AppliedDisk
from reconciler.core.domain.mentions import mentions_image
from reconciler.core.identity import IMAGES, volume_name
from reconciler.core.manifest import Desired
from reconciler.core.owner import Owner
from reconciler.core.planning.images import DEFAULT_POOL, all_volumes, find_overlays, find_pool
from reconciler.core.world import Unknown, VolumeView, World
from reconciler.errors import TerminalError


@dataclass(frozen=True)
class OwnVolume:
    """A volume that was made for a machine's disk; `kept` says why it is not deleted, or is ''."""

    disk: str
    volume: VolumeView
    kept: str = ""


def find_own_volumes(
    owner: Owner, applied: Applied, world: World, desired: Desired
) -> Tuple[OwnVolume, ...]:
    """Return the volumes that were made for the machine and are still there.

    Raises TerminalError where a pool or another domain cannot be read, so that it cannot be told
    what there is or who uses it.
    """
    return tuple(
        OwnVolume(disk.name, volume, _find_user(owner.name, volume, world, desired) or "")
        for disk in applied.disks
        if disk.is_made
        for volume in _volumes_of(disk, owner, world)
    )


def _volumes_of(disk: AppliedDisk, owner: Owner, world: World) -> Iterator[VolumeView]:
    pool = find_pool(world, disk.pool, f"disks[{disk.name}].pool")
    names = {volume_name(one, disk.name, image) for one in owner.names for image in IMAGES}
    for name in sorted(names):
        volume = pool.volumes.get(name)
        if volume is not None and volume.path in owner.made:
            yield volume


def _find_user(owner: str, volume: VolumeView, world: World, desired: Desired) -> Optional[str]:
    """Return what else depends on the volume, or None."""
    images = world.images
    holders = {one.domain: one.path for one in images.find_users(volume.path)}
    for other in sorted(name for name in holders if name != owner):
        if not images.is_same(holders[other], volume.path):
            return f"it is below {holders[other]}, which domain {other} uses"
    overlays = find_overlays(world, volume.path)
    named = {one.path for one in all_volumes(world) if _is_below(volume, one)}
    overlays = tuple(sorted(named.union(overlays)))
    if overlays:
        return f"it carries {len(overlays)} linked clone(s): {', '.join(overlays[:3])}"
    users = [one for one in sorted(world.domains) if one != owner and _uses(one, volume, world)]
    if users:
        return f"domain {', '.join(users[:3])} names it too"
    snapshots = [one for one in images.find_snapshot_users(volume.path) if one != owner]
    if snapshots:
        return f"a snapshot of domain {', '.join(snapshots[:3])} needs it"
    templates = [
        one.name
        for one in desired.templates
        if world.images.is_same(one.image, volume.path)
        or posixpath.basename(one.image or "") == volume.name
        or (one.pool or DEFAULT_POOL, one.volume) == (volume.pool, volume.name)
    ]
    return f"it is the image of Template {', '.join(templates)}" if templates else None


def _is_below(volume: VolumeView, other: VolumeView) -> bool:
    """Whether the other is an overlay on the volume; a path by way of a link counts too."""
    backing = other.backing or ""
    return backing == volume.path or posixpath.basename(backing) == volume.name


def _uses(name: str, volume: VolumeView, world: World) -> bool:
    reading = world.domains[name]
    if isinstance(reading, Unknown):
        raise TerminalError(
            f"domain {name!r} cannot be read, so it is not known whether it uses "
            f"{volume.path}: {reading.reason}"
        )
    if any(one.domain == name for one in world.images.find_users(volume.path)):
        return True
    both = (reading.view.persistent_xml, reading.view.live_xml)
    return any(
        mentions_image(xml, volume.pool, volume.name, volume.path)
        for xml in both
        if xml is not None
    )
