"""A staged bus change while another administrator, or a backup, works on the same machine.

What libvirt makes of it decides here. No guest is booted: one that runs has an empty disk.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Iterator

import pytest

from reconciler.adapters.libvirt.host import connect
from reconciler.core.machine import Disk, Disruption
from reconciler.core.manifest import BusChange, Lifecycle, MachineManifest
from reconciler.core.plan import ActionKind
from reconciler.core.xmltree import parse
from tests.lab.host import LabHost
from tests.real import test_staged_bus_change as staged
from tests.real.scenarios import BASE
from tests.real.worlds import MIB, Now, Product, manifest_of

NAME, HELPER = staged.NAME, staged.HELPER
VOLUMES = {f"{NAME}-root.qcow2", HELPER}


def manifest_on(bus: str) -> MachineManifest:
    """Return the manifest of a machine with one empty disk on that bus, whose power is free."""
    machine = replace(BASE, power=None, guest_agent=True, disks=(Disk("root", bus, 64 * MIB),))
    return manifest_of(machine, Lifecycle(Disruption.WHEN_OFF, bus_change=BusChange("staged")))


MOVED = manifest_on("virtio")
pytestmark = pytest.mark.dated


@pytest.fixture
def product(lab: LabHost, product: Product) -> Iterator[Product]:
    """Return the product, with a machine that is off and has its helper disk."""
    staged.apply(product, staged.off(manifest_on("sata")))
    staged.apply(product, MOVED)
    assert product.volumes() == VOLUMES
    yield product
    for snapshot in lab.virsh("snapshot-list", NAME, "--name", check=False).stdout.split():
        lab.virsh("snapshot-delete", NAME, snapshot, "--metadata")
    lab.virsh("managedsave-remove", NAME, check=False)


def explain(product: Product, **options: Any) -> str:
    """Return all that the plan says."""
    action = staged.plan(product, MOVED, **options)
    reasons = (change.reason for change in action.changes)
    return "\n".join((action.reason, action.stalled, *reasons))


def test_the_helper_disk_that_someone_detached_and_deleted_comes_back(
    product: Product, lab: LabHost
) -> None:
    def detach() -> None:
        [helper] = [
            disk.find("target").get("dev", "")  # type: ignore[union-attr]
            for disk in parse(product.xml(NAME)).iterfind("devices/disk")
            if disk.find("serial") is not None
        ]
        lab.virsh("detach-disk", NAME, helper, "--config")

    detach()
    made = (lab.images / HELPER).stat().st_ino
    staged.apply(product, MOVED)
    assert staged.buses(product.xml(NAME)) == ("sata", "virtio")
    assert (lab.images / HELPER).stat().st_ino == made, "its volume was whole"

    lab.virsh("vol-delete", "--pool", "default", HELPER)
    lab.virsh("start", NAME)
    assert staged.buses(product.live_xml(NAME)) == ("sata",), "libvirt starts the guest without it"
    staged.apply(product, MOVED)
    assert staged.buses(product.live_xml(NAME)) == ("sata", "virtio")
    assert product.volumes() == VOLUMES
    assert "step 2 of 5: waits since" in explain(product)

    lab.virsh("destroy", NAME)
    staged.prove(product)
    staged.apply(product, MOVED)
    detach()
    lab.virsh("vol-delete", "--pool", "default", HELPER)
    staged.apply(product, MOVED, aborts=frozenset({NAME}))
    assert staged.buses(product.xml(NAME)) == ("sata",)
    assert product.volumes() == {f"{NAME}-root.qcow2"}


def test_a_renamed_machine_is_left_alone_until_it_is_renamed_back(
    product: Product, lab: LabHost
) -> None:
    lab.virsh("domrename", NAME, "other")
    assert f"Rename it back: virsh domrename other {NAME}" in explain(product)
    renamed = replace(MOVED, machine=replace(MOVED.machine, name="other"))
    for adopt in (frozenset[str](), frozenset({"other"})):
        [action] = product.plan(renamed, adopt=adopt).actions
        assert action.action is ActionKind.FAILED
        assert f"rename it back (virsh domrename other {NAME})" in action.reason
    assert product.volumes() == VOLUMES
    lab.virsh("domrename", "other", NAME)
    assert "of the guest, which gives it the helper disk" in explain(product)


def test_a_snapshot_of_all_disks_holds_the_switch_and_keeps_what_it_needs(
    product: Product, lab: LabHost
) -> None:
    staged.prove(product)
    lab.virsh("snapshot-create-as", NAME, "nightly", "--disk-only")
    assert "disks[root]: the disk is on external snapshot 'nightly'" in explain(product)
    assert staged.plan(product, MOVED).steps == ()

    aborts = frozenset({NAME})
    said = explain(product, aborts=aborts)
    assert f"what stays: volume default/{HELPER}, which snapshot 'nightly' needs, " in said
    overlay = str(lab.images / HELPER.replace(".qcow2", ".nightly"))
    assert f"{overlay}, which lies over the helper disk" in said
    staged.apply(product, MOVED, aborts=aborts)
    assert staged.buses(product.xml(NAME)) == ("sata",)
    assert HELPER in product.volumes()
    [source] = parse(product.xml(NAME)).iterfind("devices/disk/source")
    assert source.get("file") == str(lab.images / f"{NAME}-root.nightly")


def test_a_moved_disk_goes_back_on_the_overlay_that_a_backup_has_made(
    product: Product, lab: LabHost
) -> None:
    staged.prove(product)
    staged.apply(product, MOVED)
    assert staged.buses(product.xml(NAME)) == ("virtio", "virtio")
    lab.virsh("snapshot-create-as", NAME, "nightly", "--disk-only", "--no-metadata")
    staged.apply(product, MOVED, aborts=frozenset({NAME}))
    assert staged.buses(product.xml(NAME)) == ("sata",)
    [source] = parse(product.xml(NAME)).iterfind("devices/disk/source")
    assert source.get("file") == str(lab.images / f"{NAME}-root.nightly")
    assert HELPER not in product.volumes()


def test_a_guest_that_is_saved_or_paused_is_waited_for(product: Product, lab: LabHost) -> None:
    aborts, later = frozenset({NAME}), Product(connect(lab.uri(), locks=Now(7200)))
    lab.virsh("start", NAME)
    lab.save(NAME)
    staged.prove(product)
    assert "the guest has a saved state" in explain(product)
    staged.apply(product, MOVED, aborts=aborts)
    assert product.volumes() == VOLUMES, "the saved guest has the helper disk"
    lab.virsh("managedsave-remove", NAME)
    staged.apply(product, MOVED)
    assert product.volumes() == {f"{NAME}-root.qcow2"}

    staged.apply(product, MOVED, retried=1.0)
    staged.prove(product)
    staged.apply(product, MOVED)
    lab.virsh("start", NAME)
    staged.apply(product, MOVED)
    assert staged.find_mark(product).started  # type: ignore[union-attr]
    for stop, go_on in ((partial(lab.virsh, "suspend"), "resume"), (lab.save, "start")):
        stop(NAME)
        assert "when it runs again it has 15m to show its disks" in explain(later)
        staged.apply(later, MOVED)
        assert staged.find_mark(product).started == 0  # type: ignore[union-attr]
        assert staged.plan(later, MOVED).steps == ()
        lab.virsh(go_on, NAME)
        staged.apply(product, MOVED)
        assert "step 4 of 5: waits since" in explain(product)
    lab.virsh("destroy", NAME)
    staged.apply(later, MOVED, aborts=aborts)
    assert staged.buses(product.xml(NAME)) == ("sata",)
