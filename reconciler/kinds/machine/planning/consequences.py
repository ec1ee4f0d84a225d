"""What a plan changes besides what its manifest asks for: lines with an effect, and notes. Pure."""

from __future__ import annotations

import shlex
from typing import Iterable, Iterator, List, Optional, Tuple

from reconciler.core.field_table import FEATURES
from reconciler.core.guests import is_windows
from reconciler.core.machine import Disk
from reconciler.core.plan import Change, Effect
from reconciler.core.units import format_size
from reconciler.core.xmltree import Element, parse, parse_number
from reconciler.kinds.machine.domain.consequences import (
    Consequence,
    describe_element,
    find_consequences,
)
from reconciler.kinds.machine.domain.layout import find_device
from reconciler.kinds.machine.domain.xml_places import read_bytes
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.decide import Decision
from reconciler.kinds.machine.planning.devices import NewDevice, Update
from reconciler.kinds.machine.planning.steps import find_edits

# The worst first: a change of several causes comes with the one that disturbs most.
_ORDER = (Effect.RESTART, Effect.NEXT_BOOT, Effect.LIVE, Effect.OFFLINE)
# What belongs to a network card and stays with it where it moves.
_CARD = ("virtualport", "vlan", "bandwidth", "filterref", "port", "mtu", "tune")
NEW_ADAPTER = (
    "Windows makes a new network adapter of it: a static address stays with the former, hidden "
    "one, and must be set again in the guest"
)
_UPLINKS = ("interfaces[].network", "interfaces[].bridge")


def find_neighbours(update: Update, new: Tuple[NewDevice, ...]) -> Tuple[Change, ...]:
    """Return a change for everything that editing the definition changes besides itself."""
    xml, edits = update.reading.view.persistent_xml, find_edits(update, new)
    found = find_consequences(xml, edits, update.machine, update.stored)
    return tuple(_change(consequence, update.decisions) for consequence in found)


def _change(consequence: Consequence, decisions: Iterable[Decision]) -> Change:
    stored = [decision for decision in decisions if decision.stored is not None]
    causes = [
        decision for decision in stored if _may_cause(decision.difference, consequence.path)
    ] or stored
    effects = {cause.effect for cause in causes}
    effect = next((effect for effect in _ORDER if effect in effects), Effect.OFFLINE)
    names = ", ".join(cause.difference.path for cause in causes[:3])
    reason = f"follows from {names}" + (f": {consequence.reason}" if consequence.reason else "")
    return Change(consequence.path, consequence.observed, consequence.desired, effect, reason)


def _may_cause(difference: Difference, path: str) -> bool:
    """Whether the change of a field may be why what the path names changes too."""
    if path == "os/boot" or path.endswith((".boot", "boot/@order")):
        return difference.leaf == "boot" or difference.kind is not DifferenceKind.CHANGE
    if difference.device is not None:
        own = difference.path.split("].", 1)[0].rstrip("]") + "]"
        return path.startswith((f"{own}.", f"{own}/"))
    if path.startswith("devices/"):
        tag = path.split("/")[1].split("[")[0]
        feature = FEATURES.get(difference.field)
        is_its_own = feature is not None and tag in {part.split("/")[0] for part in feature.parts}
        return is_its_own or difference.field == "graphics"  # what hangs on the display
    group = difference.field.split(".")[0]
    return path.startswith(_PLACES_OF.get(group, (group,)))


_PLACES_OF = {"cpus": ("cpus.", "cpu", "vcpu"), "memory": ("memory.",)}


def find_remarks(update: Update) -> Tuple[str, ...]:
    """Return what stays although it may be expected to go, and what the change meets with."""
    if not update.decisions:
        return ()
    root = parse(update.reading.view.persistent_xml)
    fields = {decision.difference.field for decision in update.decisions}
    notes: List[str] = []
    for decision in update.decisions:
        item = decision.difference.item
        if decision.difference.kind is DifferenceKind.REMOVE and isinstance(item, Disk):
            notes.append(f"disks[{item.name}]: its image stays: {describe_image(item)}")
        if decision.difference.needs_card_driver and is_windows(update.machine.os):
            notes.append(f"{decision.difference.path}: {NEW_ADAPTER}")
    notes += _find_first_boot(update, root)
    notes += _find_kept(update, root)
    if "graphics" in fields and update.machine.graphics != "spice" and "video" not in fields:
        notes += [
            "video: qxl stays, a card for SPICE; set video: virtio to replace it"
            for element in root.findall("devices/video/model[@type='qxl']")[:1]
        ]
    if fields & {"cpus.count", "cpus.maximum"}:
        notes += _find_unpinned(update, root)
    if fields & {"memory.size", "memory.maximum"}:
        notes += _find_limit(update, root)
    return tuple(notes)


def describe_image(disk: Disk) -> str:
    """Return like `/images/a.qcow2 (60GiB)`."""
    size = f" ({format_size(disk.size)})" if disk.size else ""
    return f"{disk.source or 'no image'}{size}"


def _find_first_boot(update: Update, root: Element) -> Iterator[str]:
    """Say that a device which is removed is what the guest boots from first."""
    # What was plugged into the running guest alone is not booted from.
    found = [decision.stored for decision in update.decisions if decision.stored is not None]
    if any(difference.leaf == "boot" or _has_boot_number(difference) for difference in found):
        return  # the manifest says from which it is to boot
    first = _first_boot_device(root)
    for difference in found:
        is_device = difference.field in ("disks[]", "cdroms[]", "interfaces[]")
        if (
            difference.kind is DifferenceKind.REMOVE
            and is_device
            and find_device(root, difference) is first
        ):
            yield (
                f"{difference.path}: the guest boots from it first; to boot from another device, "
                "set boot: 1 on that one"
            )


def _has_boot_number(difference: Difference) -> bool:
    return (
        difference.kind is DifferenceKind.ADD and getattr(difference.item, "boot", None) is not None
    )


def _first_boot_device(root: Element) -> Optional[Element]:
    """Return the device that the firmware is told to try first."""
    numbered = [
        (parse_number(boot.get("order", "0")), device)
        for device in root.findall("devices/*")
        for boot in device.findall("boot")
    ]
    if numbered:
        return min(numbered, key=lambda pair: pair[0])[1]
    kinds = [element.get("dev") for element in root.findall("os/boot")] or ["hd"]
    if kinds[0] == "network":
        return root.find("devices/interface")
    roles = {"hd": ("disk", "lun"), "cdrom": ("cdrom",)}.get(str(kinds[0]), ())
    disks = root.findall("devices/disk")
    return next((disk for disk in disks if disk.get("device", "disk") in roles), None)


def _find_kept(update: Update, root: Element) -> Iterator[str]:
    """Say what a card that is moved brings along."""
    moved = [
        decision.stored for decision in update.decisions if decision.difference.field in _UPLINKS
    ]
    seen = set()
    for difference in moved:
        if difference is None or difference.device in seen:
            continue
        seen.add(difference.device)
        card = find_device(root, difference)
        is_moved_over = f"{card.get('type')}" != difference.leaf
        kept = [
            f"{child.tag} ({describe_element(child)})"
            for child in card.iterchildren(*_CARD)
            if not (is_moved_over and child.tag == "virtualport")
        ]
        if kept:
            yield f"interfaces[{difference.device}]: keeps its {', '.join(kept)}"


def _find_unpinned(update: Update, root: Element) -> Iterator[str]:
    """Say which processors are pinned to nothing although others are."""
    pinned = {element.get("vcpu") for element in root.findall("cputune/vcpupin")}
    cpus = update.machine.cpus
    most = max((cpus and cpus.maximum) or 0, (cpus and cpus.count) or 0)
    loose = [str(number) for number in range(most) if str(number) not in pinned]
    if pinned and loose:
        yield (
            f"cpus: processors {', '.join(loose)} are not pinned, others are; to pin them: "
            f"virsh vcpupin {shlex.quote(update.manifest.name)} N CPUS --config"
        )


def _find_limit(update: Update, root: Element) -> Iterator[str]:
    limit = root.find("memtune/hard_limit")
    size = (update.machine.memory and update.machine.memory.size) or 0
    most = read_bytes(limit)
    if most is not None and most < size:
        yield (
            f"memory: memtune/hard_limit is {format_size(most)}, below {format_size(size)}; the "
            f"host may kill the guest: virsh memtune {shlex.quote(update.manifest.name)} "
            "--hard-limit SIZE"
        )
