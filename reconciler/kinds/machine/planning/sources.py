"""Where a disk's data comes from: resolve what the manifest says to volumes and paths.

Pure. Every refusal names the field and what to do; nothing is guessed about an image.
"""

from __future__ import annotations

import shlex
from typing import Callable, Mapping, Optional, Tuple

from reconciler.core.frozen import replace
from reconciler.core.images import DEFAULT_POOL, FILE_POOLS
from reconciler.core.machine import CloneMode, Disk
from reconciler.core.manifest import Desired, MachineManifest, TemplateManifest
from reconciler.core.names import IMAGES, Owner, volume_name
from reconciler.core.plan import CreateVolume, DeletePartial, ResizeVolume, Step
from reconciler.core.preparation import Preparation, PrepareVolume
from reconciler.core.units import format_size
from reconciler.core.world import PoolView, VolumeView, World
from reconciler.errors import RefusedError, TerminalError
from reconciler.kinds.machine.planning.images import (
    find_pool,
    path_of,
    template_image,
    with_format,
)
from reconciler.kinds.machine.planning.machine_copies import (
    NewDisk,
    Origin,
    SourcePlans,
    find_machine_origin,
    plan_sources,
    write_copy,
)
from reconciler.kinds.machine.planning.template_images import find_sealing, refuse_unprepared


def chain_of(world: World, source: str, image_format: str) -> Tuple[Tuple[str, str], ...]:
    """Return (identity, name) of an image that a domain names, and of all that is below it."""
    path = path_of(source, world) or source
    chain = world.images.find_chain(path, image_format)
    return tuple((world.images.identify(layer), layer) for layer in chain)


def resolve_disk(
    disk: Disk,
    manifest: MachineManifest,
    desired: Desired,
    world: World,
    owner: Optional[Owner],
    plan_source: Optional[SourcePlans] = None,
) -> NewDisk:
    """Return the disk with its source, and the steps that make its volume (none if it exists).

    `owner` is our mark on the machine, None where there is no machine yet. `plan_source` is what
    several disks have in common, so that a machine which they are cloned from is planned once.
    """
    if disk.source is not None:
        return NewDisk(with_format(disk, world), (), disk.source)
    path = f"disks[{disk.name}]"
    pool = find_pool(world, disk.pool or DEFAULT_POOL, f"{path}.pool")
    former = _former_volume(disk, pool, owner, world)
    if former is not None:
        return _former_disk(disk, former)
    creating = find_unfinished(owner, world)
    _refuse_used(disk, manifest.name, pool, world)
    if disk.imported is not None:
        from reconciler.kinds.machine.planning.imported_disks import import_disk  # noqa: PLC0415

        return import_disk(
            disk,
            manifest,
            world,
            pool,
            lambda blank: _new_volume(blank, manifest, pool, creating, None),
            is_new=owner is None or owner.is_unfinished,
        )
    if disk.origin is not None:
        plans = plan_source or plan_sources(desired, world)
        found = find_machine_origin(disk, disk.origin, desired, world, pool, plans)
        _refuse_origin(disk, found, world, f"disks[{disk.name}].source.clone: {found.what}")
        return _new_volume(disk, manifest, pool, creating, found)
    if disk.template is None:
        return _new_volume(disk, manifest, pool, creating, None)
    origin = _resolve_clone(disk, manifest.machine.os, desired, world, pool)
    return _new_volume(disk, manifest, pool, creating, origin)


def _refuse_used(disk: Disk, name: str, pool: PoolView, world: World) -> None:
    """Raise RefusedError where another domain has the volume that the disk would be made as."""
    for image in IMAGES:
        volume = pool.volumes.get(volume_name(name, disk.name, image))
        use = describe_use(name, disk, volume, world) if volume is not None else ""
        if use:
            raise RefusedError(use)


def describe_use(name: str, disk: Disk, volume: VolumeView, world: World) -> str:
    """Say which other domains have the volume that a disk would be made as; empty if none has."""
    users = sorted({user.domain for user in world.images.find_users(volume.path)} - {name})
    if not users:
        return ""
    there = (
        f"disks[{disk.name}]: volume {volume.name!r} exists already in pool {volume.pool!r}, "
        f"and is used by domain {', '.join(users)}. "
    )
    renamed = [holder for holder in world.find_holders("mark", name) if holder in users]
    if renamed:
        return (
            f"{there}That domain has the mark of {name}: it was renamed, and the {name} that is "
            f"there now is another one. Rename the manifest to {renamed[0]} and run: "
            f"virt-reconciler adopt {shlex.quote(renamed[0])} -f MANIFESTS"
        )
    return (
        f"{there}If that is {name} by another name, remove this manifest; else give the disk "
        "another name"
    )


def _former_volume(
    disk: Disk, pool: PoolView, owner: Optional[Owner], world: World
) -> Optional[VolumeView]:
    """Return the volume that we made for this disk, if it was unplugged by hand or a rollback.

    Our mark says that the machine had this disk, finished, or that its volume was made for the
    machine; what it does not say is not ours.
    """
    if owner is None:
        return None
    names = {volume_name(name, disk.name, image) for name in owner.names for image in IMAGES}
    found = [volume for name, volume in pool.volumes.items() if name in names]
    if disk.name not in owner.disks:
        found = [volume for volume in found if volume.path in owner.made]
    unfinished = find_unfinished(owner, world)
    return found[0] if len(found) == 1 and found[0].path not in unfinished else None


def find_unfinished(owner: Optional[Owner], world: World) -> Tuple[str, ...]:
    """Return the volumes that an interrupted run did not complete.

    One that a domain names is none of them: a guest may have had it open.
    """
    creating = owner.creating if owner else ()
    return tuple(path for path in creating if not world.images.find_users(path))


def _former_disk(disk: Disk, volume: VolumeView) -> NewDisk:
    where = f"disks[{disk.name}]: it was unplugged, and its volume {volume.path}"
    if disk.format not in (None, volume.format):
        raise TerminalError(f"{where} is {volume.format}, not {disk.format}; nothing is converted")
    size = disk.size or volume.capacity
    if size < volume.capacity:
        there = format_size(volume.capacity)
        raise TerminalError(f"{where} is {there}, not {format_size(size)}; a disk is never shrunk")
    grow = ResizeVolume(disk.name, volume.path, size)
    return NewDisk(
        replace(disk, source=volume.path, format=volume.format),
        (grow,) if size > volume.capacity else (),
        f"its own volume {volume.pool}/{volume.name}, plugged in again",
    )


def _new_volume(
    disk: Disk,
    manifest: MachineManifest,
    pool: PoolView,
    creating: Tuple[str, ...],
    origin: Optional[Origin],
) -> NewDisk:
    image = _format(disk, pool, origin)
    name = volume_name(manifest.name, disk.name, image if pool.type in FILE_POOLS else "")
    source = f"{pool.path.rstrip('/')}/{name}"
    step = CreateVolume(
        disk=disk.name,
        pool=pool.name,
        name=name,
        format=image,
        capacity=disk.size or (origin.volume.capacity if origin else None) or None,
        clone=origin.mode if origin else "none",
        origin=origin.volume.path if origin else None,
        origin_format=origin.volume.format if origin else None,
        machine=origin.machine if origin else "",
        windows=origin.unread if origin else "",
    )
    copy: Tuple[Step, ...] = ()
    if origin is not None and origin.is_live:
        step = replace(step, capacity=origin.volume.capacity, origin=None, origin_format=None)
        copy = write_copy(disk, step, source, origin)
    steps: Tuple[Step, ...] = (*_leftover(disk, pool, name, source, creating), step, *copy)
    if origin is not None and origin.preparation is not None:
        steps += (_prepare(step, source, origin.preparation, manifest.name),)
    disk = replace(disk, source=source, format=image)
    return NewDisk(disk, steps, _about(step, origin), is_together=bool(copy))


def _prepare(
    step: CreateVolume, source: str, preparation: Preparation, machine: str
) -> PrepareVolume:
    return PrepareVolume(
        disk=step.disk,
        pool=step.pool,
        name=step.name,
        path=source,
        format=step.format,
        preparation=preparation,
        hostname=machine if preparation.sets_hostname else None,
    )


def _about(step: CreateVolume, origin: Optional[Origin]) -> str:
    if origin is None:
        return f"blank volume {step.pool}/{step.name}"
    return origin.describe(step)


def _leftover(
    disk: Disk, pool: PoolView, name: str, source: str, creating: Tuple[str, ...]
) -> Tuple[Step, ...]:
    """Refuse a volume that is there already, unless we were making it when we were stopped."""
    if name not in pool.volumes:
        return ()
    if source in creating:
        return (DeletePartial(disk.name, pool.name, name),)
    raise RefusedError(
        f"disks[{disk.name}]: volume {name!r} exists already in pool {pool.name!r}, and no "
        "record shows that it belongs to this machine. If it does, write in the manifest of "
        f"this disk: source: {{volume: {name}}} (and no other source). If it does not, give the "
        "disk another name"
    )


def _format(disk: Disk, pool: PoolView, origin: Optional[Origin]) -> str:
    if pool.type not in FILE_POOLS:
        return _same_format(disk, "raw", f"pool {pool.name!r} of type {pool.type} holds raw only")
    if origin is None:
        return disk.format or "qcow2"
    if origin.mode == "linked":
        return _same_format(disk, "qcow2", "a linked clone is always qcow2")
    if origin.mode == "reflink":
        return _same_format(disk, origin.volume.format, "a reflink keeps the template's format")
    return disk.format or origin.volume.format


def _same_format(disk: Disk, image: str, why: str) -> str:
    if disk.format not in (None, image):
        raise TerminalError(f"disks[{disk.name}].format: {disk.format} is not possible: {why}")
    return image


def _resolve_clone(
    disk: Disk, os: Optional[str], desired: Desired, world: World, pool: PoolView
) -> Origin:
    path = f"disks[{disk.name}].source.template"
    template = desired.template(disk.template or "")
    if template is None:
        raise TerminalError(f"{path}: no Template {disk.template!r} among the manifests")
    volume = template_image(template, world, path)
    mode = _mode(disk, template, volume, world, pool)
    origin = Origin(f"template {template.name}", volume, mode, preparation=template.preparation)
    _refuse_origin(disk, origin, world, f"{path}: template {template.name!r}")
    refuse_unprepared(template, world, pool, path)
    sealing, unread = find_sealing(template, os, volume, world, path)
    return replace(origin, sealing=sealing, unread=unread)


def _refuse_origin(disk: Disk, origin: Origin, world: World, where: str) -> None:
    """Raise TerminalError if a running domain writes to the image, or it is too large."""
    images, volume = world.images, origin.volume
    own = origin.source.view.name if origin.is_live and origin.source else ""
    writers = sorted(
        {
            user.domain
            for user in images.find_users(volume.path)
            if user.is_live and user.writes and images.is_same(user.path, volume.path)
        }
        - {own}
    )
    if writers:
        raise TerminalError(
            f"{where}: {volume.path} is in use by the running domain {', '.join(writers)}; shut it "
            "down to clone from it"
        )
    if disk.size is not None and disk.size < volume.capacity:
        raise TerminalError(
            f"disks[{disk.name}].size: {format_size(disk.size)} is smaller than "
            f"{origin.what.rstrip(',')} ({format_size(volume.capacity)}); a disk is never shrunk"
        )


def _mode(
    disk: Disk, template: TemplateManifest, volume: VolumeView, world: World, pool: PoolView
) -> str:
    can: Mapping[str, Callable[[], bool]] = {
        "reflink": lambda: world.can_share(pool.name, volume.path),
        "linked": lambda: template.linked_clones and pool.type in FILE_POOLS,
        "full": lambda: True,
    }
    asked = disk.clone or CloneMode.AUTO
    if asked is CloneMode.AUTO:
        return next(mode for mode, is_possible in can.items() if is_possible())
    mode = str(asked.value)
    if not can[mode]():
        raise TerminalError(f"disks[{disk.name}].source.clone: {_WHY_NOT[asked]}")
    return mode


_WHY_NOT: Mapping[CloneMode, str] = {
    CloneMode.REFLINK: (
        "reflink is not possible: the template's image and the pool must share a file system that "
        "clones blocks (XFS with reflink=1, btrfs), reachable from here; use auto, linked or full"
    ),
    CloneMode.LINKED: (
        "linked is not allowed: the template does not set `linkedClones: true`, or the pool holds "
        "no qcow2 files"
    ),
}
