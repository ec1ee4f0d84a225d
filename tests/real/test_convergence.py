"""For any machine: after an apply the next plan is empty. On real libvirt."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Tuple

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.adapters.manifests.reader import load_manifests
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Action, ActionKind, Effect
from reconciler.core.xmltree import parse, serialise
from tests.real.hostable import specs
from tests.real.worlds import Product
from tests.strategies import Document

CHIPSETS = st.sampled_from(("q35", "pc"))
REAL = settings(
    max_examples=40, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


def manifest(spec: Document) -> MachineManifest:
    """Return it as it is read from a file."""
    head = {
        "apiVersion": "virt-reconciler/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm"},
    }
    text = json.dumps({**head, "spec": spec}, indent=1)  # which is YAML, without its doubts
    note(text)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vm.yaml"
        path.write_text(text, encoding="utf-8")
        loaded = load_manifests([str(path)])
    assert loaded.problems == ()
    [machine] = loaded.desired.machines
    return machine


def apply(product: Product, wanted: MachineManifest) -> Action:
    """Apply without a failure, and return what the plan had said."""
    [planned] = product.plan(wanted).actions
    assert planned.action is not ActionKind.FAILED, planned.reason
    for outcome in product.apply(wanted):
        assert outcome.error is None, outcome.error
    return planned


@pytest.mark.parametrize("power", ["stopped", "running"])
@settings(REAL, max_examples=20)
@given(data=st.data())
def test_after_a_creation_the_plan_is_empty(
    product: Product, power: str, data: st.DataObject
) -> None:
    product.clear()
    wanted = manifest(data.draw(CHIPSETS.flatmap(lambda one: specs(one, power))))
    apply(product, wanted)
    [action] = product.plan(wanted).actions
    assert (action.changes, action.steps) == ((), ())
    # A guest without a system has no balloon driver, and keeps all of its maximum.
    assert set(action.pending) <= ({"memory.size"} if power == "running" else set())


@REAL
@given(pair=CHIPSETS.flatmap(lambda one: st.tuples(specs(one, "stopped"), specs(one, "stopped"))))
def test_after_a_change_only_what_was_withheld_is_left(
    product: Product, pair: Tuple[Document, Document]
) -> None:
    product.clear()
    former, wanted = map(manifest, pair)
    apply(product, former)
    volumes = product.volumes()
    planned = apply(product, wanted)
    withheld = {change.path for change in planned.changes if change.effect is Effect.WITHHELD}
    [action] = product.plan(wanted).actions
    assert {change.path for change in action.changes} == withheld
    assert action.steps == ()
    assert volumes <= product.volumes(), "a volume was deleted"


@REAL
@given(spec=CHIPSETS.flatmap(lambda one: specs(one, "stopped")), order=st.randoms())
def test_an_order_of_the_xml_that_libvirt_did_not_choose_plans_nothing(
    product: Product, lab_host: LibvirtHost, spec: Document, order: st.DataObject
) -> None:
    product.clear()
    wanted = manifest(spec)
    apply(product, wanted)
    root = parse(product.xml("vm"))
    [devices] = root.findall("devices")
    children = list(devices)
    order.shuffle(children)  # type: ignore[attr-defined]
    devices[:] = children
    lab_host.domains.define(serialise(root))
    [action] = product.plan(wanted).actions
    assert action.changes == ()
