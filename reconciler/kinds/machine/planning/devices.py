"""Complete the devices that are to be added, and refuse those that cannot be. Pure."""

from __future__ import annotations

from typing import Iterable, Optional, Tuple

from reconciler.core.field_table import OFFERED
from reconciler.core.frozen import frozen, replace
from reconciler.core.machine import Cdrom, Disk, Interface, Machine
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import derive_mac
from reconciler.core.plan import DeletePartial, Step
from reconciler.core.world import Reading, World
from reconciler.kinds.machine.domain.devices import place_devices
from reconciler.kinds.machine.match import Device, DifferenceKind, by_name
from reconciler.kinds.machine.planning.checks import (
    find_caps,
    refuse_absent_networks,
    refuse_taken,
    refuse_template_writes,
    refuse_unoffered,
)
from reconciler.kinds.machine.planning.decide import Decision
from reconciler.kinds.machine.planning.first_boot import NO_SEED, SeedPlan
from reconciler.kinds.machine.planning.images import all_volumes, volume_at
from reconciler.kinds.machine.planning.sources import resolve_disk


@frozen
class Update:
    """Everything the steps of an existing machine are made of.

    `machine` is what is wanted; `stored` and `live` what was found, devices named as in
    `machine`. `decisions` are only those that are carried out; `in_full` says that none is
    withheld, `adopts` that the domain is taken over by it. `seed` is what happens to cloud-init's.
    """

    manifest: MachineManifest
    machine: Machine
    stored: Machine
    live: Optional[Machine]
    reading: Reading
    decisions: Tuple[Decision, ...]
    in_full: bool
    desired: Desired
    world: World
    adopts: bool = False
    seed: SeedPlan = NO_SEED

    @property
    def creating(self) -> Tuple[str, ...]:
        """Paths of volumes that an interrupted run left unfinished."""
        return self.reading.owner.creating if self.reading.owner else ()

    @property
    def made(self) -> Tuple[str, ...]:
        """Paths of volumes that were made for the machine before."""
        return self.reading.owner.made if self.reading.owner else ()

    @property
    def formerly(self) -> Tuple[str, ...]:
        """Names that the machine had before."""
        return self.reading.owner.formerly if self.reading.owner else ()


@frozen
class NewDevice:
    """A device to be added, completed, with the steps that make its volume.

    `path` is the field that asks for it, `about` says what its volume will be.
    """

    item: Device
    path: str = ""
    steps: Tuple[Step, ...] = ()
    about: str = ""


def complete_devices(update: Update) -> Tuple[NewDevice, ...]:
    """Return every device to be added, completed and checked."""
    new = tuple(
        _complete(decision, update, decision.difference.item)
        for decision in update.decisions
        if decision.difference.kind is DifferenceKind.ADD and decision.difference.item is not None
    )
    _refuse(update, tuple(device.item for device in new))
    if not new:
        return ()
    view = update.reading.view
    both = [xml for xml in (view.persistent_xml, view.live_xml) if xml is not None]
    placed = place_devices([device.item for device in new], *both)
    return tuple(replace(device, item=item) for device, item in zip(new, placed))


def remake_disks(update: Update) -> Tuple[NewDevice, ...]:
    """Return the disks that the definition has, whose volumes were never made.

    A volume that is there is not made anew: a guest may have had it open since.
    """
    if update.reading.is_active:
        return ()
    wanted = {disk.name: disk for disk in update.manifest.machine.disks or ()}
    unfinished = [disk for disk in update.stored.disks or () if disk.source in update.creating]
    made = [
        resolve_disk(
            wanted[disk.name], update.manifest, update.desired, update.world, update.reading.owner
        )
        for disk in unfinished
        if disk.name in wanted and volume_at(update.world, disk.source) is None
    ]
    return tuple(NewDevice(new.disk, "", new.steps) for new in made)


def drop_leftovers(update: Update, new: Tuple[NewDevice, ...]) -> Tuple[Step, ...]:
    """Delete what an interrupted run began to make and the manifest no longer asks for."""
    if not update.creating:
        return ()
    kept = {device.item.source for device in new if isinstance(device.item, Disk)}
    kept |= {disk.source for side in (update.stored, update.live) for disk in _disks(side)}
    return tuple(
        DeletePartial("", volume.pool, volume.name)
        for volume in all_volumes(update.world)
        if volume.path in update.creating
        and volume.path not in kept
        and not update.world.images.find_users(volume.path)
    )


def _disks(machine: Optional[Machine]) -> Tuple[Disk, ...]:
    return (machine.disks if machine else None) or ()


def _complete(decision: Decision, update: Update, item: Device) -> NewDevice:
    """Fill in what the manifest leaves to us: MAC, image, or what the other side has already."""
    path = decision.difference.path
    elsewhere = _elsewhere(decision, update)
    if elsewhere is not None:
        return NewDevice(elsewhere, path)
    if isinstance(item, Interface):
        mac = item.mac or derive_mac(update.manifest.name, item.name)
        return NewDevice(replace(item, mac=mac), path)
    if isinstance(item, Cdrom):
        return NewDevice(replace(item, media=item.media or ""), path)
    item = replace(item, discard=item.discard or "unmap")  # as at creation
    made = resolve_disk(item, update.manifest, update.desired, update.world, update.reading.owner)
    return NewDevice(made.disk, path, made.steps, made.about)


def _elsewhere(decision: Decision, update: Update) -> Optional[Device]:
    """Return the device as the one configuration has it, when only the other lacks it."""
    machine = update.live if decision.live is None else update.stored
    both = decision.live is not None and decision.stored is not None
    if machine is None or both:
        return None
    kind = decision.difference.field.split("[", 1)[0]
    return by_name(getattr(machine, kind), decision.difference.device or "")


def _refuse(update: Update, items: Tuple[Device, ...]) -> None:
    moved = _moved_disks(update)
    names = {item.name for item in (*items, *moved)}
    staying = tuple(disk for disk in update.machine.disks or () if disk.name not in names)
    if items or moved:
        refuse_taken(update.manifest, (*items, *moved), update.desired, update.world, staying)
    refuse_absent_networks(_touched_interfaces(update), update.world)
    disks = tuple(item for item in items if isinstance(item, Disk))
    refuse_template_writes(Machine(update.manifest.name, disks=disks), update.world, "disks")
    offered = _to_be_offered(update, items)
    if offered != Machine(update.manifest.name):
        refuse_unoffered(offered, find_caps(update.world, update.stored.machine or ""))


# What makes another image of a disk's, or another writer of its guest.
_USES = frozenset({"disks[].source", "disks[].readonly", "disks[].shareable"})


def _moved_disks(update: Update) -> Tuple[Disk, ...]:
    """Return the disks that are to have another image, or to use theirs in another way."""
    found = [decision.difference for decision in update.decisions]
    moved = {difference.device for difference in found if difference.field in _USES}
    stored = {disk.name: disk for disk in update.stored.disks or ()}
    return tuple(
        replace(
            disk,
            source=disk.source or stored[disk.name].source,
            format=disk.format or stored[disk.name].format,
            shareable=stored[disk.name].shareable if disk.shareable is None else disk.shareable,
            readonly=stored[disk.name].readonly if disk.readonly is None else disk.readonly,
        )
        for disk in update.machine.disks or ()
        if disk.name in moved and disk.name in stored
    )


def _touched_interfaces(update: Update) -> Iterable[Interface]:
    touched = {
        decision.difference.device
        for decision in update.decisions
        if decision.difference.field in ("interfaces[]", "interfaces[].network")
    }
    return (interface for interface in update.machine.interfaces or () if interface.name in touched)


def _to_be_offered(update: Update, items: Tuple[Device, ...]) -> Machine:
    """Return a machine of only what this plan newly asks of the host."""
    changed = {decision.difference.field: decision.difference for decision in update.decisions}
    moved = {
        decision.difference.device
        for decision in update.decisions
        if decision.difference.field == "disks[].bus"
    }
    disks = [item for item in items if isinstance(item, Disk)]
    disks += [disk for disk in update.machine.disks or () if disk.name in moved]
    cdroms = tuple(item for item in items if isinstance(item, Cdrom))
    machine = Machine(update.manifest.name, disks=tuple(disks) or None, cdroms=cdroms or None)
    asked = {name: getattr(update.machine, name) for name in OFFERED if name in changed}
    return replace(machine, **asked)
