"""Find a target name (`vda`) that is free in a domain, for a disk on a given bus.

libvirt derives the address of a disk on ide, sata and scsi from its target's letter, so a name is
free only if the address that comes with it is. All disks count: CD-ROMs and floppies too.
"""

from __future__ import annotations

from itertools import count
from typing import Callable, Iterable, Iterator, Mapping, Optional, Set, Tuple

from reconciler.core.xmltree import Element, parse_number
from reconciler.errors import TerminalError

PREFIXES: Mapping[str, str] = {
    "virtio": "vd",
    "scsi": "sd",
    "sata": "sd",
    "usb": "sd",
    "ide": "hd",
}

Slot = Tuple[int, int, int]
"""Controller, bus and unit."""

_SCSI_PER_CONTROLLER = 15
_SATA_PER_CONTROLLER = 6
_IDE_PER_BUS = 2
_IDE_MOST = 4
_SCSI_OWN_UNIT = 7


def _scsi_slot(index: int) -> Slot:
    controller, unit = divmod(index, _SCSI_PER_CONTROLLER)
    return controller, 0, unit + (unit >= _SCSI_OWN_UNIT)


def _sata_slot(index: int) -> Slot:
    controller, unit = divmod(index, _SATA_PER_CONTROLLER)
    return controller, 0, unit


def _ide_slot(index: int) -> Slot:
    if index >= _IDE_MOST:
        raise TerminalError(f"bus ide holds {_IDE_MOST} drives, and all places are taken")
    bus, unit = divmod(index, _IDE_PER_BUS)
    return 0, bus, unit


_SLOTS: Mapping[str, Callable[[int], Slot]] = {
    "scsi": _scsi_slot,
    "sata": _sata_slot,
    "ide": _ide_slot,
}


def free_target(bus: str, roots: Iterable[Element], skip: Optional[Element] = None) -> str:
    """Return the first target free in every given configuration, `skip` left out of account."""
    prefix = PREFIXES.get(bus)
    if prefix is None:
        raise TerminalError(f"bus {bus!r} is not one of {', '.join(PREFIXES)}")
    disks = [disk for root in roots for disk in iter_disks(root) if disk is not skip]
    names = {_name(disk) for disk in disks}
    slots = {slot for disk in disks for slot in _slots_of(disk, bus)}
    slots |= {slot for root in roots for slot in _hostdev_slots(root, bus)}
    for index in count():
        name = f"{prefix}{letters(index)}"
        if name not in names and slot_of(bus, index) not in slots:
            return name
    raise AssertionError("unreachable: count() does not end")


def iter_disks(root: Element) -> Iterator[Element]:
    """Yield every disk element: disks, CD-ROMs and floppies."""
    return iter(root.findall("devices/disk"))


def slot_of(bus: str, index: int) -> Optional[Slot]:
    """Return the place that libvirt gives the disk of that letter; None where it chooses freely."""
    place = _SLOTS.get(bus)
    return place(index) if place else None


def letters(index: int) -> str:
    """Return `a` for 0, `z` for 25, `aa` for 26."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def index_of(target: str) -> int:
    """Return the index that the letters of a target stand for."""
    index = 0
    for letter in target.lower()[2:]:
        if not letter.isalpha():
            break
        index = index * 26 + ord(letter) - ord("a") + 1
    return max(index - 1, 0)


def bus_of(disk: Element) -> str:
    """Return the bus a disk element is on."""
    target = disk.find("target")
    return "" if target is None else target.get("bus", "")


def slot_in_use(disk: Element) -> Optional[Slot]:
    """Return where a disk is: by its address, else by its target."""
    address = disk.find("address")
    if address is None or address.get("type") != "drive":
        return slot_of(bus_of(disk), index_of(_name(disk)))
    return _slot(address)


def _name(disk: Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _slots_of(disk: Element, bus: str) -> Set[Slot]:
    slot = slot_in_use(disk) if bus_of(disk) == bus and bus in _SLOTS else None
    return {slot} if slot else set()


def _hostdev_slots(root: Element, bus: str) -> Set[Slot]:
    """Return the places of SCSI devices handed through from the host."""
    if bus != "scsi":
        return set()
    addresses = root.findall("devices/hostdev[@type='scsi']/address[@type='drive']")
    return {_slot(address) for address in addresses}


def _slot(address: Element) -> Slot:
    controller, bus, unit = (
        parse_number(address.get(name, "0"), 0) for name in ("controller", "bus", "unit")
    )
    return controller, bus, unit
