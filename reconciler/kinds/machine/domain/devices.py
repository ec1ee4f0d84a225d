"""Build devices' elements, change their fields, and make the XML that a running guest gets."""

from __future__ import annotations

from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    FrozenSet,
    Iterable,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Type,
    Union,
)

from reconciler.core.cloud_init import SEED_DRIVE
from reconciler.core.field_table import bound, find_field
from reconciler.core.fields import Field
from reconciler.core.frozen import replace
from reconciler.core.machine import Cdrom, Disk, Interface
from reconciler.core.names import alias_of, is_alias_name, name_of
from reconciler.core.plan import Value
from reconciler.core.xmltree import (
    Element,
    copy_of,
    fragment,
    indent,
    make,
    parse,
    parse_number,
    serialise,
)
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.buses import (
    PREFIXES,
    free_target,
    iter_disks,
    move_to_bus,
    needed_controllers,
    read_chipset,
)
from reconciler.kinds.machine.domain.layout import ensure, find_device, remove_children
from reconciler.kinds.machine.domain.xml_places import CONVERSIONS
from reconciler.kinds.machine.match import Device, Difference, DifferenceKind

EXPRESS, CONVENTIONAL = "express", "conventional"
# PCI Express devices of their own; virtio ones are what their slot is.
EXPRESS_MODELS = frozenset({"virtio", "virtio-non-transitional", "e1000e", "igb"})
_PORTS = frozenset({"pcie-root-port", "pcie-switch-downstream-port"})
_BRIDGES = frozenset({"pcie-to-pci-bridge", "pci-bridge"})
SLOTS = 31  # of a conventional bus; slot 0 is its own


def find_cramped(live_xml: str, differences: Iterable[Difference]) -> FrozenSet[str]:
    """Return the paths of the new devices for which the running machine has no slot left."""
    root = parse(live_xml)
    free = _free_slots(root)
    cramped: Set[str] = set()
    plugged: Set[str] = set()
    for difference in differences:
        if difference.kind is not DifferenceKind.ADD or difference.item is None:
            continue
        wanted = _wanted(difference.item, live_xml, plugged, read_chipset(root))
        if free[wanted[0]] < wanted[1]:
            cramped.add(difference.path)
        else:
            free[wanted[0]] -= wanted[1]
    return frozenset(cramped)


def _wanted(item: Device, live_xml: str, plugged: Set[str], chipset: str) -> Tuple[str, int]:
    """Return kind and number of the slots that the device and its controllers take."""
    express = EXPRESS if chipset == "q35" else CONVENTIONAL
    if isinstance(item, Interface):
        return (express if (item.model or "virtio") in EXPRESS_MODELS else CONVENTIONAL), 1
    if isinstance(item, Disk) and item.bus in (None, "virtio"):
        return express, 1
    controllers = set(needed_controllers(live_xml, item)) - plugged
    plugged |= controllers
    return express, len(controllers)


def _free_slots(root: Element) -> Dict[str, int]:
    taken = _taken(root)
    free = {EXPRESS: 0, CONVENTIONAL: 0}
    for element in root.iterfind("devices/controller[@type='pci']"):
        bus = parse_number(element.get("index", "0"))
        used = len(taken.get(bus, ()))
        if element.get("model") in _PORTS:
            free[EXPRESS] += not used
        elif element.get("model") in _BRIDGES or element.get("model") == "pci-root":
            free[CONVENTIONAL] += SLOTS - used
    return free


def _taken(root: Element) -> Dict[int, Set[int]]:
    taken: Dict[int, Set[int]] = {}
    for address in root.iterfind("devices/*/address[@type='pci']"):
        bus, slot = (parse_number(address.get(key, "0"), 16) for key in ("bus", "slot"))
        taken.setdefault(bus, set()).add(slot)
    return taken


PREFIX_OF: Mapping[Type[Any], str] = {
    Disk: "disks[].",
    Cdrom: "cdroms[].",
    Interface: "interfaces[].",
}


def place_device(item: Device, *roots: Element) -> Device:
    """Complete a device with bus and target; the target is free in every given configuration.

    A target that the device brings along is kept if it is free.
    """
    if isinstance(item, Interface):
        link = None if item.link == "up" else item.link  # up is what it is without a word
        return replace(item, model=item.model or "virtio", link=link)
    bus = item.bus or default_bus(item, read_chipset(roots[0]) if roots else "q35")
    placed = replace(item, bus=bus, target=_free(item, bus, roots))
    return replace(placed, cache=default_cache(placed)) if isinstance(placed, Disk) else placed


def place_devices(items: Sequence[Device], *configurations: str) -> Tuple[Device, ...]:
    """Complete several devices, so that all their targets are free in all the given domain XML."""
    roots = [parse(configuration) for configuration in configurations]
    placed = []
    for item in items:
        placed.append(place_device(item, *roots))
        for root in roots:
            layout.ensure(root, "devices").append(_taken_targets(placed[-1]))
    return tuple(placed)


def _taken_targets(item: Device) -> Element:
    if isinstance(item, Interface):
        return make("interface")
    return make("disk", None, make("target", {"dev": item.target, "bus": item.bus}))


def default_bus(item: Device, chipset: str) -> str:
    """Return the bus for a drive of which nobody said one: virtio, but no CD-ROM can be on that."""
    if isinstance(item, Disk):
        return "virtio"
    return "ide" if chipset == "pc" else "sata"


def default_cache(disk: Disk) -> Optional[str]:
    """Return the cache mode: what is said, or the one without which native io is impossible."""
    return disk.cache or ("none" if disk.io == "native" else None)


def build_device(item: Device) -> Element:
    """Return the element of a placed device; its name is written as the user alias."""
    element = _empty(item)
    for field in bound(PREFIX_OF[type(item)]):
        value = item.name if field.name == "alias" else getattr(item, field.name)
        if value is not None:
            write_field(element, field, value)
    if item.name == SEED_DRIVE:  # a guest starts without it, should somebody have deleted it
        layout.ensure(element, "source").set("startupPolicy", "optional")
    return element


def write_field(element: Element, field: Field, value: Value) -> None:
    """Write one field of the table below an element; what is missing on the way is made."""
    conversion = CONVERSIONS[field.form]
    if conversion.write is not None:
        conversion.write(element, value)
        return
    if not field.leaf:
        _write_presence(element, field.path, there=bool(value))
        return
    place = layout.ensure(element, field.tag)
    if field.leaf == "text()":
        place.text = conversion.encode(value)
    else:
        place.set(field.leaf[1:], conversion.encode(value))


def _write_presence(element: Element, tag: str, *, there: bool) -> None:
    if there:
        layout.ensure(element, tag)
    else:
        layout.remove_children(element, tag)


def _empty(item: Device) -> Element:
    if isinstance(item, Interface):
        if item.network is None and item.bridge is None:
            raise TerminalError(
                f"interfaces[{item.name}]: there is no interface with MAC {item.mac}; correct mac, "
                "or give network or bridge to have a new one"
            )
        return make("interface")
    driver = make("driver", {"name": "qemu", "type": "raw"})
    if isinstance(item, Cdrom):
        return make("disk", {"type": "file", "device": "cdrom"}, driver, make("readonly"))
    if item.source is None or item.format is None:
        raise TerminalError(f"disks[{item.name}]: its image and format must be known by now")
    return make("disk", {"type": "file", "device": "disk"}, driver)


def _free(item: Union[Disk, Cdrom], bus: str, roots: Sequence[Element]) -> str:
    taken = {
        element.get("dev")
        for root in roots
        for disk in iter_disks(root)
        if not _is_same(disk, item)
        for element in disk.iterfind("target")
    }
    target = item.target
    if target and target.startswith(PREFIXES.get(bus, "?")) and target not in taken:
        return target
    return free_target(bus, roots)


def _is_same(disk: Element, item: Union[Disk, Cdrom]) -> bool:
    """Whether it is the same device, as the other configuration has it; by alias or image."""
    alias, image = disk.find("alias"), disk.find("source")
    if alias is not None and name_of(alias.get("name")) == item.name:
        return True
    source = item.source if isinstance(item, Disk) else None
    return source is not None and image is not None and image.get("file") == source


def change_device(root: Element, element: Element, difference: Difference) -> None:
    """Change one field of a device element, with what must change beside it."""
    special = _DEVICE_EDITS.get(difference.field)
    if special is not None:
        special(root, element, difference)
        return
    prefix, _, leaf = difference.field.partition("].")
    field = find_field(f"{prefix}].", leaf)
    if field is None:
        raise TerminalError(f"{difference.path}: is not stored in the domain's XML")
    write_field(element, field, difference.desired)


def _change_bus(root: Element, element: Element, difference: Difference) -> None:
    keep_name(element, difference.device)
    move_to_bus(root, element, str(difference.desired))


def _change_mac(_root: Element, element: Element, difference: Difference) -> None:
    keep_name(element, difference.device)
    layout.ensure(element, "mac").set("address", str(difference.desired))


def _change_model(root: Element, element: Element, difference: Difference) -> None:
    """Drop what the former model alone understood, and a slot that the new one does not fit."""
    model = layout.ensure(element, "model")
    before, after = model.get("type", ""), str(difference.desired)
    model.set("type", after)
    if not after.startswith("virtio"):
        layout.remove_children(element, "driver")
    # A model of the other kind needs a slot of the other kind, so the address does not stay.
    if read_chipset(root) == "q35" and (before in EXPRESS_MODELS) != (after in EXPRESS_MODELS):
        layout.remove_children(element, "address")


_DEVICE_EDITS: Mapping[str, Callable[[Element, Element, Difference], None]] = {
    "disks[].bus": _change_bus,
    "cdroms[].bus": _change_bus,
    "interfaces[].mac": _change_mac,
    "interfaces[].model": _change_model,
}


def keep_name(element: Element, name: Optional[str]) -> None:
    """Write the device's name down as its user alias, before what it was known by changes.

    A name that no alias can hold (a MAC, say) stays what the device is known by.
    """
    if name is None or not is_alias_name(name):
        return
    former = element.find("alias")
    if former is None:
        layout.append(element, make("alias", {"name": alias_of(name)}))
    else:
        former.set("name", alias_of(name))


def device_xml(item: Device, *configurations: str) -> str:
    """Return a new device for attaching; its target is free in every given domain XML.

    Without its boot number: it means nothing until the next start, and libvirt refuses one that
    does not go with those of the running devices.
    """
    element = build_device(
        place_device(item, *(parse(configuration) for configuration in configurations))
    )
    remove_children(element, "boot")
    indent(element, 0)
    return fragment(element)


def live_device(xml: str, difference: Difference, *more: Difference) -> str:
    """Return the whole element of the device, with the changes applied; unchanged for a removal."""
    root = parse(xml)
    element = find_device(root, difference)
    for change in (difference, *more):
        if change.kind is DifferenceKind.CHANGE:
            change_device(root, element, change)
    return fragment(copy_of(element))


def plug(xml: str, plugged: Iterable[str], unplugged: Collection[str]) -> str:
    """Return the running configuration with devices plugged in, and without those unplugged."""
    root = parse(xml)
    devices = ensure(root, "devices")
    for device in [device for device in devices if fragment(copy_of(device)) in unplugged]:
        devices.remove(device)
    devices.extend(parse(text) for text in plugged)
    return serialise(root)
