"""A lost machine that may run on another host is not defined again without a word."""

from __future__ import annotations

from reconciler.core.machine import Cpus, Disk, Machine, Memory
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.names import Owner
from reconciler.core.plan import Action, ActionKind, PlanOptions
from reconciler.core.planner import make_plan
from reconciler.core.world import (
    DomainView,
    GuestState,
    LostMachine,
    PoolView,
    Reading,
    VolumeView,
    World,
)

PATH = "/nfs/vm-root.qcow2"
XML = f"""<domain type='kvm'><name>vm</name><os><type machine='q35'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{PATH}'/>
<target dev='vda' bus='virtio'/><alias name='ua-root'/></disk></devices></domain>"""
DISK = Disk("root", "virtio", format="qcow2", source=PATH, alias="root", target="vda")
VM = MachineManifest(
    Machine("vm", cpus=Cpus(1), memory=Memory(2**26), disks=(Disk("root", pool="nfs"),)),
    "g", "{}", Place("vm.yaml", 1, 1),
)  # fmt: skip
VIEW = DomainView("vm", "7f0e3f5a-0000-4000-8000-000000000001", GuestState.OFF, XML)
READING = Reading(VIEW, Machine("vm", disks=(DISK,)), owner=Owner("vm", "g", made=(PATH,)))


def plan(kind: str, asked: bool = False, **options: frozenset[str]) -> Action:
    volume = VolumeView("nfs", "vm-root.qcow2", PATH, "qcow2", 2**23)
    pool = PoolView("nfs", kind, "/nfs", {volume.name: volume})
    world = World(
        "kvm01", "qemu:///system", pools={"nfs": pool}, lost={"vm": LostMachine(READING, 1e6)},
        others_asked=asked,
    )  # fmt: skip
    [action] = make_plan(Desired.of(VM), world, PlanOptions(**options)).actions  # type: ignore[arg-type]
    return action


def test_on_shared_storage_a_person_must_confirm() -> None:
    action = plan("netfs")
    assert action.action is ActionKind.WITHHELD
    assert "its disk root is in pool nfs (netfs), which another host may use" in action.reason
    assert action.reason.endswith("confirm: virt-reconciler apply --here vm vm.yaml")


def test_where_nobody_else_can_have_it_it_comes_back() -> None:
    for action in (plan("dir"), plan("netfs", asked=True), plan("netfs", here=frozenset({"vm"}))):
        assert action.action is ActionKind.CREATE, action.reason
