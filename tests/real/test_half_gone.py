"""A device that somebody took out of one configuration only comes back as it is in the other."""

from __future__ import annotations

import pytest

from reconciler.core.machine import Cpus, Disk, Interface, Machine, Memory, Power
from reconciler.core.xmltree import Element, parse
from tests.lab.host import LabHost
from tests.real.worlds import MIB, Product, manifest_of

MAC = "52:54:00:aa:00:31"
MACHINE = Machine(
    "vm", power=Power.RUNNING, cpus=Cpus(1), memory=Memory(128 * MIB),
    disks=(Disk("root", "virtio", 16 * MIB), Disk("data", "scsi", 16 * MIB)),
    interfaces=(Interface("lan", "default", model="virtio", mac=MAC),),
)  # fmt: skip
GONE = {
    "a stored interface": ("detach-interface", "vm", "network", "--mac", MAC, "--config"),
    "a stored disk": ("detach-disk", "vm", "sda", "--config"),
    "a running disk": ("detach-disk", "vm", "sda", "--live"),
    "a disk of both": ("detach-disk", "vm", "sda", "--live", "--config"),
}


def devices(xml: str) -> list[tuple[object, ...]]:
    """Return what identifies each disk and interface, and how it is plugged in."""
    root = parse(xml)
    disks = [
        (_at(element, "target", "dev"), _at(element, "target", "bus"), _at(element, "source", "file"),
         _at(element, "driver", "discard"), _at(element, "alias", "name"))
        for element in root.iterfind("devices/disk")
    ]  # fmt: skip
    cards = [
        (element.get("type"), _at(element, "source", "network"), _at(element, "mac", "address"),
         _at(element, "model", "type"), element.find("link") is None, _at(element, "alias", "name"))
        for element in root.iterfind("devices/interface")
    ]  # fmt: skip
    return sorted([*disks, *cards], key=str)


def _at(element: Element, child: str, attribute: str) -> object:
    found = element.find(child)
    return None if found is None else found.get(attribute)


@pytest.mark.parametrize("case", GONE)
def test_it_comes_back_as_it_was(product: Product, lab: LabHost, case: str) -> None:
    wanted = manifest_of(MACHINE)
    wanted = type(wanted)(
        wanted.machine, wanted.generation, '{"disks": [{"name": "data"}]}', wanted.place
    )
    apply(product, wanted)
    before = devices(product.xml("vm")), devices(product.live_xml("vm"))
    lab.virsh(*GONE[case])
    apply(product, wanted)
    assert (devices(product.xml("vm")), devices(product.live_xml("vm"))) == before
    assert product.plan(wanted).is_empty


def apply(product: Product, wanted: object) -> None:
    """Apply, without a failure."""
    for outcome in product.apply(wanted):  # type: ignore[arg-type]
        assert outcome.error is None, outcome.error
