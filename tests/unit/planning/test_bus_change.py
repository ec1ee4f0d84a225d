"""A staged bus change: which phase follows from what is seen, and what other plans make of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Optional, Tuple

import pytest

from reconciler.core.guest import (
    AgentState,
    DriverProbe,
    DriverReport,
    GuestDisk,
    GuestDriver,
    GuestProof,
    GuestReport,
)
from reconciler.core.machine import Disk, Machine, Power
from reconciler.core.manifest import BusChange, Desired, Lifecycle
from reconciler.core.names import BusChangeMark, MovedDevice, Owner
from reconciler.core.plan import Action, Change, Define, DeleteSeed, Effect, SetMetadata
from reconciler.core.virtio_win import DriverMedia
from reconciler.core.world import DomainView, GuestState, PoolView, Reading, World
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.bus_change import (
    add_own,
    drop_own,
    find_ejected,
    list_plugs,
    revert_bus,
    switch_bus,
)
from reconciler.kinds.machine.domain.mark import owner_xml, read_owner, set_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.bus_change import Phase, Walk, find_evidence, find_phase
from reconciler.kinds.machine.planning.delete import plan_delete
from reconciler.kinds.machine.status import find_status
from tests.unit.planning.worlds import domain, plan
from tests.unit.windows.media import make_medium

FORMER = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/images/a.qcow2'/><target dev='sda' bus='sata'/>"
    "<alias name='ua-root'/><address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>"
)
PATH = "/images/vm-bus-change.qcow2"
BEGUN = BusChangeMark(
    bus="virtio",
    serial="VRBC01",
    pool="default",
    volume="vm-bus-change.qcow2",
    path=PATH,
    begun=100,
    moved=(MovedDevice("root", FORMER),),
)
PROVED = replace(BEGUN, proved=200)
SWITCHED = replace(PROVED, switched=300, moved=(MovedDevice("root", FORMER, "vda"),))
STARTED = replace(SWITCHED, started=310)
OVER = replace(BEGUN, failed="it did not boot", path="")
RUNS, OFF = {"is_running": True}, {"is_off": True}
PLUGGED = {**RUNS, "has_helper": True, "has_plug": True}

PHASES: Any = {
    "nothing began": (None, RUNS, Phase.PREPARE),
    "nothing began, off": (None, OFF, Phase.PREPARE),
    "not asked for": (None, {"is_wanted": False}, None),
    "the helper was not stored": (BEGUN, RUNS, Phase.PREPARE),
    "the helper was not plugged in": (BEGUN, {**RUNS, "has_helper": True}, Phase.PREPARE),
    "no slot": (BEGUN, {**RUNS, "has_helper": True, "can_plug": False}, Phase.AWAIT_PLUG),
    "off before the proof": (BEGUN, {**OFF, "has_helper": True}, Phase.AWAIT_PLUG),
    "no driver yet": (BEGUN, PLUGGED, Phase.AWAIT_DRIVER),
    "the driver is seen": (BEGUN, {**PLUGGED, "is_proved": True}, Phase.PROVED),
    "proved and running": (PROVED, PLUGGED, Phase.SWITCH),
    "proved and off": (PROVED, {**OFF, "has_helper": True}, Phase.SWITCH),
    "somebody moved them": (BEGUN, {**PLUGGED, "is_moved": True}, Phase.FINISH),
    "aborted before the switch": (PROVED, {**PLUGGED, "aborts": True}, Phase.GIVE_UP),
    "the manifest was taken back": (BEGUN, {**PLUGGED, "is_wanted": False}, Phase.GIVE_UP),
    "switched and off": (SWITCHED, OFF, Phase.AWAIT_START),
    "switched and running": (SWITCHED, RUNS, Phase.BEGIN_CHECK),
    "within the limit": (STARTED, {**RUNS, "now": 909, "limit": 600}, Phase.AWAIT_SHOWN),
    "after the limit": (STARTED, {**RUNS, "now": 910, "limit": 600}, Phase.GO_BACK),
    "off after the limit": (STARTED, {**OFF, "now": 910, "limit": 600}, Phase.AWAIT_START),
    "shown late": (STARTED, {**RUNS, "now": 910, "limit": 600, "shows_moved": True}, Phase.FINISH),
    "aborted after the switch": (STARTED, {**RUNS, "aborts": True}, Phase.GO_BACK),
    "killed on the way back": (replace(STARTED, failed="x"), OFF, Phase.GO_BACK),
    "failed": (OVER, RUNS, Phase.FAILED),
    "failed and tried again": (OVER, {**RUNS, "retries": True}, Phase.PREPARE),
    "killed before the last start": (replace(OVER, resumes=True), OFF, Phase.RESUME),
    "failed and not asked for": (OVER, {**RUNS, "is_wanted": False}, Phase.FORGET),
}


@pytest.mark.parametrize(("mark", "seen", "phase"), PHASES.values(), ids=PHASES.keys())
def test_the_phase_follows_from_what_is_seen(
    mark: Optional[BusChangeMark], seen: Any, phase: Optional[Phase]
) -> None:
    assert find_phase(Walk(mark, **seen)) is phase


def difference() -> Difference:
    """Return the change of the bus."""
    item = Disk("root", "sata", alias="root", target="sda")
    return Difference(
        field="disks[].bus",
        kind=DifferenceKind.CHANGE,
        observed="sata",
        desired="virtio",
        device="root",
        item=item,
    )


def test_the_definition_comes_back_as_it_was() -> None:
    xml = domain(FORMER)
    with_helper = add_own(xml, BEGUN)
    assert [disk.name for disk in read_machine(parse(with_helper)).disks or ()] == ["root"]
    switched, disks = switch_bus(with_helper, BEGUN, [difference()])
    [disk] = read_machine(parse(switched)).disks or ()
    assert (disk.bus, disk.target) == ("virtio", "vda")
    back = drop_own(revert_bus(switched, replace(BEGUN, moved=disks)))
    assert read_machine(parse(back)).disks == read_machine(parse(xml)).disks


def test_a_controller_that_was_set_up_before_stays_when_the_helper_disk_goes() -> None:
    mark = replace(BEGUN, bus="scsi")
    own = "<controller type='scsi' index='0' model='virtio-scsi'><driver queues='4'/></controller>"
    for devices, queues in ((FORMER + own, ["4"]), (FORMER, [])):
        back = parse(drop_own(add_own(domain(devices), mark), mark))
        drivers = back.iterfind("devices/controller[@type='scsi']/driver")
        assert [driver.get("queues") for driver in drivers] == queues


PCI = "<address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>"
DRIVE = "<address type='drive' controller='0' bus='0' target='0' unit='0'/>"


@pytest.mark.parametrize(
    ("former", "other", "place"),
    [
        (
            FORMER.replace("bus='sata'", "bus='virtio'").replace(DRIVE, PCI),
            f"<sound model='ich9'>{PCI.replace('0x05', '0x5')}</sound>",
            ("sda", None),
        ),
        (
            FORMER,
            f"<disk type='file' device='disk'><target dev='sdx' bus='sata'/>{DRIVE}</disk>",
            ("sdb", None),
        ),
        (
            FORMER,
            f"<disk type='file' device='disk'><target dev='sdx' bus='scsi'/>{DRIVE}</disk>",
            ("sda", "drive"),
        ),
    ],
    ids=["a PCI slot", "a place on its bus", "a place on another bus"],
)
def test_a_disk_does_not_take_a_place_back_that_another_device_has_now(
    former: str, other: str, place: Tuple[str, Optional[str]]
) -> None:
    moved = FORMER.replace("dev='sda' bus='sata'", "dev='vda' bus='virtio'").replace(DRIVE, "")
    mark = replace(SWITCHED, moved=(MovedDevice("root", former, "vda"),))
    root = parse(revert_bus(domain(moved + other), mark))
    [disk] = root.iterfind("devices/disk/alias[@name='ua-root']/..")
    address, target = disk.find("address"), disk.find("target")
    assert target is not None
    assert (target.get("dev"), None if address is None else address.get("type")) == place


def test_the_mark_is_read_as_it_was_written() -> None:
    owner = Owner(
        "vm",
        "g1",
        bus_change=replace(
            STARTED,
            driver="viostor 100.1",
            resumes=True,
            installed=150,
            install_result="exit status 5",
        ),
    )
    assert read_owner(parse(set_owner(domain(FORMER), owner))) == owner


def moving(mark: BusChangeMark, live: bool = True) -> Reading:
    """Return the machine with that mark, running as number 7."""
    owner = Owner("vm", "g1", '{"lifecycle": {"deletion": "undefine"}}', bus_change=mark)
    xml = set_owner(add_own(domain(FORMER), mark), owner)
    address = "<address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>"
    running = xml.replace("<domain ", "<domain id='7' ", 1).replace(
        "<serial>VRBC01</serial>", f"<serial>VRBC01</serial>{address}"
    )
    state = GuestState.RUNNING if live else GuestState.OFF
    view = DomainView("vm", "6b1ba3f4", state, xml, running if live else None)
    return read(view)


def answer(run: str = "7", system: str = "mswindows", **disk: str) -> GuestProof:
    """Return what a guest shows, with the words that a Windows has for virtio."""
    shown = GuestDisk("\\\\.\\PhysicalDrive1", **{"bus": "scsi", "serial": "VRBC01", **disk})
    driver = DriverReport(
        DriverProbe("virtio", "VRBC01"),
        run,
        (GuestDriver("VirtIO SCSI controller", "100.93.104.26200", "1af4:1042"),),
        is_started=True,
    )
    report = GuestReport(AgentState.ANSWERS, system=system, disks=(shown,), driver=driver)
    return GuestProof(500.0, report)


EVIDENCE: Any = {
    "a Windows that calls it scsi": (answer(), ""),
    "another slot, as people count it": (answer(pci="0000:05:1f.0"), ""),
    "on another PCI bus": (answer(pci="0000:09:00.0"), "no disk with the serial VRBC01"),
    "a Linux at another slot": (
        answer(system="rocky", pci="0000:05:1f.0"),
        "no disk with the serial VRBC01",
    ),
    "another serial": (answer(serial="QM00001"), "no disk with the serial VRBC01"),
    "a look at an earlier run": (answer(run="6"), "not asked since its start"),
    "no answer": (GuestProof(), "was not asked yet"),
}


@pytest.mark.parametrize(("proof", "lack"), EVIDENCE.values(), ids=EVIDENCE.keys())
def test_the_serial_is_the_proof(proof: GuestProof, lack: str) -> None:
    evidence = find_evidence(BEGUN, moving(BEGUN), proof)
    assert lack in evidence.lack
    assert bool(evidence.lack) is bool(lack)
    if not lack:
        assert evidence.driver == "VirtIO SCSI controller 100.93.104.26200"


def test_a_driver_that_is_not_started_at_boot_is_no_proof() -> None:
    proof = answer()
    assert proof.report.driver is not None
    late = replace(proof.report.driver, is_started=False, about="viostor: it is not BOOT_START")
    proof = replace(proof, report=replace(proof.report, driver=late))
    assert find_evidence(BEGUN, moving(BEGUN), proof).lack == "viostor: it is not BOOT_START"


def test_a_volume_that_is_still_to_be_deleted_stays_in_the_mark() -> None:
    """The worker was killed on the way back, after it had started the guest."""
    mark = replace(OVER, resumes=True)
    owner = Owner("vm", "g1", bus_change=mark, creating=(PATH,))
    disk = Disk("root", "virtio", source="/images/a.qcow2", format="qcow2")
    lifecycle = Lifecycle(bus_change=BusChange("staged"))
    action = plan(
        set_owner(domain(FORMER), owner),
        Machine("vm", disks=(disk,)),
        lifecycle,
        sizes={"/images/a.qcow2": 2**30},
        pools={"default": PoolView("default", "dir", "/images", {}, available=2**40)},
        live=domain(FORMER),
    )
    settled = replace(owner, bus_change=replace(mark, resumes=False))
    assert action.steps == (SetMetadata(owner_xml(settled), live=False),)


def test_a_deleted_machine_leaves_no_helper_disk() -> None:
    reading = moving(BEGUN, live=False)
    action = plan_delete(reading, World("kvm01", "qemu:///system", {"vm": reading}), Desired())
    assert DeleteSeed("default", "vm-bus-change.qcow2", PATH) in action.steps
    assert f"deleted: {PATH}" in [change.reason for change in action.changes]


def test_status_without_a_daemon_names_the_step() -> None:
    status = find_status("vm", moving(PROVED))
    assert status.condition("Ready").reason.startswith("a staged bus change to virtio is in step 3")


MEDIUM = make_medium("0.1.248")
OWN_CD = (
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
    f"<source file='{MEDIUM.path}'/><target dev='sdb' bus='sata'/><alias name='ua-cd'/>"
    "<readonly/><address type='drive' controller='0' bus='0' target='0' unit='1'/></disk>"
)


def begin(devices: str = FORMER, *, runs: bool = False, os: str = "win2k16") -> Action:
    """Return the plan that begins the change of a Windows, on a host that has a virtio-win ISO."""
    disk = Disk("root", "virtio", source="/images/a.qcow2", format="qcow2")
    power = Power.RUNNING if runs else Power.STOPPED
    xml = set_owner(domain(devices), Owner("vm", "g1", '{"lifecycle": {"deletion": "undefine"}}'))
    return plan(
        xml,
        Machine("vm", os=os, power=power, disks=(disk,)),
        live=xml if runs else None,
        sizes={"/images/a.qcow2": 2**30},
        pools={"default": PoolView("default", "dir", "/images", {}, available=2**40)},
        driver_media={"": DriverMedia((MEDIUM,))},
    )


def find_line(action: Action) -> Change:
    """Return the line of the helper disk."""
    [line] = [change for change in action.changes if "helper disk" in str(change.desired)]
    return line


def list_drives(action: Action) -> List[Tuple[str, str]]:
    """Return bus and medium of each CD-ROM drive that is stored."""
    [stored] = [step.xml for step in action.steps if isinstance(step, Define)]
    drives = parse(stored).findall("devices/disk[@device='cdrom']")
    return [
        (drive.find("target").get("bus", ""), drive.find("source").get("file", ""))  # type: ignore[union-attr]
        for drive in drives
    ]


def test_a_windows_gets_the_drivers_together_with_the_helper_disk() -> None:
    action = begin()
    assert str(find_line(action).desired).endswith(f", CD-ROM {MEDIUM.path}")
    assert list_drives(action) == [("sata", MEDIUM.path)], "on usb a Windows cannot read it"


def test_a_running_windows_gets_the_drivers_at_its_next_start() -> None:
    action = begin(runs=True)
    line = find_line(action)
    assert str(line.desired).endswith(f", CD-ROM {MEDIUM.path} at its next start")
    assert f"To have the drivers there at once: media: {MEDIUM.path} in one of its cdroms" in (
        line.reason
    )
    assert list_drives(action) == [("sata", MEDIUM.path)]
    mark = replace(BEGUN, media=MEDIUM.path)
    [plugged] = list_plugs(domain(FORMER), mark, add_own(domain(FORMER), mark))
    assert "<serial>VRBC01</serial>" in plugged


@pytest.mark.parametrize("runs", [False, True])
def test_no_second_drive_comes_where_one_has_the_drivers(runs: bool) -> None:
    action = begin(FORMER + OWN_CD, runs=runs)
    assert "CD-ROM" not in str(find_line(action).desired)
    assert list_drives(action) == [("sata", MEDIUM.path)]


def test_the_drive_of_a_running_guest_is_emptied_at_the_end() -> None:
    xml = add_own(domain(FORMER), replace(BEGUN, media=MEDIUM.path))
    ejected = find_ejected(xml)
    assert ejected is not None
    assert "<source" not in ejected
    assert "dev='sdb'" in ejected.replace('"', "'")
    assert find_ejected(xml.replace(f"file='{MEDIUM.path}'", "").replace("<source", "<x")) is None
    assert find_ejected(domain(FORMER + OWN_CD)) is None, "a drive of the manifest's own"


def test_a_manifest_that_says_direct_is_moved_at_once() -> None:
    machine = Machine("vm", os="win2k16", power=Power.STOPPED, disks=(Disk("root", "virtio"),))
    lifecycle = Lifecycle(bus_change=BusChange("direct"))
    pool = PoolView("default", "dir", "/images", {}, available=2**40)
    action = plan(domain(FORMER), machine, lifecycle, pools={"default": pool})
    [change] = [change for change in action.changes if change.path == "disks[root].bus"]
    assert change.effect is Effect.OFFLINE
