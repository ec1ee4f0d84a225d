"""Disk buses: free targets, controllers, moves to another bus, a sound boot order.

libvirt derives the address of a disk on ide, sata and scsi from its target's letter, so a name is
free only if the address that comes with it is. All disks count: CD-ROMs and floppies too.
"""

from __future__ import annotations

from itertools import count
from typing import (
    Callable,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from reconciler.core.machine import Interface, chipset_of
from reconciler.core.xmltree import Element, fragment, make, parse, parse_number
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.match import Device

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
    names = {target_of(disk) for disk in disks}
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
        return slot_of(bus_of(disk), index_of(target_of(disk)))
    return _slot(address)


def target_of(disk: Element) -> str:
    """Return the target of a disk element."""
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
    for element in root.findall(f"devices/controller[@type='{kind}']"):
        if parse_number(element.get("index", "0")) == index:
            layout.remove(element)


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
    there = {parse_number(controller.get("index", "0")) for controller in controllers}
    return [index for index in wanted if index not in there]


def _used(root: Element, kind: str) -> List[int]:
    disks = [place_of(disk)[1] for disk in iter_disks(root) if bus_of(disk) == kind]
    hostdevs = root.findall(f"devices/hostdev[@type='{kind}']")
    addresses = [hostdev.find("address") for hostdev in hostdevs]
    return disks + [
        0 if address is None else parse_number(address.get("controller", "0"))
        for address in addresses
    ]


def _scsi(index: int) -> Element:
    return make("controller", {"type": "scsi", "index": index, "model": "virtio-scsi"})


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


def move_to_bus(root: Element, disk: Element, bus: str, *, keeps_controller: bool = False) -> None:
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
    if not keeps_controller:
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


# The kinds that the domain may name, each with the devices that it stands for.
_KINDS: Mapping[str, str] = {
    "cdrom": "devices/disk[@device='cdrom']",
    "network": "devices/interface",
    "fd": "devices/disk[@device='floppy']",
}
# QEMU boots from the first device of a kind only (qemuBuildDisksCommandLine, bootNet).
_FIRST: Mapping[str, str] = {**_KINDS, "hd": "devices/disk"}
_DISKS = ("disk", "lun")


def settle_boot(root: Element, chosen: Sequence[Element]) -> None:
    """Make the order valid again; the numbers of the `chosen` devices hold.

    A device whose number was taken gives way to the next free one; nobody else is touched, for
    their numbers may be the manifest's too.
    """
    numbered = _numbered(root)
    if chosen and numbered:
        number_kinds(root)
        numbered = _numbered(root)
    _refuse_twins(numbered, chosen)
    taken = {_order(boot) for boot in numbered}
    fixed = {_order(boot) for boot in numbered if boot.getparent() in chosen}
    for boot in numbered:
        if boot.getparent() not in chosen and _order(boot) in fixed:
            order = _next_free(_order(boot), taken)
            taken.add(order)
            boot.set("order", str(order))


def _numbered(root: Element) -> List[Element]:
    return [element for element in root.iterfind("devices/*/boot") if element.get("order")]


def number_kinds(root: Element) -> None:
    """Turn the kinds of device into free numbers in their order, and drop the kinds.

    What came behind a device comes behind the number that the device is given.
    """
    os = layout.ensure(root, "os")
    first = [_find_first(root, element.get("dev", "")) for element in os.findall("boot")]
    layout.remove_children(os, "boot")
    taken, last = {_order(boot) for boot in _numbered(root)}, 0
    for device in (device for device in first if device is not None):
        boot = device.find("boot")
        if boot is None:
            boot = make("boot", {"order": _next_free(last + 1, taken)})
            layout.append(device, boot)
        last = max(last, _order(boot))
        taken.add(last)


def _find_first(root: Element, kind: str) -> Optional[Element]:
    found = root.findall(_FIRST[kind]) if kind in _FIRST else []
    if kind == "hd":
        found = [device for device in found if device.get("device", "disk") in _DISKS]
    return found[0] if found else None


def drop_empty_kinds(root: Element, had: Sequence[str]) -> None:
    """Stop booting from a kind of device (of those `had` before) of which none is left."""
    os = root.find("os")
    if os is None:
        return
    gone = [
        element
        for element in os.findall("boot")
        if element.get("dev") in had and not _has(root, element)
    ]
    if not gone:
        return
    if len(gone) == len(os.findall("boot")):
        gone.pop().set("dev", "hd")
    for kind in gone:
        layout.remove(kind)


def kinds_there(root: Element) -> List[str]:
    """Return the kinds of device of which the domain has at least one."""
    return [kind for kind, path in _KINDS.items() if root.find(path) is not None]


def _has(root: Element, boot: Element) -> bool:
    return root.find(_KINDS[boot.get("dev", "")]) is not None


def _refuse_twins(numbered: Sequence[Element], chosen: Sequence[Element]) -> None:
    orders = [_order(boot) for boot in numbered if boot.getparent() in chosen]
    twice = sorted({order for order in orders if orders.count(order) > 1})
    if twice:
        raise TerminalError(f"boot: {twice[0]} is given to more than one device")


def _order(boot: Element) -> int:
    return parse_number(boot.get("order", "0"))


def _next_free(order: int, taken: Set[int]) -> int:
    while order in taken:
        order += 1
    return order
