"""Templates on a real host: what a clone is, and which template is refused."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Iterator, Optional

import pytest

from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.core.machine import CloneMode, Cpus, Disk, Machine, Memory, Power
from reconciler.core.manifest import MachineManifest, Place, TemplateManifest
from reconciler.core.names import Owner
from reconciler.core.plan import ActionKind
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import owner_xml
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost
from tests.real.faults import Fault, FaultyHost, Killed, kill
from tests.real.worlds import GIB, MIB, Product, manifest_of

PLACE = Place("templates.yaml", 1, 1)
IMAGE = "base.qcow2"
FULL = TemplateManifest("base", PLACE, pool="default", volume=IMAGE, os="rocky9")
LINKED = replace(FULL, linked_clones=True)


def machine(name: str, clone: Optional[CloneMode] = None, **fields: object) -> Machine:
    """Return a machine whose root disk is a clone of the template."""
    root = Disk("root", "virtio", 2 * GIB, template="base", clone=clone)
    whole = Machine(name, cpus=Cpus(1), memory=Memory(128 * MIB), disks=(root,), interfaces=())
    return replace(whole, **fields)  # type: ignore[arg-type]


@pytest.fixture
def hosted(product: Product, lab: LabHost) -> Iterator[Product]:
    """Return the product on a host whose pool has the template's image, of one GiB."""
    lab.virsh("vol-create-as", "default", IMAGE, "1G", "--format", "qcow2")
    yield product
    product.clear()  # before the next test makes it anew


def with_template(product: Product, template: TemplateManifest) -> Product:
    """Return the product with that template among the manifests."""
    return replace(product, templates=(template,))


def create(product: Product, *machines: Machine) -> None:
    """Apply, without a failure, to an empty plan."""
    manifests = [manifest_of(one) for one in machines]
    for outcome in product.apply(*manifests):
        assert outcome.error is None, outcome.error
    assert product.plan(*manifests).is_empty


def refusal(product: Product, wanted: MachineManifest) -> str:
    """Return why it cannot be planned."""
    [action] = product.plan(wanted).actions
    assert action.action is ActionKind.FAILED
    assert product.apply(wanted) == ()
    return action.reason


def test_two_clones_share_neither_uuid_nor_mac_nor_image(hosted: Product) -> None:
    product = with_template(hosted, FULL)
    network = replace(machine("a"), interfaces=None)
    create(product, network, replace(network, name="b"))
    views = product.host.domains.list_domains()
    machines = [read_machine(parse(product.xml(name))) for name in ("a", "b")]
    assert len({getattr(view, "uuid", None) for view in views.values()}) == 2
    assert len({interface.mac for each in machines for interface in each.interfaces or ()}) == 2
    assert len({disk.source for each in machines for disk in each.disks or ()}) == 2


MODES = {
    "auto, of a template that allows linked": (LINKED, None, IMAGE),
    "auto, of one that does not": (FULL, None, None),
    "full, though linked is allowed": (LINKED, CloneMode.FULL, None),
    "linked": (LINKED, CloneMode.LINKED, IMAGE),
}


@pytest.mark.parametrize("case", MODES)
def test_a_clone_is_made_as_asked_and_grown(hosted: Product, case: str) -> None:
    template, mode, backing = MODES[case]
    create(with_template(hosted, template), machine("vm", mode))
    volume = hosted.host.storage.read_pool("default").volumes["vm-root.qcow2"]
    assert volume.capacity == 2 * GIB
    assert (volume.backing and Path(volume.backing).name) == backing


def test_a_linked_clone_that_the_template_does_not_allow_is_refused(hosted: Product) -> None:
    reason = refusal(with_template(hosted, FULL), manifest_of(machine("vm", CloneMode.LINKED)))
    assert "`linkedClones: true`" in reason


def test_a_template_that_runs_is_refused(hosted: Product) -> None:
    source = Disk("root", "virtio", volume=IMAGE, pool="default")
    golden = machine("golden", disks=(source,), power=Power.RUNNING)
    create(hosted, golden)
    for template in (FULL, TemplateManifest("base", PLACE, domain="golden")):
        reason = refusal(with_template(hosted, template), manifest_of(machine("vm")))
        assert "running" in reason
        assert "golden" in reason
        assert "shut it down to clone from it" in reason
    hosted.host.domains.power_off("golden")
    create(with_template(hosted, FULL), machine("vm"))


def test_a_template_with_clones_on_it_is_not_changed_unseen(
    hosted: Product, lab_host: LibvirtHost
) -> None:
    product = with_template(hosted, LINKED)
    source = Disk("root", "virtio", volume=IMAGE, pool="default")
    golden = machine("golden", disks=(source,), power=Power.STOPPED)
    create(product, golden)
    create(product, machine("clone"))
    started = refusal(product, manifest_of(replace(golden, power=Power.RUNNING)))
    assert "carries 1 linked clone(s), which any write to it would break" in started
    assert "clone-root.qcow2" in started
    grown = manifest_of(replace(golden, disks=(replace(source, size=3 * GIB),)))
    [action] = product.plan(grown).actions
    assert action.action is ActionKind.WITHHELD
    [change] = action.changes
    assert "would break" in change.reason
    assert "clone-root.qcow2" in change.reason
    product.apply(grown)
    assert lab_host.storage.read_pool("default").volumes[IMAGE].capacity == GIB


def test_a_volume_that_is_there_is_an_error_and_no_target(
    hosted: Product, lab: LabHost, lab_host: LibvirtHost
) -> None:
    lab.virsh("vol-create-as", "default", "vm-root.qcow2", "1G", "--format", "qcow2")
    reason = refusal(with_template(hosted, FULL), manifest_of(machine("vm")))
    assert "'vm-root.qcow2' exists already in pool 'default', and no record" in reason
    assert "source: {volume: vm-root.qcow2}" in reason
    assert lab_host.storage.read_pool("default").volumes["vm-root.qcow2"].capacity == GIB


def test_a_clone_smaller_than_its_template_is_refused(hosted: Product) -> None:
    small = (Disk("root", "virtio", GIB // 2, template="base"),)
    reason = refusal(with_template(hosted, FULL), manifest_of(machine("vm", disks=small)))
    assert "512MiB is smaller than template base (1GiB)" in reason


def by_hand(product: Product, lab: LabHost, size: int) -> MachineManifest:
    """Return the manifest of a machine whose second disk somebody has unplugged."""
    data = Disk("data", "scsi", size)
    wanted = manifest_of(machine("vm", disks=(data,)))
    wanted = replace(wanted, spec='{"disks": [{"name": "data"}]}')
    for outcome in product.apply(wanted):
        assert outcome.error is None, outcome.error
    lab.virsh("detach-disk", "vm", "sda", "--config")
    return wanted


@pytest.mark.parametrize("size", [GIB, 2 * GIB], ids=["as it was", "grown"])
def test_a_disk_that_was_unplugged_by_hand_is_plugged_in_again(
    product: Product, lab: LabHost, size: int
) -> None:
    former = by_hand(product, lab, GIB)
    image = lab.images / "vm-data.qcow2"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", image], check=True)
    wanted = replace(former, machine=machine("vm", disks=(Disk("data", "scsi", size),)))
    [change] = product.plan(wanted).actions[0].changes
    assert "its own volume default/vm-data.qcow2, plugged in again" in str(change.desired)
    for outcome in product.apply(wanted):
        assert outcome.error is None, outcome.error
    assert product.plan(wanted).is_empty
    assert product.host.storage.read_pool("default").volumes[image.name].capacity == size
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "read -P 7 0 1M", image], check=True)


def test_a_disk_that_the_last_manifest_had_not_is_no_find(product: Product, lab: LabHost) -> None:
    wanted = replace(by_hand(product, lab, GIB), spec='{"disks": []}', generation="0" * 12)
    product.host.domains.set_metadata(
        "vm", owner_xml(Owner("vm", wanted.generation, wanted.spec)), live=False
    )
    assert "exists already in pool 'default', and no record" in refusal(product, wanted)


@pytest.mark.parametrize("step", range(2))
def test_a_kill_on_the_way_never_makes_that_disk_anew(
    product: Product, lab: LabHost, step: int
) -> None:
    former = by_hand(product, lab, GIB)
    image = lab.images / "vm-data.qcow2"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", image], check=True)
    wanted = replace(former, machine=machine("vm", disks=(Disk("data", "scsi", 2 * GIB),)))
    with pytest.raises(Killed):
        product.apply(wanted, host=FaultyHost.around(product.host, Fault(step, kill, after=True)))
    product.apply(wanted)
    assert product.plan(wanted).is_empty
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "read -P 7 0 1M", image], check=True)
