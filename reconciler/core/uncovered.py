"""What a domain has and a manifest cannot say, told as remarks beside an exported manifest. Pure.

None of it is lost: the domain's XML is edited in place, so whatever stands here stays as it is.
"""

from __future__ import annotations

from collections import Counter
from typing import Iterator, Optional, Tuple

from reconciler.core.export import has_plain_topology
from reconciler.core.export_devices import (
    has_plain_serial,
    is_foreign_interface,
    is_path,
    is_volume,
    word,
)
from reconciler.core.model import Cpus
from reconciler.core.world import Reading
from reconciler.core.xmltree import Element, children_of, parse

# Modelled, or so usual that naming it would be noise.
_USUAL = frozenset(
    {
        "name", "uuid", "metadata", "memory", "currentMemory", "vcpu", "vcpus", "os", "features",
        "cpu", "clock", "on_poweroff", "on_reboot", "on_crash", "pm", "devices", "resource",
        "seclabel",
    }
)  # fmt: skip
_USUAL_DEVICES = frozenset(
    {
        "emulator", "disk", "controller", "interface", "serial", "console", "channel", "input",
        "graphics", "video", "audio", "memballoon", "rng", "tpm",
    }
)  # fmt: skip


def find_remarks(reading: Reading) -> Tuple[str, ...]:
    """Return one line for each thing that the exported manifest leaves out."""
    root = parse(reading.view.persistent_xml)
    return tuple(_remarks(reading, root))


def _remarks(reading: Reading, root: Element) -> Iterator[str]:
    if not reading.view.persistent:
        yield "the domain is transient: it must be defined before it can be adopted"
    yield from _values(reading)
    if any(map(is_foreign_interface, reading.persistent.interfaces or ())):
        yield "interfaces are left out: one is on neither a libvirt network nor a bridge"
    names = ", ".join(_elements(root))
    if names:
        yield f"not in the manifest, and kept as it is: {names}"


def _values(reading: Reading) -> Iterator[str]:
    for disk in reading.persistent.disks or ():
        if disk.source and not (is_path(disk.source) or is_volume(disk.source)):
            yield f"disk {disk.name}: its source {disk.source} is kept as it is"
        yield from _unspoken(f"disk {disk.name}: ", "bus", disk.bus)
        yield from _unspoken(f"disk {disk.name}: ", "format", disk.format)
        if disk.serial and not has_plain_serial(disk):
            yield f"disk {disk.name}: its serial number has signs that a manifest refuses"
    if not has_plain_topology(reading.persistent.cpus or Cpus()):
        yield "cpus: the topology has more than sockets, cores and threads, and is kept as it is"
    yield from _unspoken("", "graphics", reading.persistent.graphics)
    yield from _unspoken("", "video", reading.persistent.video)


def _unspoken(where: str, field: str, value: Optional[str]) -> Iterator[str]:
    if value is not None and word(field, value) is None:
        yield f"{where}{field} {value} has no word in a manifest, and is kept as it is"


def _elements(root: Element) -> Iterator[str]:
    yield from (name for name in _names(root) if name not in _USUAL)
    devices = root.find("devices")
    if devices is None:
        return
    counts = Counter(name for name in _names(devices) if name not in _USUAL_DEVICES)
    floppies = devices.findall("disk[@device='floppy']")
    if floppies:
        counts["disk device='floppy'"] = len(floppies)
    yield from (f"devices/{name} ({number})" for name, number in sorted(counts.items()))


def _names(element: Element) -> Iterator[str]:
    return (str(one.tag).rsplit("}", 1)[-1] for one in children_of(element))
