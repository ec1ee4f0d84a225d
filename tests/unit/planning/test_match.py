"""Which observed device the manifest's device is: by alias, else by what its owner sees."""

from __future__ import annotations

from typing import Tuple

import pytest

from reconciler.core.machine import Cdrom, Disk, Interface, Machine
from reconciler.kinds.machine.match import align, align_live

Names = Tuple[str, ...]


def names_of_disks(wanted: Tuple[Disk, ...], found: Tuple[Disk, ...]) -> Names:
    """Return the names that the observed disks get."""
    aligned = align(Machine("vm", disks=wanted), Machine("vm", disks=found))
    return tuple(disk.name for disk in aligned.disks or ())


def names_of_interfaces(wanted: Tuple[Interface, ...], found: Tuple[Interface, ...]) -> Names:
    """Return the names that the observed interfaces get."""
    aligned = align(Machine("vm", interfaces=wanted), Machine("vm", interfaces=found))
    return tuple(interface.name for interface in aligned.interfaces or ())


DISK_CASES = {
    "the alias decides, whatever the order": (
        (Disk("root"), Disk("data")),
        (Disk("data", alias="data", target="vda"), Disk("root", alias="root", target="vdb")),
        ("data", "root"),
    ),
    "the alias decides against the target": (
        (Disk("vda"),),
        (Disk("root", alias="root", target="vda"),),
        ("root",),
    ),
    "without alias the name may be the target": (
        (Disk("sda"),),
        (Disk("sda", target="sda"),),
        ("sda",),
    ),
    "without alias the target hint decides": (
        (Disk("root", target="vda"),),
        (Disk("vda", target="vda"),),
        ("root",),
    ),
    "without alias the image tells": (
        (Disk("root", source="/i/a.qcow2"),),
        (Disk("vdb", target="vdb", source="/i/b.qcow2"), Disk("vda", source="/i/a.qcow2")),
        ("vdb", "root"),
    ),
    "without alias the serial tells": (
        (Disk("root", serial="S1"),),
        (Disk("vdb", serial="S2"), Disk("vda", serial="S1")),
        ("vdb", "root"),
    ),
    "an alias that the manifest does not name hides nothing": (
        (Disk("root", source="/i/a"), Disk("data", target="vdb"), Disk("log", serial="S1")),
        (
            Disk("x", alias="x", target="vdb", source="/i/b"),
            Disk("y", alias="y", target="vdc", serial="S1"),
            Disk("z", alias="z", target="vda", source="/i/./a"),
        ),
        ("data", "log", "root"),
    ),
    "the image tells more than the target": (
        (Disk("vda", source="/i/a"), Disk("vdb", source="/i/b")),
        (Disk("vda", target="vda", source="/i/b"), Disk("vdb", target="vdb", source="/i/a")),
        ("vdb", "vda"),
    ),
    "never when two would fit": (
        (Disk("root", serial="S1"),),
        (Disk("x", alias="x", serial="S1"), Disk("vdb", target="vdb", serial="S1")),
        ("x", "vdb"),
    ),
    "never by position": ((Disk("root"),), (Disk("vda", target="vda"),), ("vda",)),
}


@pytest.mark.parametrize(("wanted", "found", "names"), DISK_CASES.values(), ids=DISK_CASES.keys())
def test_disk_gets_the_name_the_manifest_has_for_it(
    wanted: Tuple[Disk, ...], found: Tuple[Disk, ...], names: Names
) -> None:
    assert names_of_disks(wanted, found) == names


INTERFACE_CASES = {
    "one on that network on both sides": (
        (Interface("lan", network="default"),),
        (Interface("52:54:00:00:00:01", network="default", mac="52:54:00:00:00:01"),),
        ("lan",),
    ),
    "two on that network cannot be told apart": (
        (Interface("lan", network="default"),),
        (
            Interface("m1", network="default", mac="m1"),
            Interface("m2", network="default", mac="m2"),
        ),
        ("m1", "m2"),
    ),
    "the MAC comes before the network": (
        (Interface("lan", network="default", mac="m2"),),
        (Interface("m1", network="default", mac="m1"), Interface("m2", network="other", mac="m2")),
        ("m1", "lan"),
    ),
    "the MAC tells, whatever the alias": (
        (Interface("lan", network="default", mac="m1"),),
        (Interface("mgmt", network="default", mac="m1", alias="mgmt"),),
        ("lan",),
    ),
    "a device of ours is not taken for another on the same network": (
        (Interface("wan", network="default"),),
        (Interface("lan", network="default", alias="lan"),),
        ("lan",),
    ),
}


@pytest.mark.parametrize(
    ("wanted", "found", "names"), INTERFACE_CASES.values(), ids=INTERFACE_CASES.keys()
)
def test_interface_gets_the_name_the_manifest_has_for_it(
    wanted: Tuple[Interface, ...], found: Tuple[Interface, ...], names: Names
) -> None:
    assert names_of_interfaces(wanted, found) == names


def test_an_unmatched_device_never_passes_for_a_wanted_one_of_its_name() -> None:
    wanted = (Disk("vda", source="/i/a"),)
    found = (Disk("vda", alias="vda", target="vdb"), Disk("x", target="vda", source="/i/a"))
    assert names_of_disks(wanted, found) == ("vda", "x")
    clash = (Disk("vdb", target="vda", source="/i/a"), Disk("vda", source="/i/b", target="sda"))
    assert names_of_disks(wanted, clash) == ("vda", "vda (not in the manifest)")


def test_running_device_is_found_by_what_a_changed_definition_left_alone() -> None:
    wanted = Machine("vm", disks=(Disk("sda", bus="virtio"),))
    stored = Machine("vm", disks=(Disk("sda", alias="sda", target="vda", source="/i/a"),))
    live = Machine("vm", disks=(Disk("sdb", target="sdb"), Disk("s", target="sdx", source="/i/a")))
    aligned = align_live(wanted, stored, live)
    assert [disk.name for disk in aligned.disks or ()] == ["sdb", "sda"]


def test_drive_is_found_by_its_medium() -> None:
    wanted = Machine("vm", cdroms=(Cdrom("tools", media="/iso/tools.iso"),))
    found = Machine("vm", cdroms=(Cdrom("sda", target="sda", media="/iso/tools.iso"),))
    assert [cdrom.name for cdrom in align(wanted, found).cdroms or ()] == ["tools"]
