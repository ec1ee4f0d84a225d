"""What a measurement in a guest was made on: the machine, and the disk below a folder of it."""

from __future__ import annotations

import shlex
from typing import Iterator, Optional

from reconciler.control.ports import Host
from reconciler.core.frozen import replace
from reconciler.core.guest import FileSystem, GuestReport
from reconciler.core.guest_states import describe_state
from reconciler.core.images import read_source
from reconciler.core.measurements.guest_script import explain_unreachable
from reconciler.core.measurements.values import DISK_OPTIONS, DiskSetup, Environment
from reconciler.core.names import name_of
from reconciler.core.world import Reading
from reconciler.core.xmltree import Element, parse
from reconciler.errors import RefusedError, TransientError
from reconciler.kinds.machine.answers import understand
from reconciler.kinds.machine.guest import ExpectedDisk, find_disk, find_places

DISK_INSTEAD = (
    "runs Windows, which has neither fio nor dd; measure its storage on the host: virt-reconciler "
    "bench disk --pool NAME"
)
NETWORK_INSTEAD = "runs Windows, where no shell starts iperf3; start it there by hand"


def describe_guest(
    host: Host, facts: Environment, name: str, folder: str, windows: str = DISK_INSTEAD
) -> Environment:
    """Return the environment of a measurement in that folder of a running guest.

    Raises NotFoundError if there is no such domain, TransientError if it is off or its agent does
    not answer, RefusedError for a guest that has none of the programs.
    """
    reading = understand(host.domains.read_domain(name))
    if not isinstance(reading, Reading):
        raise TransientError(f"guest {name} cannot be read: {reading.reason}")
    if not reading.is_running or reading.live is None:
        state = describe_state(reading.view)
        raise TransientError(f"guest {name} is {state}; start it: virsh start {shlex.quote(name)}")
    report = host.guests.read(name)
    if not report.answers:
        raise TransientError(explain_unreachable(name, report.agent.value))
    if report.is_windows:
        raise RefusedError(f"guest {name} {windows}")
    mounted = find_file_system(report, folder)
    return replace(
        facts,
        machine=name,
        generation=None if reading.owner is None else reading.owner.generation or None,
        machine_type=reading.live.machine,
        disk=find_setup(reading.view.live_xml or "", report, mounted),
        storage=folder,
        filesystem=mounted.type or None if mounted is not None else None,
        device=mounted.device or None if mounted is not None else None,
    )


def describe_client(host: Host, facts: Environment, name: str) -> Environment:
    """Return the environment of a measurement of a running guest's network; raises as above."""
    found = describe_guest(host, facts, name, "/", NETWORK_INSTEAD)
    return replace(found, disk=None, storage=None, filesystem=None, device=None)


def find_file_system(report: GuestReport, folder: str) -> Optional[FileSystem]:
    """Return the file system of the guest that a folder is in, as far as its agent knows it."""
    above = [
        mounted
        for mounted in report.file_systems
        if f"{folder}/".startswith(f"{mounted.mountpoint.rstrip('/')}/")
    ]
    return max(above, key=lambda mounted: len(mounted.mountpoint), default=None)


def find_setup(
    live_xml: str, report: GuestReport, mounted: Optional[FileSystem]
) -> Optional[DiskSetup]:
    """Return how the guest gets the disk below a file system; None if that is not certain."""
    if mounted is None or len(mounted.disks) != 1:
        return None
    places = find_places(live_xml)
    found = [
        element
        for element in _list_disks(parse(live_xml))
        if _is_disk(element, places.get(_target(element), ""), report, mounted.disks[0])
    ]
    return _read_setup(found[0]) if len(found) == 1 else None


def describe_disk(live_xml: str, name: str) -> Optional[DiskSetup]:
    """Return how the guest gets the disk of that name in the manifest; None if it has none."""
    setups = (_read_setup(element) for element in _list_disks(parse(live_xml)))
    return next((setup for setup in setups if setup.name == name), None)


def find_other_disk(found: Optional[DiskSetup], measured: Optional[DiskSetup]) -> str:
    """Return the name of the disk that a folder is on, if it is certainly not the measured one."""
    if found is None or measured is None or found.target == measured.target:
        return ""
    return f"disk {found.name}"


def _list_disks(root: Element) -> Iterator[Element]:
    for element in root.iterfind("devices/disk"):
        if element.get("device", "disk") == "disk" and _target(element):
            yield element


def _target(element: Element) -> str:
    target = element.find("target")
    return "" if target is None else target.get("dev", "")


def _is_disk(element: Element, pci: str, report: GuestReport, device: str) -> bool:
    serial = element.findtext("serial") or ""
    expected = ExpectedDisk("", serial=serial, target=_target(element), pci=pci)
    found = find_disk(expected, report)
    return found is not None and found.device.rpartition("/")[2] == device.rpartition("/")[2]


def _read_setup(element: Element) -> DiskSetup:
    target, driver = element.find("target"), element.find("driver")
    alias = element.find("alias")
    name = None if alias is None else name_of(alias.get("name"))
    given = {} if driver is None else {str(key): str(value) for key, value in driver.items()}
    thread = given.get("iothread")
    return DiskSetup(
        name=_target(element) if name is None else name,
        target=_target(element),
        bus="" if target is None else target.get("bus", ""),
        image=read_source(element.find("source")) or "",
        image_format=given.get("type") or "raw",
        iothread=int(thread) if thread is not None and thread.isdecimal() else None,
        **{option: given.get(option) for option in DISK_OPTIONS},
    )
