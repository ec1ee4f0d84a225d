"""One field of a manifest changed, and what that is in the domain's XML, written a second time.

No test is here. `edit` changes the spec and says whether there was such a field; `expect` changes
the definition as it was into the one that must come of it. Neither uses the product's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional

from lxml import etree

Spec = Dict[str, Any]
Element = etree._Element
AGENT = "org.qemu.guest_agent.0"
KIB = {"KiB": 1, "MiB": 2**10, "GiB": 2**20, "TiB": 2**30}


@dataclass(frozen=True)
class Edit:
    """A change on both sides."""

    edit: Callable[[Spec, Element], bool]
    expect: Callable[[Element], None]


def _kib(size: str) -> int:
    return int(size[:-3]) * KIB[size[-3:]]


def _set(element: Element, path: str, attribute: str, value: str) -> None:
    child = element.find(path)
    if child is None:
        child = etree.SubElement(element, path)
    child.set(attribute, value)


def _disk(root: Element) -> Element:
    """Return the element of the first entry of `disks`."""
    return next(
        element
        for element in root.iterfind("devices/disk")
        if element.get("device") in ("disk", "lun")
    )


def _card(spec: Spec) -> Optional[Dict[str, Any]]:
    """Return the first interface, unless it is of a kind that is only named."""
    card = _first(spec, "interfaces")
    return card if card and ("network" in card or "bridge" in card) else None


def _first(spec: Spec, kind: str) -> Optional[Dict[str, Any]]:
    found: List[Dict[str, Any]] = spec.get(kind) or []
    return found[0] if found else None


def _less_memory(spec: Spec, root: Element) -> bool:
    plain = isinstance(spec["memory"], str)
    size = spec["memory"] if plain else spec["memory"]["size"]
    less = f"{_kib(size) - 1024}KiB"
    spec["memory"] = less if plain else {**spec["memory"], "size": less}
    return True


def _has_less_memory(root: Element) -> None:
    current = root.find("currentMemory")
    assert current is not None
    current.text = str(int(current.text or 0) - 1024)


def _fewer_cpus(spec: Spec, root: Element) -> bool:
    cpus = spec["cpus"] if isinstance(spec["cpus"], dict) else {"count": spec["cpus"]}
    if cpus["count"] < 2:
        return False
    spec["cpus"] = {"maximum": cpus["count"], **cpus, "count": cpus["count"] - 1}
    return True


def _has_fewer_cpus(root: Element) -> None:
    vcpu = root.find("vcpu")
    assert vcpu is not None
    count = int(vcpu.get("current") or vcpu.text or 1) - 1
    vcpu.set("current", str(count))
    for element in root.iterfind("vcpus/vcpu"):  # the order is said of all or of none
        if "order" in element.attrib:
            del element.attrib["order"]
        if int(element.get("id", "0")) >= count:
            element.set("enabled", "no")


def _autostart(spec: Spec, root: Element) -> bool:
    spec["autostart"] = True
    return True


def _on_disk(field: str, *values: str) -> Callable[[Spec, Element], bool]:
    """Return an edit that gives the first disk the first value that it has not."""

    def edit(spec: Spec, root: Element) -> bool:
        disk = _first(spec, "disks")
        if disk is None:
            return False
        disk[field] = next(value for value in values if value != disk.get(field))
        return True

    return edit


def _driver(name: str, *values: str) -> Callable[[Element], None]:
    def expect(root: Element) -> None:
        disk = _disk(root)
        driver = disk.find("driver")
        old = None if driver is None else driver.get(name)
        _set(disk, "driver", name, next(value for value in values if value != old))

    return expect


def _serial(spec: Spec, root: Element) -> bool:
    """Leave LUNs alone, which have the serial number of the device."""
    has_disk = bool(spec.get("disks")) and _disk(root).get("device") == "disk"
    return has_disk and _on_disk("serial", "S-1")(spec, root)


def _has_serial(root: Element) -> None:
    disk = _disk(root)
    serial = disk.find("serial")
    if serial is None:
        serial = etree.SubElement(disk, "serial")
    serial.text = "S-1"


def _boot(spec: Spec, root: Element) -> bool:
    device = _first(spec, "disks") or _card(spec)
    if device is None:
        return False
    device["boot"] = 77
    return True


_PLACES = {
    "cdrom": "devices/disk[@device='cdrom']",
    "fd": "devices/disk[@device='floppy']",
    "network": "devices/interface",
}


def _list_kind(root: Element, kind: Optional[str]) -> List[Element]:
    if kind == "hd":
        disks = root.findall("devices/disk")
        return [disk for disk in disks if disk.get("device") in ("disk", "lun")]
    return root.findall(_PLACES.get(kind or "", "none"))


def _has_boot(root: Element) -> None:
    [os] = root.findall("os")
    kinds = [element.get("dev") for element in os.findall("boot")]
    for element in os.findall("boot"):
        os.remove(element)
    _set((_list_kind(root, "hd") or root.findall("devices/interface"))[0], "boot", "order", "77")
    last = 0
    for kind in kinds:  # what the kinds meant
        for device in _list_kind(root, kind)[:1]:
            boot = device.find("boot")
            if boot is None:
                last += 1
                _set(device, "boot", "order", str(last))
            else:
                last = int(boot.get("order") or 0)


def _link(spec: Spec, root: Element) -> bool:
    interface = _card(spec)
    if interface is None:
        return False
    interface["link"] = "up" if interface.get("link") == "down" else "down"
    return True


def _has_link(root: Element) -> None:
    interface = root.findall("devices/interface")[0]
    link = interface.find("link")
    was = "up" if link is None else link.get("state")
    _set(interface, "link", "state", "down" if was == "up" else "up")


def _network(spec: Spec, root: Element) -> bool:
    interface = _card(spec)
    if interface is None or interface.get("network") != "default":
        return False
    interface["network"] = "other"
    return True


def _has_network(root: Element) -> None:
    _set(root.findall("devices/interface")[0], "source", "network", "other")


def _eject(spec: Spec, root: Element) -> bool:
    cdrom = _first(spec, "cdroms")
    if cdrom is None or cdrom.get("media") in (None, "none") or cdrom.get("bus") == "usb":
        return False
    cdrom["media"] = "none"
    return True


def _has_ejected(root: Element) -> None:
    [cdrom, *_] = (
        element for element in root.iterfind("devices/disk") if element.get("device") == "cdrom"
    )
    cdrom.set("type", "file")
    for tag in ("source", "auth"):  # when to do without a medium goes with the medium
        for element in cdrom.findall(tag):
            cdrom.remove(element)


def _no_agent(spec: Spec, root: Element) -> bool:
    if root.find(f"devices/channel/target[@name='{AGENT}']") is None:
        return False
    spec["guestAgent"] = False
    return True


def _has_no_agent(root: Element) -> None:
    [devices] = root.findall("devices")
    for element in devices.findall(f"channel/target[@name='{AGENT}']/.."):
        devices.remove(element)


def _no_rng(spec: Spec, root: Element) -> bool:
    if root.find("devices/rng") is None:
        return False
    spec["rng"] = False
    return True


def _has_no_rng(root: Element) -> None:
    [devices] = root.findall("devices")
    for element in devices.findall("rng"):
        devices.remove(element)


def _machine(spec: Spec, root: Element) -> bool:
    kind = root.find("os/type")
    assert kind is not None
    spec["machine"] = _older(kind.get("machine", ""))
    return True


def _older(machine: str) -> str:
    return machine.rpartition("-")[0] + ("-7.0" if machine.endswith("-6.2") else "-6.2")


def _has_machine(root: Element) -> None:
    kind = root.find("os/type")
    assert kind is not None
    kind.set("machine", _older(kind.get("machine", "")))


CACHES, DISCARDS = ("directsync", "none"), ("ignore", "unmap")
EDITS: Mapping[str, Edit] = {
    "memory": Edit(_less_memory, _has_less_memory),
    "cpus": Edit(_fewer_cpus, _has_fewer_cpus),
    "autostart": Edit(_autostart, lambda root: None),
    "cache": Edit(_on_disk("cache", *CACHES), _driver("cache", *CACHES)),
    "discard": Edit(_on_disk("discard", *DISCARDS), _driver("discard", *DISCARDS)),
    "serial": Edit(_serial, _has_serial),
    "boot": Edit(_boot, _has_boot),
    "link": Edit(_link, _has_link),
    "network": Edit(_network, _has_network),
    "media": Edit(_eject, _has_ejected),
    "agent": Edit(_no_agent, _has_no_agent),
    "rng": Edit(_no_rng, _has_no_rng),
    "machine": Edit(_machine, _has_machine),
}
