"""Find pools, volumes and templates' images in the world; refuse with what is there. Pure."""

from __future__ import annotations

from typing import Iterator, Optional, Tuple

from reconciler.core.manifest import TemplateManifest
from reconciler.core.match import by_name
from reconciler.core.model import Disk, Machine
from reconciler.core.world import PoolView, Unknown, VolumeView, World
from reconciler.errors import MissingError, TerminalError

DEFAULT_POOL = "default"


def find_pool(world: World, name: str, path: str) -> PoolView:
    """Return the pool, or raise MissingError with what there is."""
    pool = world.pools.get(name, Unknown("it was not asked for"))
    if isinstance(pool, Unknown):
        raise MissingError(f"{path}: storage pool {name!r}: {pool.reason}")
    return pool


def find_volume(world: World, pool: str, name: str, path: str) -> VolumeView:
    """Return the volume, or raise MissingError."""
    volume = find_pool(world, pool, path).volumes.get(name)
    if volume is None:
        raise MissingError(f"{path}: no volume {name!r} in storage pool {pool!r}")
    return volume


def named_volume(world: World, source: Optional[str]) -> Optional[VolumeView]:
    """Return the volume that a domain names as POOL/VOLUME, if its pool was read and has it."""
    name, _, volume = (source or "").partition("/")
    pool = world.pools.get(name)
    return pool.volumes.get(volume) if isinstance(pool, PoolView) else None


def all_volumes(world: World) -> Iterator[VolumeView]:
    """Yield every volume of the pools that were read."""
    for pool in world.pools.values():
        if isinstance(pool, PoolView):
            yield from pool.volumes.values()


def find_overlays(world: World, source: str) -> Tuple[str, ...]:
    """Return the paths of images that depend on the image at `source`."""
    return tuple(sorted(one.path for one in all_volumes(world) if one.backing == source))


def template_image(template: TemplateManifest, world: World, path: str) -> VolumeView:
    """Return the image of a template; raise TerminalError if it is not there or is in use."""
    if template.domain is not None:
        return _domain_image(template, template.domain, world, path)
    if template.volume is not None:
        return find_volume(world, template.pool or DEFAULT_POOL, template.volume, path)
    return _volume_at(template.image or "", world, f"{path}: template {template.name!r}")


def _domain_image(template: TemplateManifest, name: str, world: World, path: str) -> VolumeView:
    where = f"{path}: template {template.name!r}"
    reading = world.domains.get(name)
    if reading is None:
        raise TerminalError(f"{where}: no domain {name!r} on this host")
    if isinstance(reading, Unknown):
        raise TerminalError(f"{where}: domain {name!r} cannot be read: {reading.reason}")
    if reading.is_active:
        raise TerminalError(
            f"{where}: domain {name!r} is {reading.view.state.value}; shut it down to clone from it"
        )
    if reading.view.saved:
        raise TerminalError(
            f"{where}: domain {name!r} has a saved state, and what is in its memory is not on its "
            f"disk; start it (virsh start {name}) and shut it down to clone from it"
        )
    disk = _template_disk(template, reading.persistent, where)
    return _volume_at(disk.source or "", world, where)


def _template_disk(template: TemplateManifest, machine: Machine, where: str) -> Disk:
    disks = machine.disks or ()
    if template.disk is not None:
        named = by_name(disks, template.disk)
        if named is None:
            raise TerminalError(f"{where}: its domain has no disk {template.disk!r}")
        return named
    if not disks:
        raise TerminalError(f"{where}: its domain has no disk")
    return min(disks, key=lambda one: one.boot or len(disks) + 1)


def _volume_at(source: str, world: World, where: str) -> VolumeView:
    volume = next((one for one in all_volumes(world) if one.path == source), None)
    if volume is None:
        raise TerminalError(
            f"{where}: {source} is in no active storage pool; define one over its folder "
            "(virsh pool-define-as NAME dir --target FOLDER, pool-start NAME)"
        )
    return volume
