"""What a domain has and a manifest cannot say, told as remarks beside an exported manifest. Pure.

None of it is lost: the domain's XML is edited in place, so whatever stands here stays as it is.
Names of things only, never what they hold: there may be passwords among it.
"""

from __future__ import annotations

from collections import Counter
from typing import FrozenSet, Iterator, Mapping, Optional, Tuple

from reconciler.core.field_table import FEATURES, find_elements, find_parts
from reconciler.core.guests import short_id
from reconciler.core.machine import Cpus
from reconciler.core.names import MARK_NAMESPACE, name_of
from reconciler.core.world import Reading, World
from reconciler.core.xmltree import Element, attributes_of, children_of, parse, qualified_name
from reconciler.kinds.machine.domain.xml_places import NAMESPACES
from reconciler.kinds.machine.export import find_osinfo, has_plain_topology
from reconciler.kinds.machine.export_devices import find_image, is_foreign_interface, is_path
from reconciler.kinds.machine.planning.images import named_volume

_OURS = frozenset({MARK_NAMESPACE, NAMESPACES["libosinfo"]})
# Below these it is the children that are told.
_DEEP = frozenset({"os", "features", "cpu", "clock", "metadata", "devices"})
# What every tool writes, so that naming it would be noise; by path. Besides what has a field.
_USUAL = frozenset(
    {
        "pm", "resource", "on_poweroff", "on_reboot", "on_crash",
        "os/loader", "os/nvram", "os/firmware", "os/boot",
        "features/acpi", "features/apic", "features/pae", "features/vmport", "features/smm",
        "cpu/vendor", "clock/timer",
        "devices/emulator", "devices/controller", "devices/input", "devices/audio",
        *(path for prefix in ("", "cpus.", "memory.") for path in find_elements(prefix)),
        *(f"devices/{tag}" for feature in FEATURES.values() for tag in feature.tags),
    }
)  # fmt: skip
# The same for devices of which there are entries: children, and attributes of some of them.
_USUAL_PARTS: Mapping[str, FrozenSet[str]] = {
    "disk": frozenset(
        {
            "driver/@name", "source/@file", "source/@dev", "source/@dir", "source/@pool",
            "source/@volume", "source/@protocol", "source/@name", "source/@index",
            "address", "backingStore", *find_parts("disks[]."), *find_parts("cdroms[]."),
        }
    ),
    "interface": frozenset({"address", *find_parts("interfaces[].")}),
}  # fmt: skip
_WHOLE = frozenset({"alias", "address", "backingStore"})  # whatever they hold
# A new machine has one of each at most, so that more than one is more than a manifest says.
_SINGLE = frozenset(
    f"devices/{feature.parts[0]}"
    for feature in FEATURES.values()
    if feature.parts == feature.tags[:1]
)


def find_remarks(reading: Reading, around: World) -> Tuple[str, ...]:
    """Return one line for each thing that the exported manifest leaves out."""
    root = parse(reading.view.persistent_xml)
    return tuple(_remarks(reading, around, root))


def _remarks(reading: Reading, around: World, root: Element) -> Iterator[str]:
    if not reading.view.persistent:
        yield "the domain is transient: it must be defined before it can be adopted"
    yield from _say_snapshots(reading, around)
    for disk in reading.persistent.disks or ():
        if disk.source and not (is_path(disk.source) or named_volume(around, disk.source)):
            yield f"disk {disk.name}: its source {disk.source} is not changed"
    for cdrom in reading.persistent.cdroms or ():
        if cdrom.media and not (is_path(cdrom.media) or named_volume(around, cdrom.media)):
            yield f"CD-ROM drive {cdrom.name}: its medium {cdrom.media} is not changed"
    if not has_plain_topology(reading.persistent.cpus or Cpus()):
        yield "cpus: the topology has more than sockets, cores and threads, and is not changed"
    yield from _say_system(reading, root)
    yield from _say_boot_order(reading, root)
    for card in filter(is_foreign_interface, reading.persistent.interfaces or ()):
        yield f"interface {card.alias or card.mac}: {card.uplink}; named only, and kept as it is"
    yield from _devices(root)
    names = ", ".join(_elements(root))
    if names:
        yield f"not in the manifest, and not changed: {names}"


def _say_snapshots(reading: Reading, around: World) -> Iterator[str]:
    """Say which disks are on snapshots, whose images no manifest names, and which are kept."""
    name, images = reading.view.name, around.images
    for disk in reading.persistent.disks or ():
        image = find_image(name, disk, around)
        if image != disk.source:
            known = images.find_snapshot(name, disk.target or "", disk.source or "")
            which = f"external snapshot {known.name!r}" if known else "an external snapshot"
            yield f"disk {disk.name}: on {which} ({disk.source}); the manifest names {image}"
        elif len(images.find_chain(disk.source or "", disk.format or "")) > 1:
            below = images.find_chain(disk.source or "", disk.format or "")[1]
            yield f"disk {disk.name}: {disk.source} lies over {below}, and is not changed"
    internal = [
        snapshot.name for snapshot in images.snapshots.get(name, ()) if not snapshot.overlays
    ]
    if internal:
        more = f" and {len(internal) - 3} more" if internal[3:] else ""
        yield f"internal snapshots are not changed: {', '.join(internal[:3])}{more}"


def _say_system(reading: Reading, root: Element) -> Iterator[str]:
    """Say why there is no `os`, which guards what must not be done to a Windows."""
    if (reading.owner and reading.owner.os) or short_id(find_osinfo(root) or ""):
        return
    full = find_osinfo(root)
    why = f"{full} has no short id that is certain" if full else "the domain does not record it"
    yield f"os is left out: {why}; set it if you know it, like os: rocky9 or os: win2k22"


def _say_boot_order(reading: Reading, root: Element) -> Iterator[str]:
    """Name a boot order of the whole domain, which goes when devices get numbers of their own."""
    kinds = [element.get("dev", "") for element in root.iterfind("os/boot")]
    plain = ["hd", "cdrom"] if reading.persistent.cdroms else ["hd"]
    if kinds not in ([], ["hd"], plain):
        order = ", ".join(kinds)
        yield f"not in the manifest, and not changed: the boot order of os/boot: {order}"


def _devices(root: Element) -> Iterator[str]:
    """Tell of each disk and interface what no field of its entry says."""
    for kind in _USUAL_PARTS:
        for element in root.iterfind(f"devices/{kind}"):
            if kind == "interface" and element.get("type") not in ("network", "bridge"):
                continue  # kept as a whole
            parts = list(_parts(element, _USUAL_PARTS[kind]))
            if parts and element.get("device") != "floppy":
                what = ", ".join(dict.fromkeys(parts))
                yield f"{kind} {_name(element)}: not changed: {what}"


def _parts(element: Element, usual: FrozenSet[str]) -> Iterator[str]:
    if element.get("device") == "lun":
        yield "@device=lun"
    for child in children_of(element):
        if child.tag in _WHOLE:
            continue
        if child.tag not in usual:
            yield str(child.tag)
            continue
        paths = (f"{child.tag}/@{name}" for name, _ in attributes_of(child))
        yield from (path for path in paths if path not in usual)
        yield from (f"{child.tag}/{part.tag}" for part in children_of(child))


def _name(element: Element) -> str:
    """Return by what a person knows the device: its alias, else target or MAC."""
    places = [("alias", "name"), ("target", "dev") if element.tag == "disk" else ("mac", "address")]
    found = [(tag, element.find(tag), key) for tag, key in places]
    texts = [(tag, place.get(key)) for tag, place, key in found if place is not None]
    names = [name_of(text) if tag == "alias" else text for tag, text in texts]
    return next((name for name in names if name), "")


def _elements(root: Element) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for child in children_of(root):
        counts.update(_below(child))
    for path, number in counts.items():
        more = number - 1 if path in _SINGLE else number
        if path not in _USUAL or (path in _SINGLE and more):
            yield f"{'more ' if path in _SINGLE else ''}{path}{f' ({more})' if more > 1 else ''}"


def _below(element: Element) -> Iterator[str]:
    tag = qualified_name(element)
    if element.tag not in _DEEP:
        yield tag
        return
    for child in children_of(element):
        path = _path(tag, child)
        if path is not None:
            yield path


def _path(parent: str, child: Element) -> Optional[str]:
    """Return the path of an element; None if an entry of a list tells of it, or it is ours."""
    if parent == "devices" and child.tag in _USUAL_PARTS:
        is_floppy = child.get("device") == "floppy"
        return "devices/disk device='floppy'" if is_floppy else None
    if parent == "metadata" and str(child.tag)[1:].partition("}")[0] in _OURS:
        return None
    return f"{parent}/{qualified_name(child)}"
