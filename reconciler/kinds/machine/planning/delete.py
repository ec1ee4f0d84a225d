"""Plan the end of a machine whose manifest is gone, and which of its volumes go. Pure."""

from __future__ import annotations

import posixpath
import shlex
from typing import Iterator, List, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.guest_states import find_command
from reconciler.core.images import DEFAULT_POOL
from reconciler.core.machine import Disk
from reconciler.core.manifest import Desired
from reconciler.core.names import IMAGES, Owner, name_seed_field, volume_name
from reconciler.core.plan import (
    Action,
    ActionKind,
    Before,
    Change,
    DeleteSeed,
    DeleteVolume,
    Effect,
    Shutdown,
    Step,
    Undefine,
    failed_action,
)
from reconciler.core.units import format_size
from reconciler.core.world import GuestState, Reading, Unknown, VolumeView, World
from reconciler.core.xmltree import digest, parse
from reconciler.errors import ReconcilerError, RefusedError, TerminalError, TransientError
from reconciler.kinds.machine.domain.mark import mentions_image
from reconciler.kinds.machine.planning.images import (
    all_volumes,
    find_overlays,
    find_pool,
)
from reconciler.kinds.machine.planning.states import find_wait, is_deaf, refuse_unstored, say_deaf
from reconciler.kinds.machine.status import (
    DELETE_DISKS,
    ORPHAN,
    Applied,
    AppliedDisk,
    is_owned,
    read_applied,
)


@frozen
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
    names = {volume_name(machine, disk.name, image) for machine in owner.names for image in IMAGES}
    for name in sorted(names):
        volume = pool.volumes.get(name)
        if volume is not None and volume.path in owner.made:
            yield volume


def _find_user(owner: str, volume: VolumeView, world: World, desired: Desired) -> Optional[str]:
    """Return what else depends on the volume, or None."""
    images = world.images
    holders = {user.domain: user.path for user in images.find_users(volume.path)}
    for other in sorted(name for name in holders if name != owner):
        if not images.is_same(holders[other], volume.path):
            return f"it is below {holders[other]}, which domain {other} uses"
    overlays = find_overlays(world, volume.path)
    named = {overlay.path for overlay in all_volumes(world) if _is_below(volume, overlay)}
    overlays = tuple(sorted(named.union(overlays)))
    if overlays:
        return f"it carries {len(overlays)} linked clone(s): {', '.join(overlays[:3])}"
    users = [
        domain
        for domain in sorted(world.domains)
        if domain != owner and _uses(domain, volume, world)
    ]
    if users:
        return f"domain {', '.join(users[:3])} names it too"
    snapshots = images.find_snapshot_users(volume.path, set(world.domains) - {owner})
    if snapshots:
        return f"a snapshot of domain {', '.join(snapshots[:3])} needs it"
    templates = [
        template.name
        for template in desired.templates
        if world.images.is_same(template.image, volume.path)
        or posixpath.basename(template.image or "") == volume.name
        or (template.pool or DEFAULT_POOL, template.volume) == (volume.pool, volume.name)
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
    if any(user.domain == name for user in world.images.find_users(volume.path)):
        return True
    both = (reading.view.persistent_xml, reading.view.live_xml)
    return any(
        mentions_image(xml, volume.pool, volume.name, volume.path)
        for xml in both
        if xml is not None
    )


KIND = "VirtualMachine"
ORPHANED = "its manifest is gone; lifecycle.deletion is orphan, so it stays as it is"
NAMED = "the manifest named an image that was there; such an image is never deleted"
STRANGE = "not known to have been made for this machine"
DESTRUCTIVE = Effect.DESTRUCTIVE


def plan_delete(
    reading: Reading, world: World, desired: Desired, snapshots: Sequence[str] = ()
) -> Action:
    """Return the DELETE action; NONE for an orphan; FAILED, with the reason, where it is refused.

    `world` holds every domain of the host, and every active pool where disks are to go; `desired`
    are the templates of today; `snapshots` is what `Domains.list_snapshots` says.
    """
    try:
        return _plan(reading, world, desired, snapshots)
    except ReconcilerError as error:
        return failed_action(KIND, reading.view.name, error)


def _plan(reading: Reading, world: World, desired: Desired, snapshots: Sequence[str]) -> Action:
    view, owner = reading.view, reading.owner
    if owner is None or not is_owned(reading):
        raise RefusedError("it is not managed, and only managed machines are deleted")
    applied = read_applied(owner)
    if applied.deletion == ORPHAN:
        notes = (ORPHANED, *_say_bus_change(owner))
        return Action(KIND, view.name, ActionKind.NONE, notes=notes)
    _refuse(reading, desired, snapshots)
    deletes_disks = applied.deletion == DELETE_DISKS
    own = find_own_volumes(owner, applied, world, desired) if deletes_disks else ()
    return Action(
        KIND,
        view.name,
        ActionKind.DELETE,
        changes=(
            *_power(reading, applied),
            *_belongings(reading, applied),
            *(_disks(reading, applied, own) if deletes_disks else ()),
        ),
        steps=_steps(reading, applied, own),
        before=Before(digest(view.persistent_xml), view.state),
        notes=() if deletes_disks else tuple(_kept_disks(reading)),
    )


def _say_bus_change(owner: Owner) -> Iterator[str]:
    """Say what an orphan keeps of a staged bus change that nobody ends."""
    from reconciler.kinds.machine.planning.bus_change_stage import (  # noqa: PLC0415 - seldom
        name_helpers,
    )

    mark, name = owner.bus_change, shlex.quote(owner.name)
    if mark is not None and not mark.is_over:
        yield (
            f"a staged bus change to {mark.aim} is under way in it; what stays: "
            f"{name_helpers(mark)}; to end it, restore the manifest and run: "
            f"virt-reconciler apply --abort-bus-change {name} MANIFESTS"
        )


def _refuse(reading: Reading, desired: Desired, snapshots: Sequence[str]) -> None:
    name, quoted = reading.view.name, shlex.quote(reading.view.name)
    refuse_unstored(reading.view, may_store=False, outcome="deleted")
    templates = [template.name for template in desired.templates if template.domain == name]
    if templates:
        raise RefusedError(
            f"Template {', '.join(templates)} uses it; delete the template first, or restore "
            "the machine's manifest"
        )
    _refuse_busy(reading)
    if snapshots:
        raise RefusedError(
            f"it has {', '.join(snapshots)}, which would be lost; delete them (`virsh "
            f"snapshot-delete {quoted} NAME`, `virsh checkpoint-delete {quoted} NAME`), or "
            "restore the manifest"
        )


def _refuse_busy(reading: Reading) -> None:
    """Refuse what libvirt works on at this moment, and what cannot be asked to shut down."""
    view, owner = reading.view, reading.owner
    wait = find_wait(view, ("definition",)) if view.state is not GuestState.SHUTTING_DOWN else ""
    if wait:
        raise TransientError(wait)
    if is_deaf(view) and owner is not None and not read_applied(owner).force_off:
        raise TransientError(f"{say_deaf(view)}: {find_command(view)}")


def _steps(reading: Reading, applied: Applied, own: Tuple[OwnVolume, ...]) -> Tuple[Step, ...]:
    steps: List[Step] = []
    if reading.is_active:
        steps.append(Shutdown(applied.shutdown_timeout, applied.force_off))
    steps.extend(
        DeleteVolume(owned.disk, owned.volume.pool, owned.volume.name, owned.volume.path)
        for owned in own
        if not owned.kept
    )
    return (*steps, *_list_made(reading), Undefine())


def _list_made(reading: Reading) -> Iterator[DeleteSeed]:
    """Yield the deletion of what was made beside the disks: a seed, a helper disk."""
    owner = reading.owner
    seed, helper = (None, None) if owner is None else (owner.seed, owner.bus_change)
    if seed is not None and seed.is_attached:
        yield DeleteSeed(seed.pool, seed.volume, seed.path)
    if helper is not None and helper.path:
        yield DeleteSeed(helper.pool, helper.volume, helper.path)


def _power(reading: Reading, applied: Applied) -> Iterator[Change]:
    """Say how the guest ends: `deletion` is the permission to shut it down, never to cut it off."""
    if reading.is_active:
        hard = "then its power is cut" if applied.force_off else "else nothing is deleted"
        reason = f"the guest is asked, and has {applied.shutdown_timeout} s; {hard}"
        if is_deaf(reading.view):
            reason = "it cannot be asked to shut down, so its power is cut (forceOff)"
        yield Change("power", reading.view.state.value, "stopped", DESTRUCTIVE, reason=reason)


def _belongings(reading: Reading, applied: Applied) -> Iterator[Change]:
    """List what goes with the definition."""
    view = reading.view
    yield _gone("definition", f"UUID {view.uuid}", f"lifecycle.deletion is {applied.deletion}")
    root = parse(view.persistent_xml)
    nvram = (root.findtext("os/nvram") or "").strip()
    if nvram or root.find("os[@firmware='efi']") is not None or root.find("os/nvram") is not None:
        yield _gone("nvram", nvram or "libvirt's own file", "deleted: the UEFI variables")
    if root.find("devices/tpm/backend[@type='emulator']") is not None:
        reason = "deleted: what was sealed with it (BitLocker, LUKS) opens by its recovery key only"
        yield _gone("tpm", "emulated", reason)
    for made in _list_made(reading):
        field = name_seed_field(made.name)
        yield _gone(field, f"{made.pool}/{made.name}", f"deleted: {made.path}")
    if view.saved:
        yield _gone("saved", "the guest's saved memory", "deleted: the guest is not resumed")


def _disks(reading: Reading, applied: Applied, own: Tuple[OwnVolume, ...]) -> Iterator[Change]:
    """List every disk of the machine, and what happens to its image."""
    for volume in own:
        yield _describe(volume)
    paths = {owned.volume.path for owned in own}
    for disk in reading.persistent.disks or ():
        if disk.source not in paths:
            yield _kept(disk, _why_kept(disk, applied, reading))


def _why_kept(disk: Disk, applied: Applied, reading: Reading) -> str:
    if any(former.name == disk.name and not former.is_made for former in applied.disks):
        return NAMED
    if reading.owner is not None and disk.source in reading.owner.made:
        return "its volume is already gone, or the last manifest did not name the disk"
    return STRANGE


def _describe(own: OwnVolume) -> Change:
    volume = own.volume
    text = f"{volume.pool}/{volume.name}, {format_size(volume.capacity)}"
    path = f"disks[{own.disk}]"
    if own.kept:
        return Change(path, text, None, Effect.WITHHELD, reason=f"its volume stays: {own.kept}")
    return _gone(path, text, f"its volume is deleted: {volume.path}")


def _kept(disk: Disk, why: str) -> Change:
    path, image = f"disks[{disk.name}]", disk.source or "an image without a path"
    return Change(path, image, None, Effect.WITHHELD, reason=f"its image stays: {why}")


def _gone(path: str, value: str, reason: str) -> Change:
    return Change(path, value, None, DESTRUCTIVE, reason=reason)


def _kept_disks(reading: Reading) -> Iterator[str]:
    for disk in reading.persistent.disks or ():
        yield f"disks[{disk.name}]: {disk.source or 'its image'} stays"
