"""What a staged bus change does to domain XML: the helper disk, the switch, and the way back.

The helper disk and the CD-ROM with drivers have aliases of their own, and `read_machine` does not
see them. Everything else of the definition stays as it was.
"""

from __future__ import annotations

from typing import Iterable, Iterator, Optional, Sequence, Tuple

from reconciler.core.machine import Cdrom, Disk
from reconciler.core.names import ALIAS_PREFIX, DRIVER_CD, HELPER, BusChangeMark, MovedDisk
from reconciler.core.xmltree import Element, copy_of, fragment, parse, serialise
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.buses import (
    add_missing,
    bus_of,
    drop_unused,
    free_target,
    iter_disks,
    move_to_bus,
    needed_controllers,
    number_kinds,
    place_of,
    target_of,
)
from reconciler.kinds.machine.domain.devices import (
    build_device,
    device_xml,
    keep_name,
    place_devices,
)
from reconciler.kinds.machine.match import Device, Difference

IMAGE = ("source", "backingStore", "auth", "encryption")  # of a disk: where its contents are
OWN = (HELPER, DRIVER_CD)
_HELPER = f"{ALIAS_PREFIX}{HELPER}"


def find_own(xml: Optional[str], name: str = HELPER) -> Optional[Element]:
    """Return the helper disk of a configuration, or the drive with the drivers."""
    if xml is None:
        return None
    alias = f"{ALIAS_PREFIX}{name}"
    found = (disk for disk in iter_disks(parse(xml)) if _alias_of(disk) == alias)
    return next(found, None)


def _alias_of(disk: Element) -> str:
    alias = disk.find("alias")
    return "" if alias is None else alias.get("name", "")


def find_by_target(root: Element, target: str) -> Optional[Element]:
    """Return the disk with that target."""
    return next((disk for disk in iter_disks(root) if target_of(disk) == target), None)


def add_own(xml: str, mark: BusChangeMark, *others: str) -> str:
    """Return the definition with the helper disk, and a drive unless one has the drivers.

    Its target comes after those that the moved disks will have: firmware may boot from the first.
    """
    root = parse(xml)
    devices = layout.ensure(root, "devices")
    for item in _place_own(mark, xml, *others):
        name = f"{ALIAS_PREFIX}{item.name}"
        for former in [disk for disk in iter_disks(root) if _alias_of(disk) == name]:
            layout.remove(former)
        element = build_device(item)
        layout.ensure(element, "source").set("startupPolicy", "optional")
        layout.insert_device(devices, element)
    add_missing(root)
    return serialise(root)


def _place_own(mark: BusChangeMark, *configurations: str) -> Tuple[Device, ...]:
    items: Tuple[Device, ...] = tuple(Disk(disk.name, mark.bus) for disk in mark.disks)
    own: Tuple[Device, ...] = (
        Disk(HELPER, mark.bus, source=mark.path, format="qcow2", serial=mark.serial),
    )
    if mark.media and not has_drivers(configurations[0], mark):
        # Never on usb: before libvirt 11.5 that is a stick for the guest (usb-storage), which no
        # Windows reads (https://libvirt.org/formatdomain.html, usb-bot; its merge request 19).
        own = (*own, Cdrom(DRIVER_CD, None, mark.media))
    return place_devices((*items, *own), *configurations)[len(items) :]


def has_drivers(xml: Optional[str], mark: BusChangeMark) -> bool:
    """Whether a CD-ROM drive of a configuration has the drivers, the change's own or another."""
    drives = () if xml is None else parse(xml).iterfind("devices/disk[@device='cdrom']/source")
    return any(mark.media in (source.get("file"), source.get("dev")) for source in drives)


def list_plugs(live_xml: str, mark: BusChangeMark, stored_xml: str) -> Iterator[str]:
    """Yield the devices to plug into the running guest, their controllers first.

    A CD-ROM drive cannot be plugged: QEMU plugs nothing on SATA and IDE.
    """
    for item in _place_own(mark, live_xml, stored_xml):
        if isinstance(item, Cdrom) or find_own(live_xml, item.name) is not None:
            continue
        yield from needed_controllers(live_xml, item)
        yield device_xml(item, live_xml)


def find_ejected(live_xml: str) -> Optional[str]:
    """Return the drive of the running guest without its medium; None if it has none."""
    drive = find_own(live_xml, DRIVER_CD)
    if drive is None or drive.find("source") is None:
        return None
    element = copy_of(drive)
    layout.remove_children(element, *IMAGE)
    return fragment(element)


def list_unplugs(live_xml: str) -> Iterator[str]:
    """Yield the devices that the running guest gives back."""
    for name in OWN:
        element = find_own(live_xml, name)
        if element is not None and bus_of(element) in ("virtio", "scsi", "usb"):
            yield fragment(copy_of(element))


def keep_former(xml: str, differences: Iterable[Difference]) -> Tuple[MovedDisk, ...]:
    """Return the disks that are to be moved, as they are before."""
    root = parse(xml)
    return tuple(
        MovedDisk(difference.device or "", fragment(copy_of(layout.find_device(root, difference))))
        for difference in differences
    )


def switch_bus(xml: str, mark: BusChangeMark, differences: Sequence[Difference]) -> SwitchedXml:
    """Return the definition with the disks on the new bus, and how each is called there.

    Their former controllers stay until the guest has shown its disks.
    """
    root, moved = parse(xml), []
    number_kinds(root)  # which disk is the first may change, and the guest boots from the same one
    for difference in differences:
        element = layout.find_device(root, difference)
        keep_name(element, difference.device)
        move_to_bus(root, element, mark.bus, keeps_controller=True)
        former = next(disk for disk in mark.disks if disk.name == difference.device)
        moved.append(MovedDisk(former.name, former.xml, target_of(element)))
    if mark.bus == "virtio" and moved:
        _take_place(root, moved[0].target)
    return serialise(root), tuple(moved)


def _take_place(root: Element, target: str) -> None:
    """Give a moved disk the helper's PCI address: there the guest has bound its driver."""
    disks = {target_of(disk): disk for disk in iter_disks(root)}
    helper = next((disk for disk in disks.values() if _alias_of(disk) == _HELPER), None)
    address = None if helper is None else helper.find("address[@type='pci']")
    if address is not None:
        layout.append(disks[target], copy_of(address))
        layout.remove(address)


SwitchedXml = Tuple[str, Tuple[MovedDisk, ...]]


def revert_bus(xml: str, mark: BusChangeMark) -> str:
    """Return the definition with the disks as they were before, on the images they have now."""
    root = parse(xml)
    for disk in mark.disks:
        present = find_by_target(root, disk.target)
        if present is None:
            raise TerminalError(
                f"disks[{disk.name}]: the domain no longer has a disk {disk.target}, so its former "
                f"bus cannot come back; {layout.edit_command(root)}"
            )
        former = parse(disk.xml)
        _carry_image(present, former)
        keep_name(former, disk.name)
        others = [each for each in iter_disks(root) if each is not present]
        layout.insert_after(present, former)
        layout.remove(present)
        if target_of(former) in {target_of(each) for each in others}:
            target = layout.ensure(former, "target")
            target.set("dev", free_target(bus_of(former), [root], skip=former))
            layout.remove_children(former, "address")
        _drop_foreign_boot(former, present)
    add_missing(root)
    return serialise(root)


def _carry_image(present: Element, former: Element) -> None:
    former.set("type", present.get("type", "file"))
    layout.remove_children(former, *IMAGE)
    for tag in IMAGE:
        for child in present.findall(tag):
            layout.append(former, copy_of(child))
    driver = present.find("driver")
    if driver is not None and driver.get("type"):
        layout.ensure(former, "driver").set("type", driver.get("type", ""))


def _drop_foreign_boot(former: Element, present: Element) -> None:
    """Keep the boot number that the disk has now: the others were numbered beside it."""
    layout.remove_children(former, "boot")
    for boot in present.findall("boot"):
        layout.append(former, copy_of(boot))


def drop_own(xml: str, mark: Optional[BusChangeMark] = None) -> str:
    """Return the definition without the helper disk and the drive, and what served only them.

    With a mark, also without the controllers that the moved disks have left.
    """
    root = parse(xml)
    aliases = {f"{ALIAS_PREFIX}{name}" for name in OWN}
    gone = [disk for disk in iter_disks(root) if _alias_of(disk) in aliases]
    places = [place_of(disk) for disk in gone]
    for disk in gone:
        layout.remove(disk)
    places += [place_of(parse(former.xml)) for former in (mark.disks if mark is not None else ())]
    for kind, index in sorted(set(places), reverse=True):
        if kind != "virtio":
            drop_unused(root, kind, index)
    return xml if not gone and mark is None else serialise(root)
