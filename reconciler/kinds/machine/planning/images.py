"""Find pools, volumes and templates' images in the world; refuse with what is there. Pure."""

from __future__ import annotations

import shlex
from typing import FrozenSet, Iterator, Optional, Set, Tuple

from reconciler.core.frozen import replace
from reconciler.core.images import DEFAULT_POOL, RAW, ImageUse, is_path, resolve_backing
from reconciler.core.machine import Cdrom, Disk, Machine
from reconciler.core.manifest import Desired, TemplateManifest
from reconciler.core.world import PoolView, Reading, Unknown, VolumeView, World
from reconciler.core.xmltree import parse
from reconciler.errors import MissingError, TerminalError
from reconciler.kinds.api import settle_template
from reconciler.kinds.machine.domain.mark import read_image_uses
from reconciler.kinds.machine.match import by_name


def find_pool(world: World, name: str, path: str) -> PoolView:
    """Return the pool, or raise MissingError with what there is."""
    pool = world.find_pool(name)
    if isinstance(pool, Unknown):
        raise MissingError(f"{path}: storage pool {name!r}: {pool.reason}")
    return pool


def find_volume(world: World, pool: str, name: str, path: str) -> VolumeView:
    """Return the volume, or raise MissingError."""
    volume = find_pool(world, pool, path).volumes.get(name)
    if volume is None:
        raise MissingError(_describe_absent(name, find_pool(world, pool, path), path))
    return volume


def _describe_absent(name: str, pool: PoolView, path: str) -> str:
    """Say that a pool has no such volume, and how to see what it has."""
    command = f"virsh vol-list {shlex.quote(pool.name)}"
    return f"{path}: no volume {name!r} in storage pool {pool.name!r}; see: {command}"


def named_volume(world: World, source: Optional[str]) -> Optional[VolumeView]:
    """Return the volume that a domain names as POOL/VOLUME, if there is one."""
    name, _, volume = (source or "").partition("/")
    if not name or not volume or ":" in name:
        return None
    pool = world.find_pool(name)
    return pool.volumes.get(volume) if isinstance(pool, PoolView) else None


def path_of(source: Optional[str], world: World) -> Optional[str]:
    """Return the path of what is named as POOL/VOLUME, where known; else what is given."""
    volume = named_volume(world, source)
    return volume.path if volume else source


def all_volumes(world: World) -> Iterator[VolumeView]:
    """Yield every volume of the active pools."""
    for pool in world.list_pools():
        yield from pool.volumes.values()


def with_own_images(world: World, reading: Optional[Reading]) -> World:
    """Return the world in which what others use does not matter for what lies below an image.

    What is below the images of one domain is in their headers, and in its own XML. To know who else
    uses them, every domain must be read.
    """

    def find_own() -> Tuple[ImageUse, ...]:
        return () if reading is None else read_uses(reading, world)

    return replace(world, images=replace(world.images, find_own=find_own))


def read_uses(reading: Reading, world: World) -> Tuple[ImageUse, ...]:
    """Return what images a domain has, in both configurations; volumes of pools by their path."""
    view = reading.view
    texts = [(view.persistent_xml, False)]
    if view.live_xml is not None:
        texts.append((view.live_xml, True))
    uses = (
        use
        for xml, is_live in texts
        for use in read_image_uses(parse(xml), view.name, is_live=is_live)
    )
    return tuple(_settle_use(use, world) for use in uses)


def _settle_use(use: ImageUse, world: World) -> ImageUse:
    volume = None if is_path(use.path) else named_volume(world, use.path)
    return replace(use, path=volume.path) if volume else use


def find_named_images(desired: Desired, world: World) -> FrozenSet[str]:
    """Return the paths of the images that manifests and the marks of their domains name."""
    found: Set[Optional[str]] = {template.image for template in desired.templates}
    found.update(path_of(name, world) for name in desired.images)
    for manifest in desired.machines:
        reading = world.domains.get(manifest.name)
        if isinstance(reading, Reading) and reading.owner is not None:
            found.update(reading.owner.made)
    return frozenset(path for path in found if path)


def volume_at(world: World, path: Optional[str]) -> Optional[VolumeView]:
    """Return the volume that a path leads to, also by a link or another name of it."""
    if not path:
        return None
    volumes = tuple(all_volumes(world))
    exact = next((volume for volume in volumes if volume.path == path), None)
    if exact is not None:
        return exact
    world.images.ask_views((path, *(volume.path for volume in volumes)))
    return next((volume for volume in volumes if world.images.is_same(volume.path, path)), None)


def explain_unfinished(path: str, world: World) -> str:
    """Say what becomes of a volume that an interrupted run did not complete."""
    stopped = "an earlier run was stopped while it made this volume"
    if volume_at(world, path) is not None and world.images.find_users(path):
        return f"{stopped}; a domain uses it, so it is kept"
    return f"{stopped}; it is created again, or deleted if no disk needs it"


def find_overlays(world: World, source: str) -> Tuple[str, ...]:
    """Return the paths of images that depend on the image at `source`, by whatever name."""
    images = world.images
    over = {
        volume.path: resolve_backing(volume.backing, volume.path)
        for volume in all_volumes(world)
        if volume.backing
    }
    images.ask_views((source, *over, *over.values()))
    found = {
        images.identify(path): path for path, below in over.items() if images.is_same(below, source)
    }
    found.update((images.identify(overlay), overlay) for overlay in images.find_overlays(source))
    found.pop(images.identify(source), None)
    return tuple(sorted(found.values()))


def find_dependants(world: World, source: str) -> Tuple[str, ...]:
    """Return the images over `source` that a write to it would break.

    One that no domain uses and that is older than the last write to `source` is left over from a
    snapshot that was merged: it is of no use any more.
    """
    return tuple(
        overlay
        for overlay in find_overlays(world, source)
        if not _is_left_over(world, overlay, source)
    )


def describe_dependants(world: World, overlays: Tuple[str, ...]) -> str:
    """Name images over another, with who uses them, or how one that nobody uses is deleted."""
    unused = [overlay for overlay in overlays if not world.images.find_users(overlay)]
    used = [overlay for overlay in overlays if overlay not in unused]
    words = [f"{overlay} (of domain {_list_users(world, overlay)})" for overlay in used[:3]]
    if unused:
        commands = " && ".join(_delete_command(world, overlay) for overlay in unused[:3])
        words.append(
            f"{', '.join(unused[:3])}, which no domain uses: if it is left from a merged "
            f"snapshot, delete it ({commands}), else keep it"
        )
    return "; ".join(words)


def _list_users(world: World, image: str) -> str:
    return ", ".join(sorted({user.domain for user in world.images.find_users(image)})[:3])


def _delete_command(world: World, image: str) -> str:
    volume = volume_at(world, image)
    if volume is None:
        return f"rm {shlex.quote(image)}"
    return f"virsh vol-delete {shlex.quote(volume.name)} {shlex.quote(volume.pool)}"


def _is_left_over(world: World, overlay: str, source: str) -> bool:
    images = world.images
    top, base = images.find_view(overlay), images.find_view(source)
    if images.find_users(overlay) or top is None or base is None:
        return False
    return 0 < top.changed_at <= base.changed_at


def template_image(template: TemplateManifest, world: World, path: str) -> VolumeView:
    """Return the image of a template; raise MissingError if it is not there.

    Raises TerminalError if it is in use, or if its domain does not have it.
    """
    if template.domain is not None:
        return _domain_image(template, template.domain, world, path)
    template = settle_template(template, world)
    if template.volume is not None and template.address is not None:
        return _fetched_image(template, template.volume, template.address.format, world, path)
    if template.volume is not None:
        return find_volume(world, template.pool or DEFAULT_POOL, template.volume, path)
    return _volume_at(template.image or "", world, f"{path}: template {template.name!r}")


def _fetched_image(
    template: TemplateManifest, name: str, image: str, world: World, path: str
) -> VolumeView:
    """Return the image of an address as it is, or as it will be once it is fetched.

    How large it will be is not known before: 0.
    """
    pool = find_pool(world, template.pool or DEFAULT_POOL, path)
    place = f"{pool.path.rstrip('/')}/{name}"
    fetched = VolumeView(pool=pool.name, name=name, path=place, format=image, capacity=0)
    return pool.volumes.get(name, fetched)


def find_unfetched(template: TemplateManifest, world: World) -> str:
    """Return POOL/VOLUME of the image of an address that is not there; empty if it is, or of none.

    What cannot be read is not there.
    """
    name = template.pool or DEFAULT_POOL
    if template.address is None:
        return ""
    template = settle_template(template, world)
    pool = world.find_pool(name)
    is_there = isinstance(pool, PoolView) and template.volume in pool.volumes
    return "" if is_there else f"{name}/{template.volume}"


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
            f"{where}: domain {name!r} has a saved state, so its disk is not up to date; start "
            f"it (virsh start {shlex.quote(name)}) and shut it down to clone from it"
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
    return min(disks, key=lambda disk: disk.boot or len(disks) + 1)


def _volume_at(source: str, world: World, where: str) -> VolumeView:
    volume = volume_at(world, source)
    if volume is not None:
        return volume
    folder, _, name = source.rpartition("/")
    above = next((pool for pool in world.list_pools() if pool.path.rstrip("/") == folder), None)
    if above is not None:
        raise MissingError(_describe_absent(name, above, where))
    raise MissingError(
        f"{where}: {source} is in no active storage pool; define one over its folder "
        "(virsh pool-define-as NAME dir --target FOLDER, pool-start NAME)"
    )


def settle_sources(machine: Machine, world: World) -> Machine:
    """Replace pool/volume references by the paths they have on this host."""
    names = [disk.volume for disk in machine.disks or ()]
    names += [cdrom.volume for cdrom in machine.cdroms or ()]
    if not any(names):
        return machine
    disks = machine.disks and tuple(_settle_disk(disk, world) for disk in machine.disks)
    cdroms = machine.cdroms and tuple(_settle_cdrom(cdrom, world) for cdrom in machine.cdroms)
    return replace(machine, disks=disks, cdroms=cdroms)


def _settle_disk(disk: Disk, world: World) -> Disk:
    if disk.volume is None:
        return disk
    path = f"disks[{disk.name}].source.volume"
    volume = find_volume(world, disk.pool or DEFAULT_POOL, disk.volume, path)
    return replace(disk, source=volume.path)


def _settle_cdrom(cdrom: Cdrom, world: World) -> Cdrom:
    if cdrom.volume is None:
        return cdrom
    path = f"cdroms[{cdrom.name}].media.volume"
    volume = find_volume(world, cdrom.pool or DEFAULT_POOL, cdrom.volume, path)
    return replace(cdrom, media=volume.path)


def settle_found(machine: Machine, world: World) -> Machine:
    """Replace what a domain names as POOL/VOLUME by its path."""
    names = [disk.source for disk in machine.disks or ()]
    names += [cdrom.media for cdrom in machine.cdroms or ()]
    if all(path_of(name, world) == name for name in names):
        return machine
    disks = machine.disks and tuple(
        replace(disk, source=path_of(disk.source, world)) for disk in machine.disks
    )
    cdroms = machine.cdroms and tuple(
        replace(cdrom, media=path_of(cdrom.media, world)) for cdrom in machine.cdroms
    )
    return replace(machine, disks=disks, cdroms=cdroms)


def with_format(disk: Disk, world: World) -> Disk:
    """Return the disk with the format of the image that it names.

    Raises TerminalError where nobody knows it, or where the guest would destroy the image.
    """
    volume = volume_at(world, disk.source)
    known = volume.format if volume else None
    if disk.format is None and known is None:
        raise TerminalError(
            f"disks[{disk.name}].format: set qcow2 or raw; {disk.source} is in no active storage "
            "pool, so its format is unknown"
        )
    if (disk.format, known) == (RAW, "qcow2"):
        raise TerminalError(
            f"disks[{disk.name}].format: {disk.source} is qcow2, and a guest that uses it as "
            "raw destroys it; leave format out, or set format: qcow2"
        )
    return replace(disk, format=disk.format or known)
