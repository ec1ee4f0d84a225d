"""What a staged bus change does to domain XML: the helpers, the switch, and the way back.

The helper disk, the helper card and the CD-ROM with drivers have aliases of their own, and
`read_machine` does not see them. Everything else of the definition stays as it was.
"""

from __future__ import annotations

from itertools import chain
from typing import Iterable, Iterator, Optional, Sequence, Tuple

from reconciler.core.machine import Cdrom, Disk
from reconciler.core.names import (
    ALIAS_PREFIX,
    DRIVER_CD,
    HELPER,
    HELPER_CARD,
    BusChangeMark,
    MovedDevice,
)
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
    slot_in_use,
    target_of,
)
from reconciler.kinds.machine.domain.devices import (
    build_device,
    change_device,
    device_xml,
    keep_name,
    place_devices,
)
from reconciler.kinds.machine.domain.read import read_pci
from reconciler.kinds.machine.match import Device, Difference

IMAGE = ("source", "backingStore", "auth", "encryption")  # of a disk: where its contents are
OWN = (HELPER, HELPER_CARD, DRIVER_CD)
_HELPER = f"{ALIAS_PREFIX}{HELPER}"


def find_own(xml: Optional[str], name: str = HELPER) -> Optional[Element]:
    """Return the helper disk of a configuration, the helper card, or the drive with the drivers."""
    if xml is None:
        return None
    return next(_find_named(parse(xml), name), None)


def _find_named(root: Element, *names: str) -> Iterator[Element]:
    aliases = {f"{ALIAS_PREFIX}{name}" for name in names}
    devices = root.iterfind("devices/*")
    return (device for device in devices if _alias_of(device) in aliases)


def _alias_of(device: Element) -> str:
    alias = device.find("alias")
    return "" if alias is None else alias.get("name", "")


def find_moved(root: Element, moved: MovedDevice) -> Optional[Element]:
    """Return a device that was moved, by its name, or by its target or MAC."""
    tag, read = ("interface", read_mac) if moved.is_card else ("disk", target_of)
    named = (device for device in _find_named(root, moved.name) if device.tag == tag)
    devices = root.iterfind(f"devices/{tag}")
    return next(chain(named, (each for each in devices if read(each) == moved.target)), None)


def read_mac(card: Element) -> str:
    """Return the MAC of a card, in small letters."""
    mac = card.find("mac")
    return "" if mac is None else mac.get("address", "").lower()


def make_card(mark: BusChangeMark) -> Element:
    """Return the helper card: it is on no network, its link is down, and nothing boots from it."""
    return make(
        "interface",
        {"type": "ethernet"},
        make("mac", {"address": mark.mac}),
        make("model", {"type": mark.model}),
        make("link", {"state": "down"}),
        make("alias", {"name": f"{ALIAS_PREFIX}{HELPER_CARD}"}),
        make("rom", {"enabled": "no"}),
    )


def add_own(xml: str, mark: BusChangeMark, *others: str) -> str:
    """Return the definition with the helpers, and with the drive if there are drivers."""
    root = parse(xml)
    devices = layout.ensure(root, "devices")
    own = _place_own(mark, xml, *others)
    for former in list(_find_named(root, HELPER_CARD, *(item.name for item in own))):
        layout.remove(former)
    for item in own:
        element = build_device(item)
        layout.ensure(element, "source").set("startupPolicy", "optional")
        layout.insert_device(devices, element)
    if mark.mac:
        layout.insert_device(devices, make_card(mark))
    add_missing(root)
    return serialise(root)


def _place_own(mark: BusChangeMark, *configurations: str) -> Tuple[Device, ...]:
    """Return the helper disk and the drive, unless one has the drivers.

    Their targets come after those that the moved disks will have: firmware may boot from the first.
    """
    disks = [disk for disk in mark.moved if not disk.is_card]
    items: Tuple[Device, ...] = tuple(Disk(disk.name, mark.bus) for disk in disks)
    own: Tuple[Device, ...] = ()
    if mark.serial:
        own = (Disk(HELPER, mark.bus, source=mark.path, format="qcow2", serial=mark.serial),)
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
    if mark.mac and find_own(live_xml, HELPER_CARD) is None:
        card = make_card(mark)
        indent(card, 0)
        yield fragment(card)


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
        if element is not None and bus_of(element) in ("", "virtio", "scsi", "usb"):
            yield fragment(copy_of(element))


def keep_former(xml: str, differences: Iterable[Difference]) -> Tuple[MovedDevice, ...]:
    """Return the devices that are to be moved, as they are before."""
    root = parse(xml)
    return tuple(
        MovedDevice(
            difference.device or "", fragment(copy_of(layout.find_device(root, difference)))
        )
        for difference in differences
    )


def switch_bus(xml: str, mark: BusChangeMark, differences: Sequence[Difference]) -> SwitchedXml:
    """Return the definition with the devices moved, and how each is called there.

    The former controllers stay until the guest has shown its disks. A card keeps its MAC, and its
    place where the new model fits into that.
    """
    root, moved = parse(xml), []
    if mark.bus:  # which disk is the first may change, and the guest boots from the same one
        number_kinds(root)
    for difference in differences:
        element = layout.find_device(root, difference)
        keep_name(element, difference.device)
        former = next(disk for disk in mark.moved if disk.name == difference.device)
        if former.is_card:
            change_device(root, element, difference)
            target = read_mac(element)
        else:
            move_to_bus(root, element, mark.bus, keeps_controller=True)
            target = target_of(element)
        moved.append(MovedDevice(former.name, former.xml, target))
    disks = [disk.target for disk in moved if not disk.is_card]
    if mark.bus == "virtio" and disks:
        _take_place(root, disks[0])
    return serialise(root), tuple(moved)


def _take_place(root: Element, target: str) -> None:
    """Give a moved disk the helper's PCI address: there the guest has bound its driver."""
    disks = {target_of(disk): disk for disk in iter_disks(root)}
    helper = next((disk for disk in disks.values() if _alias_of(disk) == _HELPER), None)
    address = None if helper is None else helper.find("address[@type='pci']")
    if address is not None:
        layout.append(disks[target], copy_of(address))
        layout.remove(address)


SwitchedXml = Tuple[str, Tuple[MovedDevice, ...]]


def revert_bus(xml: str, mark: BusChangeMark) -> str:
    """Return the definition with the devices as they were before.

    Disks keep the images that they have now, and cards all but their model. What was removed
    meanwhile stays away.
    """
    root = parse(xml)
    for moved in mark.moved:
        present = find_moved(root, moved)
        if present is not None:
            revert = _revert_card if moved.is_card else _revert_disk
            revert(root, moved, present)
    add_missing(root)
    return serialise(root)


def _revert_disk(root: Element, moved: MovedDevice, present: Element) -> None:
    """Put a disk's former element in its place."""
    former = parse(moved.xml)
    _carry_image(present, former)
    keep_name(former, moved.name)
    layout.insert_after(present, former)
    layout.remove(present)
    _settle_place(root, former)
    _drop_foreign_boot(former, present)


def _settle_place(root: Element, former: Element) -> None:
    """Give a disk another target or address, if another device has its own now."""
    bus, others = bus_of(former), [each for each in iter_disks(root) if each is not former]
    is_taken = target_of(former) in {target_of(each) for each in others}
    alike = {slot_in_use(each) for each in others if bus_of(each) == bus} - {None}
    if is_taken or slot_in_use(former) in alike:
        layout.ensure(former, "target").set("dev", free_target(bus, [root], skip=former))
        layout.remove_children(former, "address")
    elif _is_slot_taken(root, former):
        layout.remove_children(former, "address")


def _is_slot_taken(root: Element, device: Element) -> bool:
    """Whether another device has the PCI address of this one."""
    own = read_pci(device)
    others = (each for each in root.iterfind("devices/*") if each is not device)
    return bool(own) and own in map(read_pci, others)


def _revert_card(root: Element, moved: MovedDevice, present: Element) -> None:
    """Give a card its former model, and its former place if nothing else has that now."""
    former = parse(moved.xml)
    layout.remove_children(present, "driver", "address")
    model = former.find("model")
    if model is None:
        layout.remove_children(present, "model")
    else:
        layout.ensure(present, "model").set("type", model.get("type", ""))
    for child in former.iterchildren("driver", "address"):
        if child.tag != "address" or not _is_slot_taken(root, former):
            layout.append(present, copy_of(child))


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
    """Return the definition without the helpers and the drive, and what served only them.

    With a mark, also without the controllers that the moved disks have left.
    """
    root = parse(xml)
    gone = list(_find_named(root, *OWN))
    places = [place_of(device) for device in gone if device.tag == "disk"]
    places = [place for place in places if not _is_configured(root, *place)]
    for device in gone:
        layout.remove(device)
    moved = mark.moved if mark is not None else ()
    places += [place_of(parse(former.xml)) for former in moved if not former.is_card]
    for kind, index in sorted(set(places), reverse=True):
        if kind != "virtio":
            drop_unused(root, kind, index)
    return xml if not gone and mark is None else serialise(root)


def _is_configured(root: Element, kind: str, index: int) -> bool:
    """Whether somebody has set a controller up: it was there before a helper came to it."""
    controllers = root.iterfind(f"devices/controller[@type='{kind}']")
    found = (each for each in controllers if parse_number(each.get("index", "0")) == index)
    return any(each.find("driver") is not None for each in found)
