"""What an apply says of a running guest when it fails half way is true of that guest."""

from __future__ import annotations

from dataclasses import replace
from typing import Set, Tuple

import pytest

from reconciler.core.machine import Cpus, Disk, Interface, Machine, Memory, Power
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.real.faults import Fault, FaultyHost, fail
from tests.real.worlds import MIB, Product, manifest_of

ROOT, DATA = Disk("root", "virtio", 16 * MIB), Disk("data", "scsi", 16 * MIB)
LAN = Interface("lan", "default", link="up")
RUNNING = Machine(
    "vm", cpus=Cpus(1), memory=Memory(128 * MIB), power=Power.RUNNING, disks=(ROOT, DATA),
    interfaces=(LAN,),
)  # fmt: skip
PUT_BACK = "everything was put back"


def plugged(product: Product) -> Tuple[Set[str], Set[object]]:
    """Return the disks and the links that the running guest has."""
    machine = read_machine(parse(product.live_xml("vm")))
    links: Set[object] = {(interface.mac, interface.link) for interface in machine.interfaces or ()}
    return {disk.name for disk in machine.disks or ()}, links


# What is done to the running guest before the failure.
CHANGES = {
    "a disk is unplugged": replace(RUNNING, disks=(ROOT,)),
    "a disk is plugged in": replace(RUNNING, disks=(ROOT, DATA, Disk("logs", "scsi", 16 * MIB))),
    "a cable is pulled": replace(RUNNING, interfaces=(replace(LAN, link="down"),)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_said_to_be_put_back_that_was_not(product: Product, change: str) -> None:
    for outcome in product.apply(manifest_of(RUNNING)):
        assert outcome.error is None
    stored, there = product.xml("vm"), plugged(product)
    wanted = manifest_of(CHANGES[change])
    [action] = product.plan(wanted).actions
    mark = len(action.steps) - 1  # the mark of the new generation comes last
    faulty = FaultyHost.around(product.host, Fault(mark, fail))
    [outcome] = product.apply(wanted, host=faulty)
    assert "injected" in (outcome.error or "")
    assert product.xml("vm") == stored
    assert plugged(product) == there or PUT_BACK not in (outcome.error or "")


def test_what_was_put_back_is_applied_by_the_next_run(product: Product) -> None:
    product.apply(manifest_of(RUNNING))
    wanted = manifest_of(CHANGES["a disk is unplugged"])
    product.apply(wanted, host=FaultyHost.around(product.host, Fault(2, fail)))
    [outcome] = product.apply(wanted)
    assert outcome.error is None
    assert product.plan(wanted).is_empty
