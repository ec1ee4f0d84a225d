"""Move a disk or a CD-ROM drive to another bus, with all that hangs on it.

What the guest sees as identity (alias, boot order, serial) stays; what only the old bus
understands goes, and is a row of a table here.
"""

from __future__ import annotations

from typing import FrozenSet, Mapping, Tuple

from reconciler.core.domain import layout
from reconciler.core.domain.controllers import add_missing, drop_unused, place_of
from reconciler.core.domain.targets import free_target
from reconciler.core.xmltree import Element
from reconciler.errors import TerminalError

_VIRTIO = frozenset({"virtio"})
_SCSI = frozenset({"scsi"})

# What stands on these paths is understood by these buses only, and refused by libvirt on others.
_ONLY_ON: Tuple[Tuple[str, FrozenSet[str]], ...] = (
    ("driver/@queues", _VIRTIO),
    ("driver/@queue_size", _VIRTIO),
    ("driver/@iothread", _VIRTIO),
    ("driver/@ioeventfd", _VIRTIO),
    ("driver/@event_idx", _VIRTIO),
    ("driver/@iommu", _VIRTIO),
    ("driver/@ats", _VIRTIO),
    ("driver/@packed", _VIRTIO),
    ("driver/@page_per_vq", _VIRTIO),
    ("driver/@rerror_policy", frozenset({"virtio", "scsi", "sata", "ide"})),
    ("@model", _VIRTIO),
    ("target/@rotation_rate", frozenset({"scsi", "sata", "ide"})),
    ("target/@removable", frozenset({"usb", "scsi"})),
    ("wwn", frozenset({"scsi", "ide"})),
    ("vendor", _SCSI),
    ("product", _SCSI),
    ("geometry", frozenset({"virtio", "scsi", "ide"})),
)
_LUN_BUSES = frozenset({"virtio", "scsi"})

# QEMU cuts a longer serial off without a word, or does not start.
SERIAL_LIMITS: Mapping[str, int] = {"virtio": 20, "sata": 20, "ide": 20, "scsi": 36, "usb": 36}


def move_to_bus(root: Element, disk: Element, bus: str) -> None:
    """Put a drive on another bus: new target, no stale address, no useless controller."""
    _refuse_lun(disk, bus)
    left = place_of(disk)
    target = layout.ensure(disk, "target")
    target.set("dev", free_target(bus, [root], skip=disk))
    target.set("bus", bus)
    layout.remove_children(disk, "address")
    for path, buses in _ONLY_ON:
        if bus not in buses:
            _drop(disk, path)
    add_missing(root)
    drop_unused(root, *left)


def _refuse_lun(disk: Element, bus: str) -> None:
    if disk.get("device") == "lun" and bus not in _LUN_BUSES:
        raise TerminalError(f"bus {bus}: a disk that is a LUN of the host can be on virtio or scsi")


def _drop(disk: Element, path: str) -> None:
    tag, _, attribute = path.partition("@")
    element = disk if not tag else disk.find(tag.rstrip("/"))
    if element is None:
        return
    if attribute:
        layout.drop_attributes(element, attribute)
    else:
        layout.remove(element)
