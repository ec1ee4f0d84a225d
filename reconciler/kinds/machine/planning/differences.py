"""A manifest beside the domain that was found, and what differs. Pure.

Most machines are as their manifest says. For those nothing is loaded that decides about changes.

Each disk is where it is in its backing chain. Snapshots, block commits, pulls and copies by other
tools move a disk rightly: one whose chain holds the image that its manifest names is that disk; one
that was moved away from it is left where it is. Nothing here ever takes a disk back to an image
that is older than what its guest uses.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from enum import Enum
from typing import FrozenSet, List, Mapping, Optional, Tuple

from reconciler.core.faults import Fact, Section
from reconciler.core.frozen import frozen, replace
from reconciler.core.machine import Cdrom, Disk, Machine, Power, chipset_of
from reconciler.core.manifest import MachineManifest
from reconciler.core.world import Reading, World, size_key
from reconciler.kinds.machine.domain.features import settle_firmware, settle_password
from reconciler.kinds.machine.match import (
    Difference,
    align,
    align_live,
    as_defined,
    by_name,
    compare,
)
from reconciler.kinds.machine.planning.disk_images import (
    DiskChain,
    find_own_image,
    find_reason,
    follow_images,
    is_asked,
    name_grown,
    with_snapshot,
)
from reconciler.kinds.machine.planning.guards import list_refs, made_with, owner_of
from reconciler.kinds.machine.planning.images import (
    settle_found,
    settle_sources,
    with_own_images,
)


@frozen
class Planner:
    """Who plans: at which local time (None: no window is open), and whether a person sees it.

    `left` is why single paths are left alone; `retried` and `aborts` are as in the plan's options.
    """

    now: Optional[datetime] = None
    unattended: bool = False
    left: Mapping[str, str] = field(default_factory=dict)
    retried: float = 0
    aborts: FrozenSet[str] = frozenset()


class Holding(Enum):
    """Whose the domain is: ours, ours with this plan, or somebody else's."""

    OURS = "ours"
    ADOPTED = "adopted"
    FOREIGN = "foreign"


@frozen
class Found:
    """A manifest beside what was found, devices named alike."""

    manifest: MachineManifest
    machine: Machine
    reading: Reading
    stored: Machine
    live: Optional[Machine]
    chains: Tuple[DiskChain, ...] = ()


def is_applied(manifest: MachineManifest, reading: Reading, world: World) -> bool:
    """Whether a machine of ours is as its manifest says, and there is nothing to tell of it."""
    _ask_all_sizes(manifest.machine, reading, world)
    found = find(manifest, reading, world)
    return not any(find_differences(found, world)) and _is_marked(found)


def _is_marked(found: Found) -> bool:
    """Whether the mark says what it would say after an apply, and there is nothing else to tell."""
    manifest, owner = found.manifest, found.reading.owner
    is_given = manifest.cloud_init or manifest.ignition or manifest.windows
    is_waiting = owner is not None and (owner.seed or owner.bus_change)
    if owner is None or is_waiting or is_given or list_refs(manifest.machine):
        return False
    if any(chain.note for chain in found.chains):
        return False
    made = made_with(owner, manifest.name, ())
    applied = owner_of(manifest, made=made, formerly=owner.formerly, secrets=owner.secrets)
    return replace(owner, revision=applied.revision) == applied


def find(manifest: MachineManifest, reading: Reading, world: World) -> Found:
    """Set the manifest beside the reading: devices named alike, equal spellings made equal."""
    machine = settle_sources(manifest.machine, world)
    near = with_own_images(world, reading)
    persistent = settle_found(reading.persistent, world)
    if reading.view.saved and not reading.is_active and machine.power is Power.RUNNING:
        persistent = replace(persistent, power=Power.SAVED)
    known = name_images(manifest, machine, persistent, reading, near)
    stored = settle_firmware(machine.firmware, align(known, persistent))
    running = settle_found(reading.live, world) if reading.live else None
    live = align_live(known, stored, running) if running else None
    live = settle_firmware(machine.firmware, as_defined(live, stored)) if live else None
    stored = settle_password(machine, stored, world.find_secret)
    live = settle_password(machine, live, world.find_secret) if live else None
    machine = _skip_unfinished(_pin(machine, stored), stored, creating(reading))
    machine, live, chains = settle_chains(manifest, machine, stored, live, reading, near)
    machine, stored, live = follow_images(machine, stored, live, chains, near)
    return Found(manifest, machine, reading, stored, live, chains)


def creating(reading: Reading) -> Tuple[str, ...]:
    """Return the paths of volumes that an interrupted run left unfinished."""
    return reading.owner.creating if reading.owner else ()


def _skip_unfinished(machine: Machine, stored: Machine, paths: Tuple[str, ...]) -> Machine:
    """Do not compare the size of an image that is made anew anyway."""
    unfinished = {disk.name for disk in stored.disks or () if disk.source in paths}
    if not unfinished or machine.disks is None:
        return machine
    disks = (
        replace(disk, size=None) if disk.name in unfinished else disk for disk in machine.disks
    )
    return replace(machine, disks=tuple(disks))


def _pin(machine: Machine, stored: Machine) -> Machine:
    """Take a machine type without a version for what it was resolved to when it was made."""
    wanted = machine.machine
    if wanted in ("q35", "pc") and stored.machine and chipset_of(stored.machine) == wanted:
        return replace(machine, machine=stored.machine)
    return machine


def find_differences(
    found: Found, world: World
) -> Tuple[Tuple[Difference, ...], Tuple[Difference, ...]]:
    """Return what differs in the stored and in the running configuration."""
    _ask_sizes(found, world)
    overlays = found.manifest.machine.overlays
    view = found.reading.view
    stored = name_grown(compare(found.machine, found.stored), found.machine)
    live = () if found.live is None else compare(found.machine, found.live)
    if not overlays:
        return stored, live
    from reconciler.kinds.machine.domain.overlays import compare_overlays  # noqa: PLC0415

    stored += compare_overlays(view.persistent_xml, overlays, world.find_secret)
    if view.live_xml is not None:
        live += compare_overlays(view.live_xml, overlays, world.find_secret)
    return stored, live


def _ask_all_sizes(machine: Machine, reading: Reading, world: World) -> None:
    """Ask for all sizes before anything is compared, where each is going to be asked for.

    A question has the whole plan of the machine made again.
    """
    if machine.disks is None or any(disk.size is None for disk in machine.disks):
        return
    if not creating(reading):
        sides = (side for side in (reading.persistent, reading.live) if side is not None)
        keys = {size_key(disk) for side in sides for disk in side.disks or ()}
        world.ask(*(Fact(Section.SIZE, reading.view.name, key) for key in keys))


def _ask_sizes(found: Found, world: World) -> None:
    """Ask for the sizes of disks whose size is managed, and of those that are to be removed.

    What is to be removed is shown with what it is.
    """
    machine, reading = found.machine, found.reading
    managed = {disk.name: disk.size is not None for disk in machine.disks or ()}
    removes = machine.disks is not None
    keys = {
        size_key(disk)
        for named, observed in ((found.stored, reading.persistent), (found.live, reading.live))
        if named is not None and observed is not None
        # As the manifest names them, and as libvirt has them: both in the order of the XML.
        for named_disk, disk in zip(named.disks or (), observed.disks or ())
        if managed.get(named_disk.name, removes)
    }
    world.ask(*(Fact(Section.SIZE, reading.view.name, key) for key in keys))


def settle_chains(
    manifest: MachineManifest,
    machine: Machine,
    stored: Machine,
    live: Optional[Machine],
    reading: Reading,
    world: World,
) -> Tuple[Machine, Optional[Machine], Tuple[DiskChain, ...]]:
    """Return the wanted machine, the running one and the chains; equal where they are.

    `stored` and `live` have their devices named as in `machine`.
    """
    chains: List[DiskChain] = []
    wanted: List[Disk] = []
    running = {disk.name: disk for disk in (live.disks if live else None) or ()}
    for disk in machine.disks or ():
        there, now = by_name(stored.disks, disk.name), running.get(disk.name)
        chain = None
        if there is not None:
            chain = _find_chain(manifest, disk, there, now, reading, world)
        if there is None or chain is None:
            wanted.append(disk)
            continue
        chains.append(chain)
        settled = _settle(disk, chain, there, now, world)
        wanted.append(settled)
        if now is not None and settled.source and _holds(world, settled.source, now):
            kept = there.format if there.format == now.format else now.format
            running[disk.name] = replace(now, source=settled.source, format=kept)
    if machine.disks not in (None, tuple(wanted)):
        machine = replace(machine, disks=tuple(wanted))
    if live is not None and live.disks is not None:
        live = replace(live, disks=tuple(running[disk.name] for disk in live.disks))
    return settle_media(machine, stored, live, world), live, tuple(chains)


def settle_media(
    machine: Machine, stored: Machine, live: Optional[Machine], world: World
) -> Machine:
    """Return the wanted machine with the names that the domain has for the media in its drives."""
    drives = machine.cdroms
    settled = drives and tuple(_settle_medium(drive, stored, live, world) for drive in drives)
    return machine if settled == drives else replace(machine, cdroms=settled)


def _settle_medium(cdrom: Cdrom, stored: Machine, live: Optional[Machine], world: World) -> Cdrom:
    for side in (stored, live):
        there = by_name(side.cdroms, cdrom.name) if side is not None else None
        if there is not None and world.images.is_same(there.media, cdrom.media):
            return replace(cdrom, media=there.media)
    return cdrom


def name_images(
    manifest: MachineManifest, machine: Machine, observed: Machine, reading: Reading, world: World
) -> Machine:
    """Return the wanted machine with the names that the domain has for its images.

    So that a disk is recognised by its image also by another name of it, below a snapshot, or when
    it alone was moved away from what the manifest names.
    """
    there = {disk.source for disk in observed.disks or ()}
    named = {disk.source for disk in machine.disks or () if disk.source is not None}
    if machine.disks is None or named.issubset(there):
        return machine
    world.images.ask_views((*there, *named))
    disks = [
        disk if disk.source in there else _name_image(disk, observed, world)
        for disk in machine.disks
    ]
    known = replace(machine, disks=tuple(disks))
    found = align(known, observed).disks or ()
    names, wanted = {disk.name for disk in found}, {disk.name for disk in disks}
    lost = [disk for disk in disks if disk.name not in names]
    moved = [disk for disk in found if disk.name not in wanted]
    if len(lost) != 1 or len(moved) != 1 or not is_settled(manifest, lost[0], reading, world):
        return known
    again = replace(lost[0], source=moved[0].source)
    return replace(known, disks=tuple(again if disk is lost[0] else disk for disk in disks))


def is_settled(manifest: MachineManifest, disk: Disk, reading: Reading, world: World) -> bool:
    """Whether the disk was applied with the image that the manifest still names."""
    owner = reading.owner
    if owner is None or disk.source is None or disk.name not in owner.disks:
        return False
    return not is_asked(manifest, disk, owner, world)


def _name_image(disk: Disk, observed: Machine, world: World) -> Disk:
    if disk.source is None:
        return disk
    found = [other.source for other in observed.disks or () if _holds(world, disk.source, other)]
    return replace(disk, source=found[0]) if len(found) == 1 else disk


def _settle(disk: Disk, chain: DiskChain, stored: Disk, live: Optional[Disk], world: World) -> Disk:
    """Return the wanted disk with the name that its image has where it is already."""
    if chain.snapshot and disk.format not in (None, stored.format):
        disk = replace(disk, format=stored.format if _is_format_of(disk, chain, world) else None)
    if disk.source is None or disk.source == stored.source:
        return disk
    if _holds(world, disk.source, stored):
        return replace(disk, source=stored.source)
    if live is not None and live.source and _holds(world, disk.source, live):
        return replace(disk, source=live.source)
    return disk


def _is_format_of(disk: Disk, chain: DiskChain, world: World) -> bool:
    known = world.images.find_view(chain.named)
    return known is None or known.format in ("", disk.format)


def _holds(world: World, image: str, disk: Disk) -> bool:
    """Whether the disk is on the image, or on one that lies over it."""
    return disk.source is not None and world.images.is_in_chain(
        image, disk.source, disk.format or ""
    )


def _find_chain(
    manifest: MachineManifest,
    disk: Disk,
    stored: Disk,
    live: Optional[Disk],
    reading: Reading,
    world: World,
) -> Optional[DiskChain]:
    target = stored.target or ""
    named = disk.source or find_own_image(disk.name, reading.owner)
    present = stored.source
    if not present or not named:
        return _unnamed_chain(disk, stored, reading, world) if present else None
    chain = DiskChain(disk.name, target, named, present)
    if named == present or world.images.is_same(named, present):
        return chain
    if _holds(world, named, stored):
        return with_snapshot(chain, reading.view.name, world)
    if disk.source is None or (live is not None and _holds(world, named, live)):
        return chain
    return replace(chain, reason=find_reason(manifest, disk, chain, stored, reading, world))


def _unnamed_chain(disk: Disk, stored: Disk, reading: Reading, world: World) -> Optional[DiskChain]:
    """Return the chain of a disk whose image nobody names, if libvirt knows its snapshot."""
    present = stored.source or ""
    below = world.images.find_chain(present, stored.format or "")[1:2]
    if not below:
        return None
    snapshot = world.images.find_snapshot(reading.view.name, stored.target or "", present)
    if snapshot is None:
        return None
    [named] = below
    return DiskChain(
        disk=disk.name,
        target=stored.target or "",
        named=named,
        present=present,
        snapshot=snapshot.name,
        since=snapshot.created_at,
    )
