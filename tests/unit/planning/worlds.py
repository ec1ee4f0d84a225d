"""One domain in a small world, planned against a manifest. No test is here."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Mapping, Optional, Tuple

from reconciler.core.machine import Machine
from reconciler.core.manifest import Desired, Lifecycle, MachineManifest, Place
from reconciler.core.plan import Action, PlanOptions
from reconciler.core.world import DomainView, GuestState, World
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.planner import plan_machine
from reconciler.kinds.machine.planning.guards import owner_of
from tests.unit.domain.samples import Q35

GIB = 2**30
UUID = "6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a10"


def manifest_of(machine: Machine, lifecycle: Lifecycle = Lifecycle()) -> MachineManifest:
    """Return a manifest that wants this machine."""
    return MachineManifest(machine, "g1", "{}", Place("vm.yaml", 1, 1), lifecycle)


def domain(devices: str = "", **parts: str) -> str:
    """Return the definition of a machine that is ours, with these devices and parts."""
    given = {"os": "", "vcpu": "<vcpu>2</vcpu>", "memory": "1048576", "more": "", **parts}
    xml = (
        f"<domain type='kvm'><name>vm</name><uuid>{UUID}</uuid>"
        f"<memory>{given['memory']}</memory>{given['vcpu']}{given['more']}"
        f"<os><type machine='pc-q35-7.2'>hvm</type>{given['os']}</os>"
        f"<devices>{devices}</devices></domain>"
    )
    return set_owner(xml, owner_of(manifest_of(Machine("vm"))))


def plan(
    xml: str,
    machine: Machine,
    lifecycle: Lifecycle = Lifecycle(),
    *,
    live: Optional[str] = None,
    sizes: Optional[Mapping[str, int]] = None,
    now: Optional[datetime] = None,
    **world: Any,
) -> Action:
    """Return what becomes of the domain; `live` is its running configuration, if it runs."""
    state = GuestState.OFF if live is None else GuestState.RUNNING
    reading = read(DomainView("vm", UUID, state, xml, live, disk_sizes=sizes or {}))
    around = World(
        "kvm01", "qemu:///system", {"vm": reading}, {"default": True}, machines={"pc-q35-7.2": Q35}
    )
    manifest = manifest_of(machine, lifecycle)
    return plan_machine(
        manifest, Desired.of(manifest), replace(around, **world), PlanOptions(now=now)
    )


def lines(action: Action) -> Tuple[Tuple[str, object, object, str], ...]:
    """Return path, both values and effect of each change but that of our mark."""
    return tuple(
        (change.path, change.observed, change.desired, change.effect.value)
        for change in action.changes
        if not change.path.startswith("metadata.")
    )
