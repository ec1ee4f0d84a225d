"""What the agent of a Windows tells of a storage driver, in the words of its own programs."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple, cast

import pytest

from reconciler.adapters.libvirt.agent_answers import read_disks
from reconciler.adapters.libvirt.guest_drivers import Agent, look_at_driver
from reconciler.core.guest import (
    WINDOWS,
    AgentState,
    DriverProbe,
    GuestDisk,
    GuestDriver,
    GuestReport,
)

SERVICE = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\viostor"
PRINTED = f"""\r
{SERVICE}\r
    Type    REG_DWORD    0x1\r
    Start    REG_DWORD    {{start}}\r
    ErrorControl    REG_DWORD    0x1\r
    ImagePath    REG_EXPAND_SZ    \\SystemRoot\\System32\\drivers\\viostor.sys\r
    Group    REG_SZ    SCSI miniport\r
\r
{SERVICE}\\Parameters\r
    BusType    REG_DWORD    0x1\r
\r
{SERVICE}\\Parameters\\PnpInterface\r
    5    REG_DWORD    0x1\r
"""  # reg.exe query /s; the same in each language of Windows
OVERRIDE = f"\r\n{SERVICE}\\StartOverride\r\n    0    REG_DWORD    0x3\r\n"
DEVICES = [
    {
        "driver-date": 1651363200000000000,
        "driver-name": "Red Hat VirtIO SCSI controller",
        "driver-version": "100.85.104.20800",
        "id": {"device-id": 4162, "vendor-id": 6900, "type": "pci"},
    }
]  # as KubeVirt's tests have it


class WindowsAgent:
    """Prints one text for each program."""

    def __init__(self, printed: str) -> None:
        self.printed = printed
        self.ran: List[Tuple[str, ...]] = []

    def find_hindrance(self, *_commands: str) -> str:
        """Allow everything."""
        return ""

    def ask(self, _command: str, **_arguments: object) -> Any:
        """Return the devices."""
        return DEVICES

    def run(self, path: str, *arguments: str) -> str:
        """Print."""
        self.ran.append((path, *arguments))
        return self.printed


@pytest.mark.parametrize(
    ("printed", "is_started", "about"),
    [
        (PRINTED.format(start="0x0"), True, "viostor is BOOT_START"),
        (
            PRINTED.format(start="0x3"),
            False,
            "Windows does not start viostor at boot: it is not BOOT_START",
        ),
        (
            PRINTED.format(start="0x0") + OVERRIDE,
            False,
            "Windows does not start viostor at boot: its StartOverride is 3",
        ),
        (
            PRINTED.format(start="0x0") + OVERRIDE.replace("0x3", "0x0"),
            True,
            "viostor is BOOT_START",
        ),
        ("", None, "the registry of Windows has no viostor\\Start"),
        (PRINTED.format(start="x"), None, "the registry of Windows has no viostor\\Start"),
    ],
)
def test_whether_a_windows_starts_the_driver_is_read_in_its_registry(
    printed: str, is_started: Optional[bool], about: str
) -> None:
    agent = WindowsAgent(printed)
    helper = GuestDisk("\\\\.\\PhysicalDrive1", "scsi", "VRBC01")
    shown = GuestReport(AgentState.ANSWERS, system=WINDOWS, disks=(helper,))
    report = look_at_driver(cast(Agent, agent), DriverProbe("virtio", "VRBC01"), shown)
    assert (report.is_started, report.about) == (is_started, about)
    assert report.drivers == (
        GuestDriver("Red Hat VirtIO SCSI controller", "100.85.104.20800", "1af4:1042"),
    )
    key = SERVICE.replace("HKEY_LOCAL_MACHINE", "HKLM")
    assert agent.ran == [("C:\\Windows\\System32\\reg.exe", "query", key, "/s")], "one program"


# As an agent on Windows Server 2022 answers; the CD-ROM and a disk on AHCI have no PCI address.
DISKS = [
    {
        "name": "\\\\.\\PhysicalDrive1",
        "partition": False,
        "address": {
            "serial": "0",
            "bus-type": "scsi",
            "bus": 0,
            "unit": 0,
            "pci-controller": {"bus": 4, "slot": 0, "domain": 0, "function": 0},
            "dev": "\\\\.\\PhysicalDrive1",
            "target": 0,
        },
    },
    {
        "name": "\\\\.\\PhysicalDrive0",
        "partition": False,
        "address": {
            "serial": "ROOT01              ",
            "bus-type": "sata",
            "bus": 0,
            "unit": 0,
            "pci-controller": {"bus": -1, "slot": -1, "domain": -1, "function": -1},
            "dev": "\\\\.\\PhysicalDrive0",
            "target": 0,
        },
    },
]


def test_what_a_windows_tells_of_its_disks() -> None:
    assert read_disks(DISKS) == (
        GuestDisk("\\\\.\\PhysicalDrive0", "sata", "ROOT01"),
        GuestDisk("\\\\.\\PhysicalDrive1", "scsi", "", "0000:04:00.0"),
    ), "viostor tells 0 for a disk without a serial"
