"""An object that another run works on is left alone, and tried again."""

from __future__ import annotations

from reconciler.core.conditions import planned
from reconciler.core.machine import Cpus, Machine, Memory
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.plan import ActionKind, PlanOptions
from reconciler.core.planner import make_plan
from reconciler.core.world import World
from tests.lab.keys import vm

LINE = "another virt-reconciler works on vm (pid 123, apply); try again when it has ended"
VM = MachineManifest(
    Machine("vm", cpus=Cpus(1), memory=Memory(2**26)), "g", "{}", Place("vm.yaml", 1, 1)
)


def test_it_is_withheld_and_tried_again() -> None:
    world = World("kvm01", "qemu:///system", busy={vm("vm"): LINE})
    [action] = make_plan(Desired.of(VM), world, PlanOptions()).actions
    assert (action.action, action.reason, action.steps) == (ActionKind.WITHHELD, LINE, ())
    verdict = planned(action)
    assert (verdict.ready, verdict.reconciling, verdict.stalled) == (False, LINE, "")
