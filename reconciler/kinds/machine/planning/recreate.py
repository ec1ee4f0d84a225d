"""Bring back a machine that libvirt has lost: as it was last known, with its own disks. Pure.

Nothing is made anew that is there, and no guest is started on an image that is older than what it
wrote last.
"""

from __future__ import annotations

from typing import Iterator, Optional, Sequence, Tuple

from reconciler.core.frozen import replace
from reconciler.core.images import DEFAULT_POOL
from reconciler.core.machine import Disk, Machine, Power, describe_device
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import IMAGES, volume_name
from reconciler.core.plan import (
    Action,
    ActionKind,
    Before,
    Change,
    Define,
    Effect,
    SetAutostart,
    Start,
    Step,
)
from reconciler.core.units import show_time
from reconciler.core.world import LostMachine, PoolView, Reading, VolumeView, World
from reconciler.core.xmltree import digest, parse
from reconciler.errors import MissingError, RefusedError
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import Difference, DifferenceKind, align, by_name
from reconciler.kinds.machine.planning.checks import refuse_taken
from reconciler.kinds.machine.planning.differences import Holding, Planner
from reconciler.kinds.machine.planning.images import (
    find_overlays,
    settle_found,
    settle_sources,
    volume_at,
)
from reconciler.kinds.machine.planning.sources import describe_use

# libvirt's pool types that another host may use as well (https://libvirt.org/storage.html).
SHARED_POOLS = frozenset(
    {"gluster", "iscsi", "iscsi-direct", "netfs", "rbd", "sheepdog", "vstorage"}
)
UNDEFINED = "it was undefined while it ran; defined again as the guest runs now"


def plan_recreate(
    manifest: MachineManifest,
    lost: LostMachine,
    desired: Desired,
    world: World,
    planner: Planner,
) -> Optional[Action]:
    """Return the CREATE action that defines the machine again, None if all its images are gone.

    Raises MissingError where an image cannot be seen now or is not the newest, TerminalError where
    something of it is taken.
    """
    disks = _disks(manifest, lost, world)
    if disks and all(_is_gone(disk.source or "", world) for disk in disks):
        return None
    kept = (
        None if manifest.machine.disks is None else {disk.name for disk in manifest.machine.disks}
    )
    for disk in disks:
        if kept is not None and disk.name not in kept:
            continue  # it is taken away, and its image stays where and as it is
        _refuse_unseen(manifest.name, disk, lost, world)
        _refuse_overlaid(manifest.name, disk, world)
    machine = lost.reading.persistent
    known = replace(manifest, machine=replace(manifest.machine, uuid=lost.reading.view.uuid))
    refuse_taken(known, (*disks, *(machine.interfaces or ())), desired, world)
    base = _base(manifest, lost, disks, world)
    from reconciler.kinds.machine.planning.update import plan_update  # noqa: PLC0415

    action = plan_update(manifest, base.reading, desired, world, planner, Holding.OURS)
    return replace(
        action,
        action=ActionKind.CREATE,
        changes=(*_describe(base, disks), *action.changes),
        steps=(Define(base.reading.view.persistent_xml), *_rest(action, manifest, lost)),
        before=Before(None),
        notes=(*_notes(lost), *action.notes),
    )


def describe_gone(manifest: MachineManifest, lost: LostMachine, world: World) -> str:
    """Say that a machine is made anew, and of which images nothing is there any more."""
    paths = ", ".join(disk.source or "" for disk in _disks(manifest, lost, world))
    return (
        f"it was here before, and all its images are gone: {paths}; it is created with new disks. "
        "If they were moved, move them back first"
    )


def find_shared(manifest: MachineManifest, lost: LostMachine, world: World) -> str:
    """Say why a person must confirm that a lost machine runs nowhere else; empty if not needed.

    On storage that another host reaches, it may have been migrated away instead of lost.
    """
    for disk in () if world.others_asked else _disks(manifest, lost, world):
        volume = volume_at(world, disk.source)
        pool = world.find_pool(volume.pool) if volume is not None else None
        if isinstance(pool, PoolView) and pool.type in SHARED_POOLS:
            return (
                f"libvirt has no definition of it any more, and its disk {disk.name} is in pool "
                f"{pool.name} ({pool.type}), which another host may use. If it does not run "
                "anywhere else, confirm: virt-reconciler apply --here "
                f"{manifest.name} {manifest.place.file}"
            )
    return ""


def _disks(manifest: MachineManifest, lost: LostMachine, world: World) -> Tuple[Disk, ...]:
    """Return the disks that the machine had and may write to, with the images it is to have."""
    wanted = settle_sources(manifest.machine, world).disks
    former = align(manifest.machine, settle_found(lost.reading.persistent, world)).disks or ()
    asked = [by_name(wanted or (), disk.name) for disk in former]
    return tuple(
        replace(disk, source=new.source) if new is not None and new.source else disk
        for disk, new in zip(former, asked)
        if not disk.readonly and (disk.source or "").startswith("/")
    )


def _is_gone(path: str, world: World) -> bool:
    """Whether there is certainly no such image: its folder is a pool's, which has it not."""
    folder = path.rpartition("/")[0]
    in_pool = any(pool.path.rstrip("/") == folder for pool in world.list_pools())
    return in_pool and volume_at(world, path) is None


def _refuse_unseen(name: str, disk: Disk, lost: LostMachine, world: World) -> None:
    path = disk.source or ""
    where = f"disks[{disk.name}]: {name} was undefined, and its image {path}"
    if _is_gone(path, world):
        raise MissingError(
            f"{where} is missing, while other disks of it exist; restore it, or remove the disk "
            "from the manifest, or create a blank one: qemu-img create -f "
            f"{disk.format or 'raw'} {path} SIZE"
        )
    owner = lost.reading.owner
    if owner is not None and path in owner.made and volume_at(world, path) is None:
        raise MissingError(
            f"{where} is in no active storage pool; start its pool: virsh pool-list --all, "
            "virsh pool-start POOL"
        )


def refuse_there(manifest: MachineManifest, world: World) -> None:
    """Raise RefusedError where volumes of a machine to be made are there: they may be its own."""
    found = [
        describe_there(manifest.name, disk, volume, world)
        for disk in manifest.machine.disks or ()
        if disk.source is None and disk.volume is None
        for volume in _volumes_of(manifest.name, disk, world)
    ]
    if found:
        raise RefusedError("; ".join(found))


def _volumes_of(name: str, disk: Disk, world: World) -> Iterator[VolumeView]:
    pool = world.find_pool(disk.pool or DEFAULT_POOL)
    if isinstance(pool, PoolView):
        names = (volume_name(name, disk.name, image) for image in IMAGES)
        yield from (pool.volumes[volume] for volume in names if volume in pool.volumes)


def describe_there(name: str, disk: Disk, volume: VolumeView, world: World) -> str:
    """Say that the volume of a disk is there, and with which line it is used."""
    use = describe_use(name, disk, volume, world)
    if use:
        return use
    newest = _find_newest(volume.path, world) or (volume.path,)
    lines = " or ".join(_source_line(disk, path, world) for path in newest)
    return (
        f"disks[{disk.name}]: volume {volume.name!r} exists already in pool {volume.pool!r}, "
        f"and no record shows that it belongs to {name}. If it does (its definition was lost), "
        f"write in the manifest of this disk: {lines} (and no other source). If it does not, "
        "give the disk another name"
    )


def _refuse_overlaid(name: str, disk: Disk, world: World) -> None:
    """Raise MissingError where an image that nobody uses lies above the disk's: it is newer."""
    newest = _find_newest(disk.source or "", world)
    if newest:
        lines = " or ".join(_source_line(disk, path, world) for path in newest)
        paths = ", ".join(newest)
        raise MissingError(
            f"disks[{disk.name}]: {disk.source} is not the newest image of {name}: {paths} lies "
            "above it, as after a snapshot with --disk-only, and has everything that the guest "
            f"wrote since. To continue with it, write in the manifest of this disk: {lines}"
        )


def _find_newest(path: str, world: World) -> Tuple[str, ...]:
    """Return the tops of the chains above an image that no machine uses, defined or lost."""
    over = [overlay for overlay in find_overlays(world, path) if not _is_used(overlay, world)]
    images = world.images
    return tuple(
        overlay
        for overlay in over
        if not any(
            images.is_same(overlay, below)
            for other in over
            for below in images.find_chain(other)[1:]
        )
    )


def _is_used(path: str, world: World) -> bool:
    images = world.images
    lost = (
        disk for machine in world.lost.values() for disk in machine.reading.persistent.disks or ()
    )
    return bool(images.find_users(path)) or any(images.is_same(disk.source, path) for disk in lost)


def _source_line(disk: Disk, path: str, world: World) -> str:
    """Return the line of a manifest that names the image as the disk's."""
    volume = volume_at(world, path)
    if volume is not None and volume.pool == (disk.pool or DEFAULT_POOL):
        return f"source: {{volume: {volume.name}}}"
    return f"source: {{path: {path}}}"


def _base(
    manifest: MachineManifest, lost: LostMachine, disks: Sequence[Disk], world: World
) -> LostMachine:
    """Return the machine as it is defined first: on the images that it is to have.

    Where a size cannot be seen, it is the manifest's.
    """
    wanted = {disk.name: disk.size for disk in manifest.machine.disks or ()}
    former = align(manifest.machine, settle_found(lost.reading.persistent, world)).disks or ()
    edits = tuple(
        edit for disk in former for edit in _moves(disk, by_name(disks, disk.name), world)
    )
    xml = edit_domain(lost.reading.view.persistent_xml, edits)
    machine = replace(read_machine(parse(xml)), power=Power.STOPPED, autostart=False)
    named = align(manifest.machine, machine).disks or ()
    sizes = {disk.alias or disk.target: _size(disk, wanted.get(disk.name), world) for disk in named}
    sized = tuple(
        replace(disk, size=sizes.get(disk.alias or disk.target)) for disk in machine.disks or ()
    )
    view = replace(lost.reading.view, persistent_xml=xml)
    machine = replace(machine, disks=sized)
    return replace(lost, reading=replace(lost.reading, view=view, persistent=machine))


def _size(disk: Disk, wanted: Optional[int], world: World) -> Optional[int]:
    volume = volume_at(world, disk.source)
    return wanted if volume is None else volume.capacity


def _moves(former: Disk, disk: Optional[Disk], world: World) -> Iterator[Difference]:
    """Yield the edits that put a disk on the image that the manifest names by now."""
    if disk is None or world.images.is_same(former.source, disk.source):
        return
    volume = volume_at(world, disk.source)
    image_format = volume.format if volume is not None else disk.format
    for leaf, old, new in (
        ("source", former.source, disk.source),
        ("format", former.format, image_format),
    ):
        if old != new:
            yield Difference(
                field=f"disks[].{leaf}",
                kind=DifferenceKind.CHANGE,
                observed=old,
                desired=new,
                device=former.name,
                item=former,
            )


def _rest(action: Action, manifest: MachineManifest, lost: LostMachine) -> Iterator[Step]:
    """Yield what is done to the machine once it is defined, autostart as it was among it."""
    keeps_autostart = lost.autostart and manifest.machine.autostart is None
    for step in action.steps:
        if keeps_autostart and isinstance(step, Start):
            yield SetAutostart(enabled=True)
            keeps_autostart = False
        yield step
    if keeps_autostart:
        yield SetAutostart(enabled=True)


def _describe(lost: LostMachine, disks: Sequence[Disk]) -> Iterator[Change]:
    uuid = lost.reading.view.uuid
    yield Change("uuid", None, uuid, Effect.OFFLINE, reason="as it was")
    for disk in disks:
        about = f"its own image {disk.source}"
        yield Change(f"disks[{disk.name}]", None, describe_device(disk, about), Effect.OFFLINE)
    machine: Machine = lost.reading.persistent
    for card in machine.interfaces or ():
        path = f"interfaces[{card.name}]"
        yield Change(path, None, describe_device(card), Effect.OFFLINE)


def _notes(lost: LostMachine) -> Iterator[str]:
    yield (
        "libvirt has no definition of it any more; it is defined again with its own disks, "
        f"UUID and addresses, from the record of {show_time(lost.at)}"
    )
    for place in lost.missing:
        yield f"{place}: the former secret is not stored; set it again"


def store_again(action: Action, reading: Reading) -> Action:
    """Have the definition of a running machine stored again, before what else the plan does."""
    view = reading.view
    change = Change(
        "definition", None, f"stored again, UUID {view.uuid}", Effect.LIVE, reason=UNDEFINED
    )
    return replace(
        action,
        action=ActionKind.UPDATE,
        changes=(change, *action.changes),
        steps=(Define(view.persistent_xml), *action.steps),
        before=Before(digest(view.persistent_xml), view.state),
    )
