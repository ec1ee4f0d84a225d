"""A failure or a kill at any step: nothing is lost, nothing is left over, the next run converges.

Real libvirt; every writing call of a creation and of an update is hit once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Set, Tuple

import pytest

from reconciler.core.manifest import MachineManifest
from reconciler.core.model import Cpus, Disk, Machine, Memory
from tests.real.faults import Fault, FaultyHost, Killed, fail, kill
from tests.real.worlds import GIB, MIB, Product, manifest_of

STEPS_OF_CREATION = 5  # define, two volumes, mark, autostart
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
