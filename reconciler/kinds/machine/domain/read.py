"""Read a `Machine` out of domain XML, live or persistent.

Complete observed values: every bound field is filled. What libvirt keeps outside the XML (power,
autostart, sizes of images) stays None. A plan reads every domain of the host with this, so each
element is looked at once, and the table is turned into look-ups when the module is imported.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type

from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.xmltree import Element, parse_number
from reconciler.kinds.machine.domain.fields import TABLES, Binding, is_display
from reconciler.kinds.machine.domain.firmware import leaves_secure_boot_open

Kids = Mapping[str, Element]
Reader = Tuple[str, Callable[[Kids], Any]]

# A floppy is no disk of ours: it is neither read nor touched.
_DISK_KINDS = {"disk": "disks", "lun": "disks", "cdrom": "cdroms"}
_DEVICES = (
    "disk", "interface", "graphics", "video", "rng", "tpm", "serial", "console", "memballoon",
)  # fmt: skip
# Elements whose children the table names too.
_DEEP = tuple((one, f"{one}/") for one in ("os", "cpu", "devices/video"))


def read_machine(root: Element) -> Machine:
    """Return what a domain's XML says."""
    kids, devices = _index(root)
    values = _read(_MACHINE, kids)
    values.update(
        cpus=Cpus(**_read(_CPUS, kids)),
        memory=Memory(**_read(_MEMORY, kids)),
        disks=tuple(_DISK.read(device) for device in devices["disks"]),
        cdroms=tuple(_CDROM.read(device) for device in devices["cdroms"]),
        interfaces=tuple(_read_interface(device) for device in devices["interfaces"]),
        firmware_open=leaves_secure_boot_open(kids.get("os")),
    )
    return Machine(**values)


def read_disk(element: Element) -> Disk:
    """Return what one disk element says."""
    disk: Disk = _DISK.read(element)
    return disk


def _read_interface(element: Element) -> Interface:
    """Return what an interface element says; a running one names its network's bridge as well."""
    interface: Interface = _INTERFACE.read(element)
    if interface.network and interface.bridge:
        return replace(interface, bridge=None)
    if interface.network or interface.bridge:
        return interface
    return replace(interface, uplink=_read_uplink(element))


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
            parse_number(address.get(one, "0"), 0) for one in ("domain", "bus", "slot", "function")
        ]
        return "{:04x}:{:02x}:{:02x}.{:x}".format(*numbers)
    names = [source.get(one) for one in ("dev", "path", "name", "address")]
    return next((name for name in names if name), None)


class _DeviceReader:
    """The rows of one kind of device, grouped by the child that they look at."""

    def __init__(self, kind: Type[Any], prefix: str, identity: str) -> None:
        """Group the rows; `identity` is the field that names a device without a user alias."""
        self._kind = kind
        self._identity = identity
        rows = [table for table in TABLES[prefix] if table.form.read is None]
        whole = [table for table in TABLES[prefix] if table.form.read is not None]
        self._defaults = {one.field: one.form.default for one in rows}
        self._defaults.update((one.field, _whole(one)(None)) for one in whole)
        self._rows: Dict[str, List[Tuple[str, str, Any]]] = {}
        for one in rows:
            row = (one.field, one.leaf[1:] if one.leaf != "text()" else "", one.form.decode)
            self._rows.setdefault(one.tag, []).append(row)
        self._whole = {one.tag: (one.field, _whole(one)) for one in whole}

    def read(self, element: Element) -> Any:
        """Return the device."""
        values = self._defaults.copy()
        for child in element:
            tag = child.tag
            for field, name, decode in self._rows.get(tag, ()):
                text = child.get(name) if name else child.text
                if text is not None:
                    values[field] = decode(text)
            if tag in self._whole:
                field, read = self._whole[tag]
                values[field] = read(child)
        name = values["alias"] or values[self._identity] or ""
        return self._kind(name, **values)


def _whole(binding: Binding) -> Callable[[Optional[Element]], Any]:
    assert binding.form.read is not None  # noqa: S101 - asked for only where it is
    return binding.form.read


def _index(root: Element) -> Tuple[Dict[str, Element], Dict[str, List[Element]]]:
    """Return the domain's elements by the paths of the table, and the managed devices."""
    kids: Dict[str, Element] = {one.tag: one for one in root}
    managed: Dict[str, List[Element]] = {"disks": [], "cdroms": [], "interfaces": []}
    displays: List[Element] = []
    devices = kids.get("devices")
    for one in () if devices is None else devices.iterchildren(*_DEVICES):
        tag = one.tag
        if tag == "disk":
            managed.get(_DISK_KINDS.get(one.get("device", "disk"), ""), []).append(one)
        elif tag == "interface":
            managed["interfaces"].append(one)
        elif tag == "graphics":
            displays.append(one)
        else:
            kids.setdefault(f"devices/{tag}", one)
    # One of them stands for all, whatever their order.
    for one in sorted(filter(is_display, displays), key=lambda one: one.get("type", "")):
        kids.setdefault("devices/graphics", one)
    for path, prefix in _DEEP:
        element = kids.get(path)
        if element is not None:
            kids.update((prefix + child.tag, child) for child in element.iterchildren("*"))
    return kids, managed


def _read(readers: Sequence[Reader], kids: Kids) -> Dict[str, Any]:
    return {field: read(kids) for field, read in readers}


def _compile(prefix: str) -> Tuple[Reader, ...]:
    return tuple((table.field, _reader(table)) for table in TABLES[prefix])


def _reader(binding: Binding) -> Callable[[Kids], Any]:
    if binding.form.read is not None:
        return _element_reader(binding.path, binding.form.read)
    if binding.leaf == "text()":
        return _text_reader(binding)
    return _attribute_reader(binding)


def _element_reader(path: str, read: Callable[[Optional[Element]], Any]) -> Callable[[Kids], Any]:
    first, *others = path.split("|")

    def read_element(kids: Kids) -> Any:
        element = kids.get(first)
        for other in others:
            element = kids.get(other) if element is None else element
        return read(element)

    return read_element


def _attribute_reader(binding: Binding) -> Callable[[Kids], Any]:
    path, name, form = binding.tag, binding.leaf[1:], binding.form

    def read_attribute(kids: Kids) -> Any:
        element = kids.get(path)
        text = None if element is None else element.get(name)
        return form.default if text is None else form.decode(text)

    return read_attribute


def _text_reader(binding: Binding) -> Callable[[Kids], Any]:
    path, form = binding.tag, binding.form

    def read_text(kids: Kids) -> Any:
        element = kids.get(path)
        text = None if element is None else element.text
        return form.default if text is None else form.decode(text)

    return read_text


_MACHINE = _compile("")
_CPUS = _compile("cpus.")
_MEMORY = _compile("memory.")
_DISK = _DeviceReader(Disk, "disks[].", "target")
_CDROM = _DeviceReader(Cdrom, "cdroms[].", "target")
_INTERFACE = _DeviceReader(Interface, "interfaces[].", "mac")
