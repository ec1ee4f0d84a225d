"""What is withheld of a disk's changes, because of its image or of what hangs on that. Pure."""

from __future__ import annotations

import posixpath
import shlex
from typing import Iterator, Mapping, Optional, Tuple

from reconciler.core.field_table import DISK
from reconciler.core.images import RAW
from reconciler.core.machine import Disk
from reconciler.core.plan import Effect
from reconciler.core.units import format_size
from reconciler.core.world import FileKind, FileView, Reading, World
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.decide import Decision, withhold
from reconciler.kinds.machine.planning.differences import Found, is_settled
from reconciler.kinds.machine.planning.disk_images import DiskChain
from reconciler.kinds.machine.planning.images import (
    describe_dependants,
    find_dependants,
    volume_at,
)

GROWS_OTHER = "disk-grow-other"
_OF_IMAGE = ("disks[].source", "disks[].format")
_QCOW2 = "qcow2"
_OLD = 2  # the version of qcow2 whose snapshots do not know the size that the image had
# What may change while other images depend on where and how the disk is.
_HARMLESS = frozenset(field.name for field in DISK if not field.moves)


SWAPPED = (
    "the disks of the domain are on other images than when they were applied last, and they "
    "cannot be told apart; set the source of each disk to its current image"
)


def hold_chains(
    decisions: Tuple[Decision, ...], found: Found, reading: Reading, world: World
) -> Tuple[Decision, ...]:
    """Withhold what the disks' chains and the jobs on them forbid."""
    by_disk = {chain.disk: chain for chain in found.chains}
    held = tuple(_hold_chain(decision, by_disk, reading, world) for decision in decisions)
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


def _is_lost(decision: Decision, found: Found, reading: Reading, world: World) -> bool:
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


def _hold_chain(
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
        yield explain_snapshot(chain, name)
    if difference.leaf == "size" and disk is not None and disk.source:
        overlays = find_dependants(world, disk.source)
        if overlays:
            yield (
                f"growing {disk.source} would break the overlays on it: "
                f"{describe_dependants(world, overlays)}"
            )


def explain_snapshot(chain: DiskChain, name: str) -> str:
    """Say why a disk on a snapshot stays as it is, and how that is merged."""
    return (
        f"the disk is on {chain.about}, whose images belong together; first merge them while "
        f"the guest runs (virsh blockcommit {shlex.quote(name)} {chain.target} --active "
        "--pivot --wait)"
    )


def hold_with_image(decisions: Tuple[Decision, ...]) -> Tuple[Decision, ...]:
    """Withhold with another image what belongs to it: an image in a wrong format is destroyed."""
    held = {
        decision.difference.device: decision.change.reason
        for decision in decisions
        if decision.difference.field in _OF_IMAGE
        and decision.change is not None
        and decision.effect is Effect.WITHHELD
    }
    return tuple(
        withhold(decision, held[decision.difference.device])
        if decision.is_done
        and decision.difference.device in held
        and (decision.difference.field in _OF_IMAGE or decision.row.id == GROWS_OTHER)
        else decision
        for decision in decisions
    )


def hold_growth(decisions: Tuple[Decision, ...], domain: str, world: World) -> Tuple[Decision, ...]:
    """Withhold the growth of disks that neither libvirt nor QEMU can grow as they are."""
    return tuple(_hold_growth(decision, domain, world) for decision in decisions)


def _hold_growth(decision: Decision, domain: str, world: World) -> Decision:
    item = decision.difference.item
    if decision.difference.field != "disks[].size" or not isinstance(item, Disk):
        return decision
    reason = _find_obstacle(decision, item, domain, world) if decision.is_done else ""
    return withhold(decision, reason) if reason else decision


def _find_obstacle(decision: Decision, disk: Disk, domain: str, world: World) -> str:
    path, size = disk.source or "", int(decision.difference.desired or 0)
    found = world.find_file(path) if path.startswith("/") else None
    if _is_device(path, found):
        return _check_device(path, found, size, is_raw=disk.format in (None, RAW))
    volume = volume_at(world, path) if decision.live is None else None
    if disk.format == RAW and volume is not None and volume.format == _QCOW2:
        return (
            f"libvirt takes {path} for qcow2, and the domain for raw, so what libvirt grows is "
            f"not what the guest has: see qemu-img info {shlex.quote(path)}. If it is qcow2, "
            f"correct the type of the disk's driver (virsh edit {shlex.quote(domain)}); if it is "
            "raw, start the guest, and it is grown then"
        )
    if found is not None and found.snapshots and found.qcow2_version == _OLD:
        return (
            f"{path} is a qcow2 of version 2 with {found.snapshots} internal snapshot(s), which "
            f"QEMU does not grow; with the guest off: "
            f"qemu-img amend -o compat=1.1 {shlex.quote(path)}"
        )
    if decision.live is None and path.startswith("/") and volume is None:
        folder = posixpath.dirname(path)
        name = shlex.quote(posixpath.basename(folder) or "root")
        return (
            "the image is in no active storage pool, and only a running guest's can be grown "
            "then: start it, or define a pool over its folder: "
            f"virsh pool-define-as {name} dir --target {shlex.quote(folder)} && "
            f"virsh pool-start {name}; if it has a pool that is inactive, start that: virsh "
            "pool-list --inactive"
        )
    return ""


def _is_device(path: str, found: object) -> bool:
    if isinstance(found, FileView) and found.kind is not FileKind.MISSING:
        return found.kind is FileKind.BLOCK
    return path.startswith("/dev/")


def _check_device(path: str, found: object, size: int, *, is_raw: bool) -> str:
    there = found.size if isinstance(found, FileView) else 0
    if not is_raw or there >= size:
        return ""
    has = f"has {format_size(there)}" if there else "may be too small"
    return (
        f"the block device {path} {has}: grow the device first (lvextend -L "
        f"{format_size(size)[:-2]} {shlex.quote(path)}), then apply"
    )
