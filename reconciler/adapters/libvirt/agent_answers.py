"""Read what a guest's agent answers, in the form that QEMU documents (qga/qapi-schema.json). Pure.

A guest is not trusted: its texts are cut short and cleaned, its lists have an end, and what does
not have the documented form is left out.
"""

from __future__ import annotations

import base64
import ipaddress
from typing import Any, FrozenSet, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.frozen import regex
from reconciler.core.guest import FileSystem, GuestDisk, GuestDriver, GuestInterface

MOST_ITEMS, MOST_LETTERS = 64, 200
MOST_INTERFACES = 640  # with those of containers
VIRTIO_VENDOR = "1af4"
_NO_DISK = regex(r"/dev/(loop|ram|zram|sr|fd|dm-|md)")
_PARTITION = regex(r"(/dev/(?:(?:h|s|v|xv)d[a-z]+|nvme\d+n\d+))p?\d+")


def read_interfaces(answer: object, macs: FrozenSet[str]) -> Tuple[GuestInterface, ...]:
    """Return the interfaces of the domain; bridges, tunnels and containers have other MACs."""
    found = []
    for item in list_items(answer, MOST_INTERFACES):
        mac = read_text(item, "hardware-address").lower().replace("-", ":")
        if mac in macs:
            addresses = (_read_address(each) for each in list_items(item.get("ip-addresses")))
            known = tuple(sorted(address for address in addresses if address))
            found.append(GuestInterface(mac, read_text(item, "name"), known))
    return tuple(found[:MOST_ITEMS])


def _read_address(item: Mapping[str, Any]) -> str:
    text = read_text(item, "ip-address").partition("%")[0]
    try:
        return str(ipaddress.ip_interface(f"{text}/{item.get('prefix', '')}"))
    except ValueError:
        return ""


def read_disks(answer: object) -> Tuple[GuestDisk, ...]:
    """Return the whole disks, without partitions, drives and what is made of other disks."""
    disks = (
        _read_disk(read_text(item, "name"), as_mapping(item.get("address")))
        for item in list_items(answer, MOST_INTERFACES)
        if item.get("partition") is not True and not _NO_DISK.match(read_text(item, "name"))
    )
    return tuple(sorted(disks, key=lambda disk: disk.device))[:MOST_ITEMS]


def _read_disk(device: str, address: Mapping[str, Any]) -> GuestDisk:
    bus = read_text(address, "bus-type")
    controller = as_mapping(address.get("pci-controller"))
    parts = [controller.get(key) for key in ("domain", "bus", "slot", "function")]
    numbers = [part for part in parts if isinstance(part, int) and 0 <= part < 2**16]
    pci = "{:04x}:{:02x}:{:02x}.{:x}".format(*numbers) if len(numbers) == len(parts) else ""
    serial = read_text(address, "serial")
    # viostor says 0 for a disk without one (harvester #5697), and old builds now and then for one
    # with it (kvm-guest-drivers-windows #362).
    return GuestDisk(device, "" if bus == "unknown" else bus, "" if serial == "0" else serial, pci)


def read_drivers(answer: object) -> Tuple[GuestDriver, ...]:
    """Return the drivers of virtio's devices, as a Windows names them."""
    found = (_read_driver(item) for item in list_items(answer, MOST_INTERFACES))
    return tuple(driver for driver in found if driver.device.startswith(VIRTIO_VENDOR))[:MOST_ITEMS]


def _read_driver(item: Mapping[str, Any]) -> GuestDriver:
    identity = as_mapping(item.get("id"))
    numbers = [identity.get(key) for key in ("vendor-id", "device-id")]
    known = [number for number in numbers if isinstance(number, int) and 0 <= number < 2**16]
    device = "{:04x}:{:04x}".format(*known) if len(known) == len(numbers) else ""
    return GuestDriver(read_text(item, "driver-name"), read_text(item, "driver-version"), device)


def read_file_systems(answer: object) -> Tuple[FileSystem, ...]:
    """Return the mounted file systems."""
    return tuple(sorted(_find_file_systems(answer), key=lambda mounted: mounted.mountpoint))


def _find_file_systems(answer: object) -> Iterator[FileSystem]:
    for item in list_items(answer):
        disks = (read_text(disk, "dev") for disk in list_items(item.get("disk")))
        yield FileSystem(
            mountpoint=read_text(item, "mountpoint"),
            type=read_text(item, "type"),
            device=read_text(item, "name"),
            size=_read_number(item, "total-bytes"),
            used=_read_number(item, "used-bytes"),
            disks=tuple(sorted({_find_whole(disk) for disk in disks if disk})),
        )


def _find_whole(device: str) -> str:
    """Return the disk of a partition: `/dev/vda` of `/dev/vda1`."""
    partition = _PARTITION.fullmatch(device)
    return partition.group(1) if partition else device


def as_mapping(answer: object) -> Mapping[str, Any]:
    """Return the answer, or an empty mapping if it is none."""
    return answer if isinstance(answer, dict) else {}


def list_items(answer: object, most: int = MOST_ITEMS) -> List[Mapping[str, Any]]:
    """Return the mappings in a list, no more than `most`."""
    found = answer if isinstance(answer, list) else []
    return [item for item in found[:most] if isinstance(item, dict)]


def read_texts(answer: object) -> Tuple[str, ...]:
    """Return the texts in a list."""
    found = answer if isinstance(answer, list) else []
    return tuple(clean_text(item) for item in found[:MOST_ITEMS] if isinstance(item, str))


def read_text(answer: object, key: str) -> str:
    """Return a text in a mapping; empty if there is none."""
    found = as_mapping(answer).get(key)
    return clean_text(found) if isinstance(found, str) else ""


def clean_text(text: str) -> str:
    """Return a guest's text as one short line."""
    line = " ".join(text.split())
    return "".join(letter for letter in line if letter.isprintable())[:MOST_LETTERS]


def _read_number(answer: Mapping[str, Any], key: str) -> Optional[int]:
    found = answer.get(key)
    is_size = isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**63
    return found if is_size else None


def decode_text(text: object) -> str:
    """Return the text behind base64. Raises ValueError."""
    return base64.b64decode(text if isinstance(text, str) else "").decode(errors="replace")
