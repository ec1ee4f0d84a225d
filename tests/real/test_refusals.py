"""What the effect table refuses is said with its reason, and nothing is touched: off or running.

The guests here have no system: they only have to run, not to answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping

import pytest

from reconciler.core.machine import Cpus, Disk, Machine, Memory, Power
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import ActionKind, Effect
from tests.lab.host import LabHost
from tests.real.worlds import GIB, MIB, Product, manifest_of

ROOT = Disk("root", "virtio", GIB, format="qcow2")
BASE = Machine("vm", cpus=Cpus(1), memory=Memory(128 * MIB), disks=(ROOT,), interfaces=())
OLD, NEW = "6f1c8a8e-0000-4000-8000-000000000001", "6f1c8a8e-0000-4000-8000-000000000002"


@dataclass(frozen=True)
class Refusal:
    """One row of the table that is never carried out."""

    path: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    reason: str


def root(**fields: Any) -> Mapping[str, Any]:
    """Return the disks with the root disk changed."""
    return {"disks": (replace(ROOT, **fields),)}


REFUSALS = {
    "uuid": Refusal("uuid", {"uuid": OLD}, {"uuid": NEW}, "a UUID cannot be changed"),
    "machine-chipset": Refusal(
        "machine",
        {"machine": "q35"},
        {"machine": "pc"},
        "with another chipset the guest would find none of its devices",
    ),
    "firmware": Refusal(
        "firmware", {"firmware": "bios"}, {"firmware": "uefi"}, "firmware that it was installed"
    ),
    "disk-shrink": Refusal("disks[root].size", {}, root(size=GIB // 2), "never shrunk"),
    "disk-format": Refusal("disks[root].format", {}, root(format="raw"), "never converted"),
    "disk-bus-staged": Refusal(
        "disks[root].bus",
        {"os": "win2k16", **root(bus="virtio")},
        {"os": "win2k16", **root(bus="sata")},
        "the guest must have bound the new driver first",
    ),
}


@pytest.mark.parametrize("power", [Power.STOPPED, Power.RUNNING], ids=lambda one: one.value)
@pytest.mark.parametrize("row", REFUSALS)
def test_a_refused_change_is_named_and_nothing_is_touched(
    product: Product, row: str, power: Power
) -> None:
    case = REFUSALS[row]
    before = replace(BASE, power=power, **case.before)
    create(product, manifest_of(before))
    wanted = manifest_of(replace(before, **case.after))
    refused_and_untouched(product, wanted, case.path, case.reason)


def test_a_disk_whose_image_is_gone_is_not_made_anew(product: Product, lab: LabHost) -> None:
    create(product, manifest_of(BASE))
    lab.virsh("vol-delete", "vm-root.qcow2", "--pool", "default")
    wanted = manifest_of(replace(BASE, **root(size=2 * GIB)))
    refused_and_untouched(product, wanted, "disks[root].size", "does the image exist?")
    assert product.volumes() == set()


def test_what_is_not_refused_is_done_beside_it(product: Product) -> None:
    create(product, manifest_of(BASE))
    wanted = manifest_of(replace(BASE, cpus=Cpus(2), **root(size=GIB // 2)))
    [outcome] = product.apply(wanted)
    assert outcome.error is None
    [action] = product.plan(wanted).actions
    assert [change.path for change in action.changes] == ["disks[root].size"]
    assert "<vcpu placement='static'>2</vcpu>" in product.xml("vm")


def create(product: Product, manifest: MachineManifest) -> None:
    """Apply, without a failure."""
    for outcome in product.apply(manifest):
        assert outcome.error is None, outcome.error


def refused_and_untouched(
    product: Product, manifest: MachineManifest, path: str, reason: str
) -> None:
    """Assert that the plan withholds this and nothing but this, and that an apply obeys."""
    xml = product.xml(manifest.name)
    [action] = product.plan(manifest).actions
    assert [(change.path, change.effect) for change in action.changes] == [(path, Effect.WITHHELD)]
    assert reason in action.changes[0].reason
    assert action.action is ActionKind.WITHHELD
    assert action.steps == ()
    assert product.apply(manifest) == ()
    assert product.xml(manifest.name) == xml
