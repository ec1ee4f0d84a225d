"""Which devices still find a PCI slot in a running machine. Pure.

A slot cannot be added while the guest runs. On q35 each PCI Express port of the start takes
one device, and conventional devices need a bridge (https://libvirt.org/pci-hotplug.html). On
pc everything sits on one bus, or on bridges below it.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, Set, Tuple

from reconciler.core.diff import Device, Difference, Kind
from reconciler.core.domain.controllers import needed_controllers, read_chipset
from reconciler.core.model import Disk, Interface
from reconciler.core.xmltree import Element, parse, parse_number

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
    for one in differences:
        if one.kind is not Kind.ADD or one.item is None:
            continue
        wanted = _wanted(one.item, live_xml, plugged, read_chipset(root))
        if free[wanted[0]] < wanted[1]:
            cramped.add(one.path)
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
    for one in root.iterfind("devices/controller[@type='pci']"):
        bus = parse_number(one.get("index", "0"))
        used = len(taken.get(bus, ()))
        if one.get("model") in _PORTS:
            free[EXPRESS] += not used
        elif one.get("model") in _BRIDGES or one.get("model") == "pci-root":
            free[CONVENTIONAL] += SLOTS - used
    return free


def _taken(root: Element) -> Dict[int, Set[int]]:
    taken: Dict[int, Set[int]] = {}
    for address in root.iterfind("devices/*/address[@type='pci']"):
        bus, slot = (parse_number(address.get(key, "0"), 16) for key in ("bus", "slot"))
        taken.setdefault(bus, set()).add(slot)
    return taken
