"""Which disks cannot be grown as they are, and what helps. Pure."""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import replace
from typing import Tuple

from reconciler.core.images import RAW
from reconciler.core.model import Disk
from reconciler.core.plan import Effect
from reconciler.core.planning.decide import Decision
from reconciler.core.planning.images import volume_at
from reconciler.core.units import format_size
from reconciler.core.world import FileKind, FileView, World

_QCOW2 = "qcow2"
_OLD = 2  # the version of qcow2 whose snapshots do not know the size that the image had


def hold_growth(decisions: Tuple[Decision, ...], domain: str, world: World) -> Tuple[Decision, ...]:
    """Withhold the growth of disks that neither libvirt nor QEMU can grow as they are."""
    return tuple(_hold(one, domain, world) for one in decisions)


def _hold(decision: Decision, domain: str, world: World) -> Decision:
    item = decision.difference.item
    if decision.difference.field != "disks[].size" or not isinstance(item, Disk):
        return decision
    if decision.change is None or not decision.is_done:
        return decision
    reason = _find_obstacle(decision, item, domain, world)
    if not reason:
        return decision
    return replace(decision, change=replace(decision.change, effect=Effect.WITHHELD, reason=reason))


def _find_obstacle(decision: Decision, disk: Disk, domain: str, world: World) -> str:
    path, size = disk.source or "", int(decision.difference.desired or 0)
    found = world.facilities.files.get(path)
    if _is_device(path, found):
        return _check_device(path, found, size, is_raw=disk.format in (None, RAW))
    volume = volume_at(world, path)
    is_mistaken = disk.format == RAW and volume is not None and volume.format == _QCOW2
    if decision.live is None and is_mistaken:
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
    has = f"has {format_size(there)}" if there else "is not known to be large enough"
    return (
        f"the block device {path} {has}: grow the device first (lvextend -L "
        f"{format_size(size)[:-2]} {shlex.quote(path)}), then apply"
    )
