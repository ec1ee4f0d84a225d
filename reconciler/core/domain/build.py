"""Build the element of a new device, from the same table that reads devices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Optional, Sequence, Tuple, Type, Union

from reconciler.core.diff import Device
from reconciler.core.domain import layout
from reconciler.core.domain.bindings import TABLES, Binding
from reconciler.core.domain.controllers import read_chipset
from reconciler.core.domain.targets import PREFIXES, free_target, iter_disks
from reconciler.core.identity import name_of
from reconciler.core.model import Cdrom, Disk, Interface
from reconciler.core.plan import Value
from reconciler.core.xmltree import Element, make, parse
from reconciler.errors import TerminalError

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
    roots = [parse(one) for one in configurations]
    placed = []
    for item in items:
        placed.append(place_device(item, *roots))
        for root in roots:
            layout.ensure(root, "devices").append(_taken(placed[-1]))
    return tuple(placed)


def _taken(item: Device) -> Element:
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
    for binding in TABLES[PREFIX_OF[type(item)]]:
        value = item.name if binding.field == "alias" else getattr(item, binding.field)
        if value is not None:
            write_field(element, binding, value)
    return element


def write_field(element: Element, binding: Binding, value: Value) -> None:
    """Write one field of the table below an element; what is missing on the way is made."""
    form = binding.form
    if form.write is not None:
        form.write(element, value)
        return
    if not binding.leaf:
        _write_presence(element, binding.path, there=bool(value))
        return
    place = layout.ensure(element, binding.tag)
    if binding.leaf == "text()":
        place.text = form.encode(value)
    else:
        place.set(binding.leaf[1:], form.encode(value))


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
        one.get("dev")
        for root in roots
        for disk in iter_disks(root)
        if not _is_same(disk, item)
        for one in disk.iterfind("target")
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
