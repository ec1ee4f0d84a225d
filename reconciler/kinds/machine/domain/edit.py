"""Apply differences to domain XML, and leave everything else as it was.

The order matters: what goes makes room (targets, boot numbers) for what changes, and that for
what is new. Which value goes where is the table's; what else must happen is a row here.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Optional, Sequence

from reconciler.core.field_table import FEATURES, find_field
from reconciler.core.machine import Disk, chipset_of
from reconciler.core.names import IGNITION, Owner
from reconciler.core.plan import Value
from reconciler.core.xmltree import Element, copy_of, parse, serialise
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.buses import (
    add_missing,
    drop_empty_kinds,
    kinds_there,
    read_chipset,
    settle_boot,
)
from reconciler.kinds.machine.domain.devices import (
    build_device,
    change_device,
    place_device,
    write_field,
)
from reconciler.kinds.machine.domain.features import (
    SECURE,
    find_ignition,
    set_credentials,
    set_feature,
    set_ignition,
    set_password,
)
from reconciler.kinds.machine.domain.layout import find_device
from reconciler.kinds.machine.domain.processors import edit_cpus, edit_memory
from reconciler.kinds.machine.domain.read import find_seed_drive, read_disk
from reconciler.kinds.machine.domain.soundness import find_unsound
from reconciler.kinds.machine.match import Difference, DifferenceKind


def edit_domain(xml: str, differences: Sequence[Difference]) -> str:
    """Return the domain XML with the differences applied. Without any, it is the same text."""
    if not differences:
        return xml
    root = parse(xml)
    kinds = kinds_there(root)
    for change in differences:
        if change.device is None and "." not in change.field:
            _edit_machine(root, change)
    edit_group(root, "cpus", differences, edit_cpus)
    edit_group(root, "memory", differences, edit_memory)
    numbered = _edit_devices(root, differences)
    settle_boot(root, numbered)
    drop_empty_kinds(root, kinds)
    return serialise(root)


def edit_group(
    root: Element,
    name: str,
    differences: Sequence[Difference],
    edit: Callable[[Element, Mapping[str, Difference]], None],
) -> None:
    """Apply differences that depend on each other together."""
    group = {
        difference.leaf: difference
        for difference in differences
        if difference.field.startswith(f"{name}.")
    }
    if group:
        edit(root, group)


def carry_image(xml: str, disk: Disk, other_xml: str, other: Disk) -> str:
    """Return the domain XML in which a disk has the image that it has in another definition.

    `disk` and `other` are the disk as either definition has it.
    """
    root = parse(xml)
    element, model = _find_disk(root, disk), _find_disk(parse(other_xml), other)
    element.set("type", model.get("type", "file"))
    layout.remove_children(element, "source", "backingStore", "auth")
    for tag in ("source", "backingStore", "auth"):
        for child in model.findall(tag):
            layout.append(element, copy_of(child))
    driver, kind = model.find("driver"), layout.ensure(element, "driver")
    if driver is not None and driver.get("type"):
        kind.set("type", driver.get("type", ""))
    return serialise(root)


def carry_seed(xml: str, present_xml: str, owners: Sequence[Optional[Owner]]) -> str:
    """Return the domain XML with what is for the first boot as it is in the present one.

    That is the drive of cloud-init's seed, or the file for Ignition if it is of these marks.
    """
    root, other = parse(xml), parse(present_xml)
    former, present = find_seed_drive(root), find_seed_drive(other)
    files = find_ignition(root), find_ignition(other)
    paths = {owner.seed.path for owner in owners if owner is not None and owner.seed is not None}
    if files[0] != files[1] and paths.intersection(files):
        set_ignition(root, files[1])
        xml = serialise(root)
    if former is None and present is None:
        return xml
    if former is not None:
        layout.remove(former)
    if present is not None:
        layout.insert_device(layout.ensure(root, "devices"), copy_of(present))
    return serialise(root)


def _find_disk(root: Element, disk: Disk) -> Element:
    change = Difference("disks[].source", DifferenceKind.CHANGE, device=disk.name, item=disk)
    return find_device(root, change)


def _edit_machine(root: Element, change: Difference) -> None:
    if change.field in FEATURES:
        set_feature(root, change.field, change.desired)
    elif change.field in _MACHINE_EDITS:
        _MACHINE_EDITS[change.field](root, change.desired)
    else:
        raise TerminalError(f"{change.path}: is not stored in the domain's XML")


def _set_machine(root: Element, value: Value) -> None:
    there = read_chipset(root)
    if chipset_of(str(value)) != there:
        raise TerminalError(
            f"machine: {there} cannot become {value} in place: every address and built-in "
            "controller differs; create a new machine with these disks"
        )
    layout.ensure(root, "os/type").set("machine", str(value))


def _set_uuid(root: Element, value: Value) -> None:
    raise TerminalError(f"uuid: {root.findtext('uuid')} cannot be changed to {value}")


def _set_firmware(root: Element, value: Value) -> None:
    if value == SECURE and read_chipset(root) != "q35":
        raise TerminalError("firmware: uefi-secure needs a machine of type q35")
    field = find_field("", "firmware")
    assert field is not None  # noqa: S101 - a row of the table
    write_field(root, field, value)


_MACHINE_EDITS: Mapping[str, Callable[[Element, Value], None]] = {
    "machine": _set_machine,
    "uuid": _set_uuid,
    "firmware": _set_firmware,
    "graphics_password": set_password,
    "credentials": set_credentials,
    IGNITION: set_ignition,
}


def _edit_devices(root: Element, differences: Sequence[Difference]) -> List[Element]:
    """Apply what concerns devices; return those that were given a boot number."""
    by_kind: Dict[DifferenceKind, List[Difference]] = {kind: [] for kind in DifferenceKind}
    for difference in differences:
        if "[]" in difference.field:
            by_kind[difference.kind].append(difference)
    for difference in by_kind[DifferenceKind.REMOVE]:
        layout.remove(find_device(root, difference))
    found = [
        (find_device(root, difference), difference) for difference in by_kind[DifferenceKind.CHANGE]
    ]
    found.sort(key=lambda pair: pair[1].leaf == "bus")  # what a bus allows depends on the rest
    for element, difference in found:
        change_device(root, element, difference)
    added = [_add(root, difference) for difference in by_kind[DifferenceKind.ADD]]
    for element in [*(pair[0] for pair in found), *added]:
        _refuse_unsound(element)
    changed = [element for element, difference in found if difference.leaf == "boot"]
    return changed + [device for device in added if device.find("boot") is not None]


def _refuse_unsound(element: Element) -> None:
    if element.tag == "disk" and element.get("device") != "cdrom":
        disk = read_disk(element)
        for reason in find_unsound(disk):
            raise TerminalError(reason)
        if disk.serial and element.get("device") == "lun":
            raise TerminalError(
                f"disks[{disk.name}].serial: a LUN has the serial of its block device"
            )


def _add(root: Element, difference: Difference) -> Element:
    if difference.item is None:
        raise TerminalError(f"{difference.path}: the change does not name what to add")
    element = build_device(place_device(difference.item, root))
    layout.insert_device(layout.ensure(root, "devices"), element)
    add_missing(root)
    return element
