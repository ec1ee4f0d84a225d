"""The disk controllers of a domain: which are missing, which have become useless.

SCSI needs one written out: libvirt's own default there is a model (lsilogic) that RHEL's QEMU does
not have. The other buses get theirs from libvirt.
"""

from __future__ import annotations

from typing import Iterable, List, Tuple

from reconciler.core.diff import Device
from reconciler.core.domain import layout
from reconciler.core.domain.targets import (
    bus_of,
    free_target,
    index_of,
    iter_disks,
    slot_in_use,
    slot_of,
)
from reconciler.core.machine_types import chipset_of
from reconciler.core.model import Interface
from reconciler.core.xmltree import Element, fragment, make, parse, parse_number

_OWN_CONTROLLERS = ("scsi", "sata", "ide")


def add_missing(root: Element) -> None:
    """Write out the SCSI controllers that the disks of a definition need."""
    devices = layout.ensure(root, "devices")
    for index in _missing(root, _needed(root)):
        layout.insert_device(devices, _scsi(index))


def needed_controllers(xml: str, item: Device) -> Tuple[str, ...]:
    """Return the controllers to be plugged into a running guest before this device can be."""
    if isinstance(item, Interface) or item.bus != "scsi":
        return ()
    root = parse(xml)
    place = slot_of("scsi", index_of(item.target or free_target("scsi", [root])))
    wanted = range(place[0] + 1) if place else ()
    return tuple(fragment(_scsi(index)) for index in _missing(root, wanted))


def place_of(disk: Element) -> Tuple[str, int]:
    """Return type and index of the controller that a disk hangs on."""
    slot = slot_in_use(disk)
    return bus_of(disk), slot[0] if slot else 0


def drop_unused(root: Element, kind: str, index: int) -> None:
    """Remove a controller that a disk has just left, if it serves nothing any more.

    One that is built into the machine stays, and so does one below an index that is in use,
    because libvirt would put it back, in a model of its own choice.
    """
    if kind not in _OWN_CONTROLLERS or _is_built_in(root, kind, index):
        return
    if any(used >= index for used in _used(root, kind)):
        return
    for one in root.findall(f"devices/controller[@type='{kind}']"):
        if parse_number(one.get("index", "0")) == index:
            layout.remove(one)


def read_chipset(root: Element) -> str:
    """Return the chipset of a domain's machine type."""
    kind = root.find("os/type")
    return chipset_of("" if kind is None else kind.get("machine", ""))


def _is_built_in(root: Element, kind: str, index: int) -> bool:
    return index == 0 and (read_chipset(root), kind) in (("q35", "sata"), ("pc", "ide"))


def _needed(root: Element) -> Iterable[int]:
    used = _used(root, "scsi")
    return range(max(used) + 1) if used else ()


def _missing(root: Element, wanted: Iterable[int]) -> List[int]:
    controllers = root.findall("devices/controller[@type='scsi']")
    there = {parse_number(one.get("index", "0")) for one in controllers}
    return [index for index in wanted if index not in there]


def _used(root: Element, kind: str) -> List[int]:
    disks = [place_of(one)[1] for one in iter_disks(root) if bus_of(one) == kind]
    hostdevs = root.findall(f"devices/hostdev[@type='{kind}']")
    addresses = [one.find("address") for one in hostdevs]
    return disks + [
        0 if one is None else parse_number(one.get("controller", "0")) for one in addresses
    ]


def _scsi(index: int) -> Element:
    return make("controller", {"type": "scsi", "index": index, "model": "virtio-scsi"})
