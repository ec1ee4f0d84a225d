"""A failure or a kill at any step: nothing is lost, nothing is left over, the next run converges.

Real libvirt; every writing call of a creation and of an update is hit once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Set, Tuple

import pytest

from reconciler.core.machine import Cpus, Disk, Machine, Memory, Power
from reconciler.core.manifest import MachineManifest
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.real.faults import Fault, FaultyHost, Killed, fail, kill
from tests.real.images import holds_pattern, write_pattern
from tests.real.worlds import GIB, MIB, Product, manifest_of

STEPS_OF_CREATION = 6  # define, volume, mark, volume, define, autostart
STEPS_OF_UPDATE = 4  # mark, volume, define, mark


def wanted(name: str) -> MachineManifest:
    """Return a machine with two blank disks."""
    machine = Machine(
        name,
        cpus=Cpus(1),
        memory=Memory(256 * MIB),
        autostart=True,
        disks=(Disk("root", "virtio", GIB), Disk("data", "virtio", GIB)),
        interfaces=(),
    )
    return manifest_of(machine)


def changed(before: MachineManifest) -> MachineManifest:
    """Return it with a third disk and another bus for the second."""
    root, data = before.machine.disks or ()
    disks = (root, replace(data, bus="scsi"), Disk("logs", "virtio", GIB))
    return manifest_of(replace(before.machine, disks=disks))


def disks_of(product: Product, name: str, *, live: bool = False) -> Tuple[str, ...]:
    """Return the images that the domain has, in the definition or the running guest."""
    xml = product.live_xml(name) if live else product.xml(name)
    return tuple(disk.source or "" for disk in read_machine(parse(xml)).disks or ())


def names(product: Product) -> Tuple[Set[str], Set[str]]:
    """Return domains and volumes of the host."""
    return set(product.host.domains.list_domains()), product.volumes()


@pytest.mark.parametrize("step", range(STEPS_OF_CREATION - 1))
def test_a_failed_creation_leaves_nothing(product: Product, step: int) -> None:
    before = names(product)
    [outcome] = product.apply(wanted("vm"), host=FaultyHost.around(product.host, Fault(step, fail)))
    assert "injected" in (outcome.error or "")
    assert names(product) == before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS_OF_CREATION))
def test_a_killed_creation_is_finished_by_the_next_run(
    product: Product, step: int, after: bool
) -> None:
    fault = Fault(step, kill, after)
    with pytest.raises(Killed):
        product.apply(wanted("vm"), host=FaultyHost.around(product.host, fault))
    product.apply(wanted("vm"))
    assert product.plan(wanted("vm")).is_empty
    assert names(product) == ({"vm"}, {"vm-root.qcow2", "vm-data.qcow2"})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS_OF_CREATION))
def test_what_a_guest_wrote_between_a_kill_and_the_next_run_is_kept(
    product: Product, step: int, after: bool
) -> None:
    fault = Fault(step, kill, after)
    with pytest.raises(Killed):
        product.apply(wanted("vm"), host=FaultyHost.around(product.host, fault))
    there = "vm" in product.host.domains.list_domains()
    images = disks_of(product, "vm") if there else ()
    for number, path in enumerate(images, 0x41):
        write_pattern(path, number)
    product.apply(wanted("vm"))
    assert product.plan(wanted("vm")).is_empty
    assert names(product) == ({"vm"}, {"vm-root.qcow2", "vm-data.qcow2"})
    assert set(images) <= set(disks_of(product, "vm"))
    assert all(holds_pattern(path, number) for number, path in enumerate(images, 0x41))


@pytest.mark.parametrize("step", range(STEPS_OF_UPDATE + 1))
def test_a_kill_while_a_disk_is_plugged_in_never_asks_to_shut_the_guest_down(
    product: Product, step: int
) -> None:
    first = manifest_of(replace(wanted("vm").machine, power=Power.RUNNING))
    product.apply(first)
    disks = (*(first.machine.disks or ()), Disk("logs", "virtio", GIB))
    second = manifest_of(replace(first.machine, disks=disks))
    with pytest.raises(Killed):
        product.apply(
            second, host=FaultyHost.around(product.host, Fault(step, kill, after=step % 2 == 0))
        )
    if step == 1:
        second = first  # it is given up, and the guest runs on
    product.apply(second)
    assert product.plan(second).is_empty
    assert len(disks_of(product, "vm", live=True)) == len(second.machine.disks or ())
    assert ("vm-logs.qcow2" in product.volumes()) is (second is not first)


@pytest.mark.parametrize("step", range(STEPS_OF_UPDATE))
def test_a_failed_update_puts_the_former_definition_back(product: Product, step: int) -> None:
    first = wanted("vm")
    product.apply(first)
    before = (product.xml("vm"), product.volumes())
    fault = Fault(step, fail)
    [outcome] = product.apply(changed(first), host=FaultyHost.around(product.host, fault))
    assert "injected" in (outcome.error or "")
    assert (product.xml("vm"), product.volumes()) == before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(STEPS_OF_UPDATE))
def test_a_killed_update_is_finished_by_the_next_run(
    product: Product, step: int, after: bool
) -> None:
    first = wanted("vm")
    product.apply(first)
    fault = Fault(step, kill, after)
    with pytest.raises(Killed):
        product.apply(changed(first), host=FaultyHost.around(product.host, fault))
    product.apply(changed(first))
    assert product.plan(changed(first)).is_empty
    assert product.volumes() == {"vm-root.qcow2", "vm-data.qcow2", "vm-logs.qcow2"}


def test_an_update_given_up_after_a_kill_leaves_no_volume(product: Product) -> None:
    first = wanted("vm")
    product.apply(first)
    with pytest.raises(Killed):
        product.apply(
            changed(first), host=FaultyHost.around(product.host, Fault(1, kill, after=True))
        )
    assert "vm-logs.qcow2" in product.volumes()
    product.apply(first)
    assert product.plan(first).is_empty
    assert product.volumes() == {"vm-root.qcow2", "vm-data.qcow2"}
