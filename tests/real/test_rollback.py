"""For any two manifests: an apply that is taken back leaves the definition as it was before it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import unified_diff
from tempfile import TemporaryDirectory
from typing import List, Optional, Tuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.adapters.state import FolderHistory
from reconciler.control.executor import execute
from reconciler.control.observe import observe
from reconciler.control.recording import Chronicle
from reconciler.control.rolling_back import WayBack, find_kept_otherwise, plan_way_back
from reconciler.core.domain import read_owner
from reconciler.core.domain.owner import set_owner
from reconciler.core.history import Cause, Past, choose
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Action, ActionKind, Effect
from reconciler.core.planner import PlanOptions, make_plan
from reconciler.core.xmltree import copy_of, parse, serialise
from tests.real.hostable import specs
from tests.real.test_convergence import CHIPSETS, manifest
from tests.real.worlds import Clock, Product, Silent
from tests.strategies import Document

REAL = settings(
    max_examples=100, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@dataclass
class Recorded:
    """The product, with every change written down."""

    product: Product
    history: FolderHistory
    told: List[str] = field(default_factory=list)

    def chronicle(self, verb: str) -> Chronicle:
        return Chronicle(self.history, Cause("alice", verb, "f00"), time.time, self.told.append)

    def apply(self, wanted: MachineManifest) -> Action:
        """Apply without a failure; return what the plan had said."""
        desired = self.product.desired([wanted])
        world = observe(self.product.host, desired)
        plan = make_plan(desired, world, PlanOptions())
        [action] = plan.actions
        assert action.action is not ActionKind.FAILED, action.reason
        self.carry(WayBack(desired, world, plan), "apply")
        return action

    def carry(self, way: WayBack, verb: str) -> None:
        report = self.chronicle(verb).on(self.product.host, Silent())
        for outcome in execute(self.product.host, way.desired, way.plan, report, Clock()):
            assert outcome.error is None, outcome.error
        assert self.told == []

    def plan_back(self, number: Optional[int] = None, now: Optional[datetime] = None) -> WayBack:
        entries = self.history.list("vm")
        past = choose(entries, number, "vm")
        return plan_way_back(self.product.host, past, entries, now)

    def roll_back(self, number: Optional[int] = None) -> Action:
        """Take a change back; return what the plan had said."""
        way = self.plan_back(number)
        self.carry(way, "rollback")
        assert find_kept_otherwise(self.product.host, way) == ""
        return way.plan.actions[0]

    def entries(self) -> Tuple[Past, ...]:
        return self.history.list("vm")


def differ(before: str, after: str) -> str:
    return "".join(unified_diff(before.splitlines(True), after.splitlines(True), n=0))


def canonical(xml: str) -> str:
    """Return the text with the controllers in one order: libvirt sorts them anew at each define."""
    root = parse(xml)
    [devices] = root.findall("devices")
    there = devices.findall("controller")
    places = [devices.index(one) for one in there]
    ordered = sorted(there, key=lambda one: (one.get("type", ""), int(one.get("index", "0"))))
    for place, one in zip(places, [copy_of(one) for one in ordered]):
        one.tail = devices[place].tail
        devices[place] = one
    return serialise(root)


def with_volumes_of(before: str, after: str) -> str:
    """Return the definition before, its mark naming the volumes that were made since."""
    owner, now = read_owner(parse(before)), read_owner(parse(after))
    assert owner is not None
    assert now is not None
    assert set(owner.made) <= set(now.made)
    return before if owner.made == now.made else set_owner(before, replace(owner, made=now.made))


@REAL
@given(pair=CHIPSETS.flatmap(lambda one: st.tuples(specs(one, "stopped"), specs(one, "stopped"))))
def test_an_apply_that_is_taken_back_leaves_the_definition_as_it_was(
    product: Product, pair: Tuple[Document, Document]
) -> None:
    product.clear()
    former, wanted = map(manifest, pair)
    with TemporaryDirectory() as folder:
        recorded = Recorded(product, FolderHistory(folder))
        recorded.apply(former)
        before = product.host.domains.read_domain("vm")
        if not recorded.apply(wanted).steps:
            return
        volumes = product.volumes()
        planned = recorded.roll_back()
        after = product.host.domains.read_domain("vm")
        expected = with_volumes_of(before.persistent_xml, after.persistent_xml)
        assert differ(canonical(expected), canonical(after.persistent_xml)) == ""
        assert after.autostart == before.autostart
        assert volumes <= product.volumes(), "a volume was deleted"
        assert {
            one.path.rpartition(".")[2] for one in planned.changes if one.effect is Effect.WITHHELD
        } <= {"size"}
