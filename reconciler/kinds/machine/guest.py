"""Judge a guest by what its agent tells: the condition `GuestReady`. Pure, but for `look_inside`.

It is information: no plan depends on it, and `Ready` does not.
"""

from __future__ import annotations

from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.control.ports import Host
from reconciler.core.frozen import frozen, replace
from reconciler.core.guest import (
    CLOUD_INIT,
    DISKS,
    FILE_SYSTEMS,
    INTERFACES,
    AgentState,
    CloudInitState,
    DriverProbe,
    FileSystem,
    GuestDisk,
    GuestReport,
    GuestView,
    is_link_local,
)
from reconciler.core.machine import Disk, Interface, Machine
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import IGNITION, SeedMark
from reconciler.core.units import format_roughly
from reconciler.core.world import Reading
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.answers import understand
from reconciler.kinds.machine.domain.read import read_pci
from reconciler.kinds.machine.match import align, by_name
from reconciler.kinds.machine.planning.seed_contents import find_sign

NOT_CONNECTED = (
    "the guest agent is not connected: the guest is booting, or qemu-guest-agent is not installed "
    "or not running in it"
)
NO_CHANNEL = "the domain has no channel for the guest agent yet; it gets one at its next cold start"
SILENT = (
    "the guest agent is connected and does not answer; in the guest: systemctl restart "
    "qemu-guest-agent"
)
BUSY = "another program has been using the guest agent for a long time (a backup, virsh)"
NOT_RUNNING = "the guest does not run"
NOT_STARTED = "cloud-init has not started in the guest; is it installed in the image?"
_BY_AGENT: Mapping[AgentState, GuestView] = {
    AgentState.OFF: GuestView(None, (NOT_RUNNING,), GuestReport(AgentState.OFF)),
    AgentState.NONE: GuestView(ready=False, reasons=(NO_CHANNEL,)),
    AgentState.DISCONNECTED: GuestView(ready=False, reasons=(NOT_CONNECTED,), is_booting=True),
    AgentState.BUSY: GuestView(None, (BUSY,), is_booting=True),
}

SERIAL_LETTERS = 20  # of a virtio disk; QEMU tells the guest no more (VIRTIO_BLK_ID_BYTES)
WINDOWS_DEVICE = "\\\\.\\"
PCI_BUSES = frozenset({"virtio", "nvme"})  # each disk has a PCI address of its own
# A file system that was grown fills its disk but for what is not counted: other partitions, its own
# tables, what is reserved for root. A cloud image that was not grown has some GiB of any disk.
GROWN_SHARE, GROWN_SLACK = 0.8, 2**30
ROOTS = frozenset({"/", "C:\\"})
GROW = "in the guest: growpart, then resize2fs or xfs_growfs"


@frozen
class ExpectedDisk:
    """A disk that the guest shall see. `pci` is its own address, empty where it has none."""

    name: str
    bus: str = ""
    serial: str = ""
    target: str = ""
    pci: str = ""
    size: Optional[int] = None


@frozen
class ExpectedGuest:
    """What a guest shall show: what the manifest names, with the addresses that libvirt gave it.

    `is_first_boot` says that cloud-init has a seed to read.
    """

    disks: Tuple[ExpectedDisk, ...] = ()
    interfaces: Tuple[Interface, ...] = ()
    is_first_boot: bool = False


def look_inside(host: Host, manifest: MachineManifest) -> GuestView:
    """Look into the guest of a machine, and judge it. Takes seconds where the agent is slow.

    Raises NotFoundError where there is no such domain, TransientError where libvirt or the domain
    cannot be read.
    """
    reading = understand(host.domains.read_domain(manifest.name))
    if not isinstance(reading, Reading) or not reading.is_running:
        return _BY_AGENT[AgentState.OFF]
    seed = _find_seed(reading)
    sign = "" if seed is None else find_sign(manifest, seed)
    report = host.guests.read(manifest.name, sign, _find_probe(reading))
    view = judge_guest(expect_guest(manifest, reading), report)
    if manifest.machine.guest_agent is not True:  # only the end of its first boot is asked for
        return replace(view, ready=None, reasons=())
    return view


def _find_probe(reading: Reading) -> Optional[DriverProbe]:
    """Return what a staged bus change waits for in the guest."""
    mark = None if reading.owner is None else reading.owner.bus_change
    is_waiting = mark is not None and not mark.is_over
    if mark is None or not is_waiting:
        return None
    return DriverProbe(mark.bus, mark.serial, mark.mac)


def expect_guest(manifest: MachineManifest, reading: Reading) -> ExpectedGuest:
    """Return what the guest of a running machine shall show; nothing of a device it lacks."""
    machine, live = manifest.machine, reading.live
    if live is None:
        return ExpectedGuest()
    live = align(machine, live)
    places = find_places(reading.view.live_xml or "")
    seed = _find_seed(reading)
    return ExpectedGuest(
        tuple(_expect_disks(machine, live, places)),
        tuple(_expect_interfaces(machine, live)),
        seed is not None and seed.is_attached and manifest.windows is None,
    )


def _find_seed(reading: Reading) -> Optional[SeedMark]:
    """Return the seed that the guest was given, whose use its agent can tell."""
    seed = None if reading.owner is None else reading.owner.seed
    return None if seed is None or seed.field == IGNITION else seed


def _expect_disks(
    machine: Machine, live: Machine, places: Mapping[str, str]
) -> Iterator[ExpectedDisk]:
    for disk in machine.disks or ():
        found: Optional[Disk] = by_name(live.disks, disk.name)
        if found is not None:
            target, bus = found.target or "", disk.bus or found.bus or ""
            pci = places.get(target, "") if found.bus in PCI_BUSES else ""
            serial = disk.serial or found.serial or ""
            yield ExpectedDisk(disk.name, bus, serial, target, pci, disk.size)


def _expect_interfaces(machine: Machine, live: Machine) -> Iterator[Interface]:
    """Yield the interfaces whose link is up, with their MACs."""
    for card in machine.interfaces or ():
        found = by_name(live.interfaces, card.name)
        if found is not None and found.mac and "down" not in (card.link, found.link):
            yield replace(card, mac=found.mac)


def find_places(live_xml: str) -> Mapping[str, str]:
    """Return target → PCI address of the disks that have one, as the guest writes it."""
    found = {}
    for disk in parse(live_xml).iterfind("devices/disk"):
        target, place = disk.find("target"), read_pci(disk)
        if target is not None and place:
            found[target.get("dev", "")] = place
    return found


def judge_guest(expected: ExpectedGuest, report: GuestReport) -> GuestView:
    """Return the condition `GuestReady`."""
    if report.agent in _BY_AGENT:
        return replace(_BY_AGENT[report.agent], report=report)
    if report.agent is AgentState.SILENT:
        return GuestView(
            ready=False, reasons=(SILENT, *_list_unseen(report)), report=report, is_booting=True
        )
    waiting = [*_judge_interfaces(expected, report), *_judge_cloud_init(expected, report)]
    broken = [*_judge_disks(expected, report), *_judge_growth(expected, report)]
    failed = report.cloud_init.state is CloudInitState.FAILED
    notes = [*_list_renamed(expected, report), *_list_unseen(report)]
    is_booting = bool(waiting) and not broken and not failed
    if broken or waiting:
        return GuestView(
            ready=False, reasons=(*broken, *waiting), report=report, is_booting=is_booting
        )
    return GuestView(ready=True, reasons=tuple(notes), report=report)


def _list_unseen(report: GuestReport) -> Iterator[str]:
    """Yield what could not be seen, once for each reason."""
    reasons = dict.fromkeys(unseen.why for unseen in report.unseen)
    for reason in reasons:
        what = ", ".join(unseen.what for unseen in report.unseen if unseen.why == reason)
        yield f"not seen: {what} ({reason})"


def _judge_disks(expected: ExpectedGuest, report: GuestReport) -> Iterator[str]:
    if report.find_unseen(DISKS):
        return
    for disk in expected.disks:
        found = find_disk(disk, report)
        if found is None:
            yield from _judge_missing(disk, expected, report)
            continue
        if not report.is_windows and found.bus and disk.bus and found.bus != disk.bus:
            yield f"disk {disk.name} is on {found.bus} in the guest, should be on {disk.bus}"
        if disk.serial and found.serial and not _has_serial(found, disk.serial):
            yield (
                f"disk {disk.name} has the serial {found.serial!r} in the guest, should be "
                f"{disk.serial!r}"
            )


def _judge_missing(
    disk: ExpectedDisk, expected: ExpectedGuest, report: GuestReport
) -> Iterator[str]:
    """Say that a disk is not there; where disks cannot be told apart they are counted."""
    if disk.serial and any(found.serial for found in report.disks):
        yield f"disk {disk.name}: no disk in the guest has the serial {disk.serial!r}"
        return
    is_counted = report.is_windows or not any(found.bus for found in report.disks)
    alike = [other for other in expected.disks if is_counted or other.bus == disk.bus]
    there = [found for found in report.disks if is_counted or found.bus == disk.bus]
    if len(there) < len(alike):
        where = "" if is_counted else f" on {disk.bus}"
        yield (
            f"disk {disk.name} is not in the guest: it has {len(there)} of {len(alike)} "
            f"disks{where}"
        )


def find_disk(disk: ExpectedDisk, report: GuestReport) -> Optional[GuestDisk]:
    """Return the guest's disk: by serial, else by its PCI address, else by its name if on virtio.

    Names on other buses are given in the order in which the guest finds its disks.
    """
    return (
        _find_only([found for found in report.disks if _has_serial(found, disk.serial)])
        or _find_only([found for found in report.disks if disk.pci and found.pci == disk.pci])
        or _find_only(
            [
                found
                for found in report.disks
                if disk.target.startswith("vd") and found.device == f"/dev/{disk.target}"
            ]
        )
    )


def _find_only(found: Sequence[GuestDisk]) -> Optional[GuestDisk]:
    return found[0] if len(found) == 1 else None


def _has_serial(disk: GuestDisk, serial: str) -> bool:
    """Whether it has that serial: udev puts a model before it, virtio cuts it short.

    A Windows before 8 swaps the letters of each pair on SATA and IDE
    (https://stackoverflow.com/questions/14623397).
    """
    cut = serial[:SERIAL_LETTERS]
    forms = [serial, cut]
    if disk.device.startswith(WINDOWS_DEVICE):
        even = cut + " " * (len(cut) % 2)
        forms.append("".join(even[at + 1] + even[at] for at in range(0, len(even), 2)))
    return bool(serial) and (disk.serial in forms or disk.serial.endswith(f"_{serial}"))


def _list_renamed(expected: ExpectedGuest, report: GuestReport) -> Iterator[str]:
    """Yield the virtio disks that have another name in the guest than in libvirt."""
    for disk in expected.disks:
        found = find_disk(disk, report)
        device = f"/dev/{disk.target}"
        is_linux = found is not None and found.device.startswith("/dev/vd")
        if found is not None and is_linux and disk.bus == "virtio" and found.device != device:
            yield f"disk {disk.name} is {found.device} in the guest, {device} in libvirt"


def _judge_interfaces(expected: ExpectedGuest, report: GuestReport) -> Iterator[str]:
    hidden = report.find_unseen(INTERFACES)
    seen = {interface.mac for interface in report.interfaces}
    for card in expected.interfaces:
        mac = (card.mac or "").lower()
        if mac not in seen:
            if not hidden:
                yield f"interface {card.name}: the guest has no interface with the MAC {mac}"
            continue
        yield from _judge_addresses(card, report.find_addresses(mac))


def _judge_addresses(card: Interface, addresses: Tuple[str, ...]) -> Iterator[str]:
    usable = [address for address in addresses if not is_link_local(address)]
    missing = [
        address for address in card.addresses if not any(_is_same(address, has) for has in usable)
    ]
    if missing:
        has = ", ".join(usable) or "none"
        yield f"interface {card.name} should have the address {', '.join(missing)}, has {has}"
    elif not usable:
        yield f"interface {card.name} has no address yet"


def _is_same(address: str, other: str) -> bool:
    """Whether two addresses with their prefix lengths are one, however they are written."""
    import ipaddress  # noqa: PLC0415 - start-up time

    try:
        return ipaddress.ip_interface(address) == ipaddress.ip_interface(other)
    except ValueError:
        return address == other


def _judge_cloud_init(expected: ExpectedGuest, report: GuestReport) -> Iterator[str]:
    found = report.cloud_init
    if report.find_unseen(CLOUD_INIT) or report.is_windows:
        return
    if found.state is CloudInitState.FAILED:
        errors = ": " + "; ".join(found.errors) if found.errors else ""
        yield f"cloud-init failed{errors} (in the guest: cloud-init status --long)"
    elif found.state is CloudInitState.RUNNING:
        yield f"cloud-init runs{f' ({found.stage})' if found.stage else ''}"
    elif found.state is CloudInitState.ABSENT and expected.is_first_boot and not found.finished:
        yield NOT_STARTED


def _judge_growth(expected: ExpectedGuest, report: GuestReport) -> Iterator[str]:
    """Say where the root file system has much less than its disk, and lies on nothing but that."""
    if report.find_unseen(FILE_SYSTEMS):
        return
    for disk in expected.disks:
        found = find_disk(disk, report)
        mounted = [] if found is None else _list_mounted(found, report)
        root = next((each for each in mounted if each.mountpoint in ROOTS), None)
        if root is None or disk.size is None or root.device.startswith("dm-"):
            continue
        filled = sum(each.size or 0 for each in mounted)
        if filled < disk.size * GROWN_SHARE and filled < disk.size - GROWN_SLACK:
            yield (
                f"file system {root.mountpoint} has {format_roughly(root.size or 0)} of disk "
                f"{disk.name} ({format_roughly(disk.size)}): it did not grow; {GROW}"
            )


def _list_mounted(disk: GuestDisk, report: GuestReport) -> List[FileSystem]:
    """Return the file systems that lie on a disk alone, each device once."""
    found = {
        mounted.device or mounted.mountpoint: mounted
        for mounted in sorted(
            report.file_systems, key=lambda each: (each.mountpoint in ROOTS, each.mountpoint)
        )
        if mounted.disks == (disk.device,)
    }
    return list(found.values())
