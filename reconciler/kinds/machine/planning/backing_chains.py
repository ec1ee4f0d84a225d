"""Where each disk is in its backing chain, compared with the image that its manifest names. Pure.

Snapshots, block commits, pulls and copies by other tools move a disk rightly. A disk whose chain
holds the named image is that disk; one that was moved away from it is left where it is. Nothing
here ever takes a disk back to an image that is older than what its guest uses.
"""

from __future__ import annotations

import shlex
from typing import Iterator, List, Mapping, Optional, Protocol, Tuple

from reconciler.core.field_table import DISK
from reconciler.core.frozen import replace
from reconciler.core.machine import Cdrom, Disk, Machine
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Effect
from reconciler.core.world import Reading, World
from reconciler.kinds.machine.match import Difference, DifferenceKind, align, by_name
from reconciler.kinds.machine.planning.decide import Decision, withhold
from reconciler.kinds.machine.planning.disk_images import (
    DiskChain,
    find_own_image,
    find_reason,
    is_asked,
    with_snapshot,
)
from reconciler.kinds.machine.planning.images import describe_dependants, find_dependants

# What may change while other images depend on where and how the disk is.
_HARMLESS = frozenset(field.name for field in DISK if not field.moves)


SWAPPED = (
    "the disks of the domain are on other images than when they were applied last, and they "
    "cannot be told apart; set the source of each disk to its current image"
)


class FoundChains(Protocol):
    """A manifest beside what was found, with the chains of its disks."""

    @property
    def manifest(self) -> MachineManifest:
        """What is wanted."""

    @property
    def chains(self) -> Tuple[DiskChain, ...]:
        """Each disk's."""


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
    machine = machine if machine.disks is None else replace(machine, disks=tuple(wanted))
    if live is not None and live.disks is not None:
        live = replace(live, disks=tuple(running[disk.name] for disk in live.disks))
    return settle_media(machine, stored, live, world), live, tuple(chains)


def settle_media(
    machine: Machine, stored: Machine, live: Optional[Machine], world: World
) -> Machine:
    """Return the wanted machine with the names that the domain has for the media in its drives."""
    if machine.cdroms is None:
        return machine
    return replace(
        machine,
        cdroms=tuple(_settle_medium(cdrom, stored, live, world) for cdrom in machine.cdroms),
    )


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


def hold_chains(
    decisions: Tuple[Decision, ...], found: FoundChains, reading: Reading, world: World
) -> Tuple[Decision, ...]:
    """Withhold what the disks' chains and the jobs on them forbid."""
    by_disk = {chain.disk: chain for chain in found.chains}
    held = tuple(_hold(decision, by_disk, reading, world) for decision in decisions)
    lost = [
        decision
        for decision in held
        if _is_disk(decision, DifferenceKind.ADD) and _is_lost(decision, found, reading, world)
    ]
    if not lost or not any(_is_disk(decision, DifferenceKind.REMOVE) for decision in held):
        return held
    swapped = [
        decision
        for decision in held
        if decision in lost or _is_disk(decision, DifferenceKind.REMOVE)
    ]
    return tuple(
        withhold(decision, SWAPPED) if decision in swapped else decision for decision in held
    )


def _is_disk(decision: Decision, kind: DifferenceKind) -> bool:
    difference = decision.difference
    return decision.change is not None and (difference.field, difference.kind) == ("disks[]", kind)


def _is_lost(decision: Decision, found: FoundChains, reading: Reading, world: World) -> bool:
    item = decision.difference.item
    return isinstance(item, Disk) and is_settled(found.manifest, item, reading, world)


def find_chain_notes(
    chains: Tuple[DiskChain, ...], decisions: Tuple[Decision, ...]
) -> Tuple[str, ...]:
    """Say which disks are on snapshots, and what becomes of an image that a disk leaves."""
    moved = {
        decision.difference.device
        for decision in decisions
        if decision.difference.field == "disks[].source" and decision.is_done and decision.stored
    }
    notes = [chain.note for chain in chains if chain.note]
    notes += [
        f"disks[{chain.disk}]: {chain.present} stays, and nothing of it is copied"
        for chain in chains
        if chain.disk in moved
    ]
    return tuple(notes)


def _hold(
    decision: Decision, chains: Mapping[str, DiskChain], reading: Reading, world: World
) -> Decision:
    difference = decision.difference
    if decision.change is None or not difference.field.startswith("disks[]"):
        return decision
    if decision.effect is Effect.WITHHELD and difference.leaf != "source":
        return decision
    chain = chains.get(difference.device or "")
    if chain is not None and chain.reason and difference.kind is DifferenceKind.ADD:
        # It may be another disk, of somebody who took ours out: nothing is plugged in for it.
        return withhold(decision, chain.reason)
    reason = next(_find_holds(difference, chain, reading, world), "")
    if not reason:
        return decision
    return withhold(decision, reason)


def _find_holds(
    difference: Difference, chain: Optional[DiskChain], reading: Reading, world: World
) -> Iterator[str]:
    item, name = difference.item, reading.view.name
    disk = item if isinstance(item, Disk) and difference.kind is not DifferenceKind.ADD else None
    if reading.view.job and disk is not None:
        yield f"a {reading.view.job} is under way; apply again when it is done"
    if chain is not None and difference.leaf == "source" and chain.reason:
        yield chain.reason
    if chain is not None and chain.snapshot and difference.leaf not in {*_HARMLESS, "source"}:
        yield (
            f"the disk is on {chain.about}, whose images belong together; first merge them while "
            f"the guest runs (virsh blockcommit {shlex.quote(name)} {chain.target} --active "
            "--pivot --wait)"
        )
    if difference.leaf == "size" and disk is not None and disk.source:
        overlays = find_dependants(world, disk.source)
        if overlays:
            yield (
                f"growing {disk.source} would break the overlays on it: "
                f"{describe_dependants(world, overlays)}"
            )
