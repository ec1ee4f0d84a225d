"""The effect table is complete, reachable, and says what QEMU and the policy allow."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Iterator, Optional, Type, get_type_hints

import pytest

from reconciler.core import machine
from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.plan import Effect
from reconciler.kinds.machine.match import Difference, DifferenceKind
from reconciler.kinds.machine.planning.effects import TABLE, EffectRow, Route, find_row
from reconciler.kinds.machine.planning.guards import Guest

DEVICES = {"disks": Disk, "cdroms": Cdrom, "interfaces": Interface}
PARTS = {"cpus": Cpus, "memory": Memory}


def compared_fields(kind: Type[object], prefix: str = "") -> Iterator[str]:
    """Yield the table's name of every field that is ever compared."""
    assert is_dataclass(kind)
    for one in fields(kind):
        if one.name == "name" or not one.metadata.get("compared", True):
            continue
        if one.name in DEVICES and not prefix:
            yield from compared_fields(DEVICES[one.name], f"{one.name}[].")
        elif one.name in PARTS and not prefix:
            yield from compared_fields(PARTS[one.name], f"{one.name}.")
        else:
            yield f"{prefix}{one.name}"


GUEST = Guest(
    Machine(
        "vm",
        cpus=Cpus(2, 4, unpluggable=1),
        memory=Memory(2**30, 2**31, balloon=True),
    ),
    moved=frozenset({"moved"}),
)


def change(field: str, observed: object, desired: object, device: str = "d") -> Difference:
    """Return a difference of any value."""
    return Difference(field, DifferenceKind.CHANGE, observed, desired, device)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", sorted(compared_fields(Machine)))
def test_every_compared_field_has_a_row(field: str) -> None:
    assert find_row(change(field, "1", "2"), GUEST).field.rstrip("*") in field


def test_ids_are_unique() -> None:
    ids = [row.id for row in TABLE]
    assert len(ids) == len(set(ids))


def test_the_model_has_no_device_that_the_test_forgets() -> None:
    hints = get_type_hints(machine.Machine)
    assert {name for name, hint in hints.items() if "Tuple" in str(hint)} == {*DEVICES, "overlays"}


def disk(bus: str) -> Disk:
    """Return a disk on that bus."""
    return Disk("d", bus=bus)


CASES = {
    "virtio disk is plugged live": (
        Difference("disks[]", DifferenceKind.ADD, None, "d", "d", disk("virtio")),
        "disk-attach",
    ),
    "sata disk waits": (
        Difference("disks[]", DifferenceKind.ADD, None, "d", "d", disk("sata")),
        "disk-add",
    ),
    "scsi disk is unplugged live": (
        Difference("disks[]", DifferenceKind.REMOVE, "d", None, "d", disk("scsi")),
        "disk-detach",
    ),
    "ide disk stays until the next boot": (
        Difference("disks[]", DifferenceKind.REMOVE, "d", None, "d", disk("ide")),
        "disk-remove",
    ),
    "usb drive is unplugged live": (
        Difference("cdroms[]", DifferenceKind.REMOVE, "d", None, "d", Cdrom("d", "usb")),
        "cdrom-detach",
    ),
    "sata drive stays until the next boot": (
        Difference("cdroms[]", DifferenceKind.REMOVE, "d", None, "d", Cdrom("d", "sata")),
        "cdrom-remove",
    ),
    "a disk grows": (change("disks[].size", 2**30, 2**31), "disk-grow"),
    "a disk never shrinks": (change("disks[].size", 2**31, 2**30), "disk-shrink"),
    "the image that a disk gets is grown": (
        change("disks[].size", 2**30, 2**31, "moved"),
        "disk-grow-other",
    ),
    "a disk takes the format of the image it gets": (
        change("disks[].format", "raw", "qcow2", "moved"),
        "disk-format-other",
    ),
    "an unread size is not zero": (change("disks[].size", None, 2**30), "disk-size-unknown"),
    "more processors within the maximum": (change("cpus.count", 2, 4), "cpus-plug"),
    "more processors than the maximum": (change("cpus.count", 2, 5), "cpus-above"),
    "a plugged processor is given back": (change("cpus.count", 2, 1), "cpus-unplug"),
    "a processor of the start stays": (change("cpus.count", 4, 0), "cpus-below"),
    "memory within the maximum": (change("memory.size", 2**30, 2**31), "memory-balloon"),
    "memory above the maximum": (change("memory.size", 2**30, 2**32), "memory-above"),
    "the chipset stays": (change("machine", "pc-i440fx-7.2", "q35"), "machine-chipset"),
    "an old name of the same chipset": (change("machine", "pc-1.2", "pc-i440fx-7.2"), "machine"),
    "a version of the chipset": (change("machine", "pc-q35-6.2", "pc-q35-7.2"), "machine"),
}


@pytest.mark.parametrize(("difference", "row"), CASES.values(), ids=CASES.keys())
def test_the_row_that_speaks_of_it(difference: Difference, row: str) -> None:
    assert find_row(difference, GUEST).id == row


@pytest.mark.parametrize(
    ("os", "row"), [("win2k16", "disk-bus-staged"), ("rocky9", "disk-bus"), (None, "disk-bus")]
)
def test_windows_never_changes_its_bus_unprepared(os: Optional[str], row: str) -> None:
    guest = Guest(GUEST.observed, os)
    assert find_row(change("disks[].bus", "sata", "virtio"), guest).id == row


def test_without_a_balloon_memory_waits() -> None:
    guest = Guest(Machine("vm", memory=Memory(2**30, 2**31, balloon=False)))
    assert find_row(change("memory.size", 2**30, 2**31), guest).id == "memory-above"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
def test_a_live_row_has_a_route_and_any_other_says_why(row: EffectRow) -> None:
    if row.running is Effect.LIVE:
        assert row.route is not Route.NONE
    else:
        assert row.reason
