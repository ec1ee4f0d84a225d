"""What is concluded from a guest's report: every reason of the condition `GuestReady`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional, Tuple

import pytest

from reconciler.core.guest import (
    CLOUD_INIT,
    DISKS,
    AgentState,
    CloudInitReport,
    CloudInitState,
    FileSystem,
    GuestDisk,
    GuestInterface,
    GuestReport,
    GuestView,
    Unseen,
)
from reconciler.core.machine import Interface
from reconciler.kinds.machine.guest import (
    NOT_STARTED,
    SILENT,
    ExpectedDisk,
    ExpectedGuest,
    judge_guest,
)

GIB = 2**30
MAC = "52:54:00:01:02:03"
ROOT = ExpectedDisk("root", "virtio", "", "vda", "0000:05:00.0", 60 * GIB)
DATA = ExpectedDisk("data", "scsi", "DATA01", "sda", "", 100 * GIB)
CARD = Interface("lan", "default", mac=MAC)
EXPECTED = ExpectedGuest((ROOT, DATA), (CARD,))
VDA = GuestDisk("/dev/vda", "virtio", "", "0000:05:00.0")
SDA = GuestDisk("/dev/sda", "scsi", "0QEMU_QEMU_HARDDISK_DATA01", "0000:03:00.0")
ETH0 = GuestInterface(MAC, "eth0", ("192.0.2.10/24", "fe80::1/64"))
SLASH = FileSystem("/", "xfs", "vda4", 58 * GIB, 2 * GIB, ("/dev/vda",))
REPORT = GuestReport(
    AgentState.ANSWERS,
    os="Rocky Linux 9.6",
    system="rocky",
    interfaces=(ETH0,),
    disks=(SDA, VDA),
    file_systems=(SLASH,),
    cloud_init=CloudInitReport(CloudInitState.DONE),
)
WINDOWS = replace(REPORT, system="mswindows", cloud_init=CloudInitReport(), file_systems=())


def judge(report: GuestReport = REPORT, expected: ExpectedGuest = EXPECTED) -> GuestView:
    """Return the condition."""
    return judge_guest(expected, report)


def reason(**fields: Any) -> str:
    """Return why a guest is not ready whose report differs by these fields."""
    view = judge(replace(REPORT, **fields))
    assert view.ready is False
    return view.reason


def test_a_guest_that_shows_what_its_manifest_names_is_ready() -> None:
    assert judge() == GuestView(ready=True, report=REPORT)


@pytest.mark.parametrize(
    ("agent", "ready", "words"),
    [
        (AgentState.OFF, None, "the guest does not run"),
        (AgentState.NONE, False, "no channel for the guest agent yet"),
        (AgentState.DISCONNECTED, False, "the guest agent is not connected"),
        (AgentState.SILENT, False, "systemctl restart qemu-guest-agent"),
        (AgentState.BUSY, None, "another program has been using the guest agent"),
    ],
)
def test_an_agent_that_does_not_answer(
    agent: AgentState, ready: Optional[bool], words: str
) -> None:
    view = judge(GuestReport(agent))
    assert view.ready is ready
    assert words in view.reason


def test_an_agent_that_falls_silent_says_over_what() -> None:
    unseen = Unseen("file systems", "the agent does not answer guest-get-fsinfo")
    view = judge(replace(REPORT, agent=AgentState.SILENT, unseen=(unseen,)))
    assert view.reasons == (
        SILENT,
        "not seen: file systems (the agent does not answer guest-get-fsinfo)",
    )


def test_a_disk_on_another_bus() -> None:
    found = replace(SDA, bus="sata")
    assert reason(disks=(VDA, found)) == "disk data is on sata in the guest, should be on scsi"


def test_a_disk_with_another_serial() -> None:
    expected = ExpectedGuest((replace(ROOT, serial="R1"),), ())
    report = replace(REPORT, disks=(replace(VDA, serial="R2"),))
    assert judge(report, expected).reason == (
        "disk root has the serial 'R2' in the guest, should be 'R1'"
    )


def test_no_disk_with_the_serial() -> None:
    found = replace(SDA, serial="0QEMU_QEMU_HARDDISK_OTHER")
    assert "no disk in the guest has the serial 'DATA01'" in reason(disks=(VDA, found))


def test_a_serial_is_cut_short_by_virtio() -> None:
    expected = ExpectedGuest((replace(ROOT, serial="A" * 30),), ())
    assert judge(replace(REPORT, disks=(replace(VDA, serial="A" * 20),)), expected).ready


def test_a_disk_that_is_not_there() -> None:
    assert reason(disks=(VDA,)) == ("disk data is not in the guest: it has 0 of 1 disks on scsi")


@pytest.mark.parametrize("told", ["DATA01", "ADAT10"], ids=["since Windows 8", "before"])
def test_an_old_windows_swaps_the_letters_of_a_serial(told: str) -> None:
    disk = GuestDisk("\\\\.\\PhysicalDrive0", "sata", told)
    expected = ExpectedGuest((ExpectedDisk("data", "sata", "DATA01", "sda"),), ())
    assert judge(replace(REPORT, system="mswindows", disks=(disk,)), expected).ready
    other = replace(disk, serial="ADAT20")
    assert not judge(replace(REPORT, system="mswindows", disks=(other,)), expected).ready


def test_a_disk_without_a_serial_is_found_by_its_pci_address() -> None:
    view = judge(replace(REPORT, disks=(SDA, replace(VDA, device="/dev/vdb"))))
    assert view.ready
    assert view.reason == "disk root is /dev/vdb in the guest, /dev/vda in libvirt"


def test_disks_that_cannot_be_told_apart_are_counted() -> None:
    disks = tuple(ExpectedDisk(name, "sata", "", f"sd{name}") for name in "ab")
    found = tuple(GuestDisk(f"/dev/sd{name}", "sata") for name in "ba")
    expected = ExpectedGuest(disks)
    assert judge(replace(REPORT, disks=found), expected).ready
    assert judge(replace(REPORT, disks=found[:1]), expected).reasons == (
        "disk a is not in the guest: it has 1 of 2 disks on sata",
        "disk b is not in the guest: it has 1 of 2 disks on sata",
    )


def test_a_windows_is_not_judged_by_its_buses() -> None:
    """Its agent has no word for virtio: viostor reads `scsi`, vioscsi `sas`."""
    disks = (
        GuestDisk(r"\\.\PhysicalDrive0", "scsi", "", ROOT.pci),
        GuestDisk(r"\\.\PhysicalDrive1", "sas", "DATA01"),
    )
    assert judge(replace(WINDOWS, disks=disks)).ready
    assert "disk data" in judge(replace(WINDOWS, disks=disks[:1])).reason


def test_an_interface_that_is_not_there() -> None:
    assert reason(interfaces=()) == (
        f"interface lan: the guest has no interface with the MAC {MAC}"
    )


@pytest.mark.parametrize("addresses", [(), ("fe80::1/64", "169.254.3.4/16")])
def test_an_interface_without_an_address_that_anybody_can_reach(
    addresses: Tuple[str, ...],
) -> None:
    view = judge(replace(REPORT, interfaces=(replace(ETH0, addresses=addresses),)))
    assert (view.reason, view.is_booting) == ("interface lan has no address yet", True)


def test_a_static_address_that_the_guest_has_not() -> None:
    card = replace(CARD, addresses=("192.0.2.11/24", "2001:DB8:0::1/64"))
    report = replace(
        REPORT, interfaces=(replace(ETH0, addresses=("192.0.2.10/24", "2001:db8::1/64")),)
    )
    assert judge(report, ExpectedGuest((), (card,))).reason == (
        "interface lan should have the address 192.0.2.11/24, has 192.0.2.10/24, 2001:db8::1/64"
    )


def test_cloud_init_that_failed() -> None:
    failed = CloudInitReport(CloudInitState.FAILED, ("('ssh_authkey', KeyError())",))
    view = judge(replace(REPORT, cloud_init=failed))
    assert view.reason.startswith("cloud-init failed: ('ssh_authkey', KeyError())")
    assert "cloud-init status --long" in view.reason
    assert not view.is_booting


def test_cloud_init_that_runs() -> None:
    view = judge(
        replace(REPORT, cloud_init=CloudInitReport(CloudInitState.RUNNING, stage="modules-final"))
    )
    assert (view.reason, view.is_booting) == ("cloud-init runs (modules-final)", True)


def test_cloud_init_is_missed_only_where_it_has_a_seed_to_read() -> None:
    absent = replace(REPORT, cloud_init=CloudInitReport(CloudInitState.ABSENT))
    assert judge(absent).ready
    view = judge(absent, replace(EXPECTED, is_first_boot=True))
    assert (view.ready, view.reasons) == (False, (NOT_STARTED,))


def test_a_guest_is_ready_with_what_could_not_be_seen_and_says_so() -> None:
    why = "the guest's agent does not allow guest-file-open"
    blocked = replace(REPORT, cloud_init=CloudInitReport(), unseen=(Unseen(CLOUD_INIT, why),))
    view = judge(blocked, replace(EXPECTED, is_first_boot=True))
    assert (view.ready, view.reason) == (True, f"not seen: cloud-init ({why})")


def test_disks_that_cannot_be_seen_are_not_missing() -> None:
    why = "the guest's agent does not know guest-get-disks"
    old = replace(REPORT, disks=(), unseen=(Unseen(DISKS, why), Unseen("file systems", why)))
    view = judge(old)
    assert (view.ready, view.reason) == (True, f"not seen: disks, file systems ({why})")


def test_a_root_file_system_that_did_not_grow() -> None:
    small = replace(SLASH, size=9 * GIB)
    assert reason(file_systems=(small,)) == (
        "file system / has 9.0GiB of disk root (60.0GiB): it did not grow; in the guest: "
        "growpart, then resize2fs or xfs_growfs"
    )


@pytest.mark.parametrize(
    "mounted",
    [
        (replace(SLASH, size=9 * GIB, device="dm-0"),),
        (
            replace(SLASH, size=29 * GIB, device="vda3"),
            replace(SLASH, mountpoint="/home", size=28 * GIB),
        ),
        (replace(SLASH, mountpoint="/srv", size=9 * GIB),),
        (replace(SLASH, size=9 * GIB, disks=("/dev/sda", "/dev/vda")),),
    ],
    ids=["logical volume", "two partitions", "not the root", "two disks"],
)
def test_what_fills_its_disk_or_cannot_be_judged(mounted: Tuple[FileSystem, ...]) -> None:
    assert judge(replace(REPORT, file_systems=mounted)).ready
