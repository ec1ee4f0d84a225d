"""Read a `Machine` out of domain XML, live or persistent.

Complete observed values: every bound field is filled. What libvirt keeps outside the XML (power,
autostart, sizes of images) stays None. A plan reads every domain of the host with this, so each
element is looked at once, and the table is turned into look-ups when the module is imported.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type

from reconciler.core.cloud_init import SEED_DRIVE
from reconciler.core.field_table import bound, find_elements
from reconciler.core.fields import Field
from reconciler.core.frozen import replace
from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.names import DRIVER_CD, HELPER, HELPER_CARD
from reconciler.core.xmltree import Element, parse_number
from reconciler.kinds.machine.domain.features import (
    find_smbios,
    is_display,
    leaves_secure_boot_open,
)
from reconciler.kinds.machine.domain.xml_places import CONVERSIONS

Kids = Mapping[str, Element]
Reader = Tuple[str, Callable[[Kids], Any]]

# A floppy is no disk of ours: it is neither read nor touched.
_DISK_KINDS = {"disk": "disks", "lun": "disks", "cdrom": "cdroms"}
# The elements that the tables of the machine name, and those whose children they name.
_ELEMENTS = sorted(path for prefix in ("", "cpus.", "memory.") for path in find_elements(prefix))
_DEVICES = ("disk", "interface", *(path.split("/")[1] for path in _ELEMENTS if "devices/" in path))
_TOP = sorted({path.split("/")[0] for path in _ELEMENTS})
_DEEP = {
    parent: sorted({path.rpartition("/")[2] for path in _ELEMENTS if path.startswith(f"{parent}/")})
    for parent in sorted({path.rpartition("/")[0] for path in _ELEMENTS} - {"", "devices"})
}


def read_machine(root: Element, **outside: object) -> Machine:
    """Return what a domain's XML says; `outside` are values that libvirt keeps elsewhere."""
    kids, devices = _index(root)
    values = _read(_MACHINE, kids)
    values.update(
        outside,
        cpus=Cpus(**_read(_CPUS, kids)),
        memory=Memory(**_read(_MEMORY, kids)),
        disks=tuple(disk for disk in map(_DISK.read, devices["disks"]) if disk.alias != HELPER),
        cdroms=tuple(
            drive for drive in map(_CDROM.read, devices["cdroms"]) if drive.alias not in _OWN_DRIVES
        ),
        interfaces=_read_interfaces(devices["interfaces"]),
        firmware_open=leaves_secure_boot_open(kids.get("os")),
    )
    return Machine(**values)


# The drives that only `planning.first_boot` and `planning.bus_change` look at.
_OWN_DRIVES = frozenset({SEED_DRIVE, DRIVER_CD})


def find_seed_drive(root: Element) -> Optional[Element]:
    """Return the element of the drive of cloud-init's seed."""
    drives = _index(root)[1]["cdroms"]
    return next((element for element in drives if _CDROM.read(element).alias == SEED_DRIVE), None)


def read_seed_drive(root: Element) -> Optional[Cdrom]:
    """Return the drive of cloud-init's seed."""
    element = find_seed_drive(root)
    drive: Optional[Cdrom] = None if element is None else _CDROM.read(element)
    return drive


def read_disk(element: Element) -> Disk:
    """Return what one disk element says."""
    disk: Disk = _DISK.read(element)
    return disk


def _read_interfaces(elements: Sequence[Element]) -> Tuple[Interface, ...]:
    cards = map(_read_interface, elements)
    return tuple(card for card in cards if card.alias != HELPER_CARD)


def _read_interface(element: Element) -> Interface:
    """Return what an interface element says; a running one names its network's bridge as well."""
    interface: Interface = _INTERFACE.read(element)
    if element.get("type") not in _MADE:  # also a running one on a network of macvtaps
        return replace(interface, uplink=_read_uplink(element))
    if interface.network and interface.bridge:
        return replace(interface, bridge=None)
    return interface


_MADE = ("network", "bridge")  # the types of interfaces that a manifest can make


# How people call the types of interfaces that a manifest cannot make, where not by libvirt's word.
_UPLINKS = {
    "direct": "macvtap",
    "hostdev": "SR-IOV function",
    "user": "user networking",
    "vhostuser": "vhost-user",
    "vdpa": "vDPA device",
    "ethernet": "tap device",
    "internal": "internal network",
}


def _read_uplink(element: Element) -> str:
    """Return what an interface of another kind is, and on what: `macvtap on eno1`."""
    kind = element.get("type", "unknown type")
    words = _UPLINKS.get(kind, f"type {kind}")
    source, target = element.find("source"), element.find("target")
    if kind == "ethernet":
        place = None if target is None else target.get("dev")
    else:
        place = None if source is None else _read_place(source)
    return f"{words} on {place}" if place else words


def _read_place(source: Element) -> Optional[str]:
    address = source.find("address")
    if address is not None and address.get("bus") is not None:
        numbers = [
            parse_number(address.get(name, "0"), 0)
            for name in ("domain", "bus", "slot", "function")
        ]
        return "{:04x}:{:02x}:{:02x}.{:x}".format(*numbers)
    names = [source.get(name) for name in ("dev", "path", "name", "address")]
    return next((name for name in names if name), None)


def read_pci(device: Element) -> str:
    """Return the PCI address of a device as a guest writes it; empty if it has none."""
    address = device.find("address[@type='pci']")
    if address is None:
        return ""
    keys = ("domain", "bus", "slot", "function")
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*(int(address.get(key, "0"), 16) for key in keys))


class _DeviceReader:
    """The rows of one kind of device, grouped by the child that they look at."""

    def __init__(self, kind: Type[Any], prefix: str, identity: str) -> None:
        """Group the rows; `identity` is the field that names a device without a user alias."""
        self._kind = kind
        self._identity = identity
        self._absent = {field.name: field.absent for field in bound(prefix)}
        self._rows: Dict[str, List[Tuple[str, str, Any]]] = {}
        self._whole: Dict[str, Tuple[str, Any]] = {}
        for field in bound(prefix):
            conversion = CONVERSIONS[field.form]
            if conversion.read is not None:
                self._whole[field.tag] = (field.name, conversion.read)
            else:
                attribute = field.leaf[1:] if field.leaf != "text()" else ""
                row = (field.name, attribute, conversion.decode)
                self._rows.setdefault(field.tag, []).append(row)

    def read(self, element: Element) -> Any:
        """Return the device."""
        values: Dict[str, Any] = self._absent.copy()
        for child in element:
            tag = child.tag
            for name, attribute, decode in self._rows.get(tag, ()):
                text = child.get(attribute) if attribute else child.text
                if text is not None:
                    values[name] = decode(text)
            if tag in self._whole:
                name, read = self._whole[tag]
                values[name] = read(child)
        return self._kind(values["alias"] or values[self._identity] or "", **values)


def _index(root: Element) -> Tuple[Dict[str, Element], Dict[str, List[Element]]]:
    """Return the domain's elements by the paths of the table, and the managed devices."""
    kids: Dict[str, Element] = {child.tag: child for child in root.iterchildren(*_TOP)}
    managed: Dict[str, List[Element]] = {"disks": [], "cdroms": [], "interfaces": []}
    displays: List[Element] = []
    devices = kids.get("devices")
    for device in () if devices is None else devices.iterchildren(*_DEVICES):
        tag = device.tag
        if tag == "disk":
            managed.get(_DISK_KINDS.get(device.get("device", "disk"), ""), []).append(device)
        elif tag == "interface":
            managed["interfaces"].append(device)
        elif tag == "graphics":
            displays.append(device)
        else:
            kids.setdefault(f"devices/{tag}", device)
    # One of them stands for all, whatever their order.
    for display in sorted(
        filter(is_display, displays), key=lambda display: display.get("type", "")
    ):
        kids.setdefault("devices/graphics", display)
    if "sysinfo" in kids:  # there is one for each kind of firmware data
        del kids["sysinfo"]
        smbios = find_smbios(root)
        if smbios is not None:
            kids["sysinfo"] = smbios
    for path, tags in _DEEP.items():
        element = kids.get(path)
        if element is not None:
            kids.update((f"{path}/{child.tag}", child) for child in element.iterchildren(*tags))
    return kids, managed


def _read(readers: Sequence[Reader], kids: Kids) -> Dict[str, Any]:
    return {field: read(kids) for field, read in readers}


def _compile(prefix: str) -> Tuple[Reader, ...]:
    return tuple((field.name, _reader(field)) for field in bound(prefix))


def _reader(field: Field) -> Callable[[Kids], Any]:
    """Return what reads a field out of the elements by their paths."""
    conversion, absent = CONVERSIONS[field.form], field.absent
    read, decode = conversion.read, conversion.decode
    path, *others = field.tag.split("|")
    attribute = field.leaf[1:]

    def read_element(kids: Kids) -> Any:
        element = kids.get(path)
        for other in others:
            element = kids.get(other) if element is None else element
        return read(element) if read else None

    def read_attribute(kids: Kids) -> Any:
        element = kids.get(path)
        text = None if element is None else element.get(attribute)
        return absent if text is None else decode(text)

    def read_text(kids: Kids) -> Any:
        element = kids.get(path)
        text = None if element is None else element.text
        return absent if text is None else decode(text)

    if read is not None:
        return read_element
    return read_text if field.leaf == "text()" else read_attribute


_MACHINE = _compile("")
_CPUS = _compile("cpus.")
_MEMORY = _compile("memory.")
_DISK = _DeviceReader(Disk, "disks[].", "target")
_CDROM = _DeviceReader(Cdrom, "cdroms[].", "target")
_INTERFACE = _DeviceReader(Interface, "interfaces[].", "mac")
