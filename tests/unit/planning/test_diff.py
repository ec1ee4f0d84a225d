"""What counts as a difference: only what the manifest says, by name, never by order."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.machine import Cpus, Disk, Interface, Machine, Memory, Power
from reconciler.kinds.machine.match import DifferenceKind, compare

OBSERVED = Machine(
    "vm",
    power=Power.RUNNING,
    autostart=False,
    machine="pc-q35-7.2",
    firmware="bios",
    cpus=Cpus(2, 4, 1, 4, 1, "host-model"),
    memory=Memory(2**30, 2**31),
    disks=(Disk("root", "sata", 2**33, "qcow2", "/i/a", boot=1), Disk("data", "virtio")),
    cdroms=(),
    interfaces=(Interface("lan", "default", mac="m1"),),
    guest_agent=True,
)


def test_what_the_manifest_leaves_out_is_not_managed() -> None:
    assert compare(Machine("vm"), OBSERVED) == ()


def test_an_empty_list_means_none_of_them() -> None:
    [one] = compare(Machine("vm", interfaces=()), OBSERVED)
    assert (one.kind, one.path) == (DifferenceKind.REMOVE, "interfaces[lan]")


def test_fields_of_a_device_are_named_by_the_device() -> None:
    wanted = Machine("vm", disks=(Disk("data"), Disk("root", bus="virtio")))
    [one] = compare(wanted, OBSERVED)
    assert (one.path, one.observed, one.desired) == ("disks[root].bus", "sata", "virtio")
    assert (one.field, one.leaf) == ("disks[].bus", "bus")


def test_a_device_that_is_missing_is_added_and_one_too_many_removed() -> None:
    wanted = Machine("vm", disks=(Disk("root"), Disk("logs", "virtio", 2**30)))
    found = [(one.kind, one.path) for one in compare(wanted, OBSERVED)]
    assert found == [(DifferenceKind.REMOVE, "disks[data]"), (DifferenceKind.ADD, "disks[logs]")]


def test_hints_and_creation_fields_are_no_difference() -> None:
    disks = (Disk("root", template="t", pool="p", target="vdz"), Disk("data", alias="x"))
    assert compare(Machine("vm", os="rocky9", disks=disks), OBSERVED) == ()


@given(st.permutations(OBSERVED.disks or ()))
def test_order_is_no_difference(disks: list[Disk]) -> None:
    assert compare(OBSERVED, replace(OBSERVED, disks=tuple(disks))) == ()
