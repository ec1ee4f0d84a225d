"""For any two manifests: an apply that is taken back leaves the definition as it was before it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import List, Optional, Tuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.state.history import FolderHistory
from reconciler.control.change_recorder import ChangeRecorder
from reconciler.core.history import DONE, ChangeCause, ChangeRecord, choose
from reconciler.core.machine import Disk, Interface
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Action, ActionKind, Effect, PlanOptions
from reconciler.core.xmltree import copy_of, parse, serialise
from reconciler.errors import RefusedError
from reconciler.kinds.machine.domain.mark import read_owner, set_owner
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.rollback import RollbackPlan, find_kept_otherwise, plan_way_back
from tests.execution import execute
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.lab.keys import vm
from tests.real.booting import LIMIT, Bench
from tests.real.faults import Fault, FaultyHost, Killed, kill
from tests.real.hostable import specs
from tests.real.scenarios import BASE
from tests.real.test_convergence import CHIPSETS, manifest
from tests.real.worlds import MIB, Product, Silent
from tests.strategies import Document
from tests.unit.manifests.documents import load, machine

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

    def chronicle(self, verb: str, back_to: Optional[int] = None) -> ChangeRecorder:
        cause = ChangeCause("alice", verb, "f00", back_to)
        return ChangeRecorder(self.history, cause, time.time, self.told.append)

    def apply(self, wanted: MachineManifest) -> Action:
        """Apply without a failure; return what the plan had said."""
        desired = self.product.desired([wanted])
        seen = observe(self.product.host, desired)
        plan = seen.plan(PlanOptions())
        [action] = plan.actions
        assert action.action is not ActionKind.FAILED, action.reason
        self.carry(RollbackPlan(desired, seen, plan), "apply")
        return action

    def carry(self, way: RollbackPlan, verb: str, back_to: Optional[int] = None) -> None:
        report = self.chronicle(verb, back_to).on(self.product.host, Silent())
        for outcome in execute(self.product.host, way.desired, way.plan, report, SystemClock()):
            assert outcome.error is None, outcome.error
        assert self.told == []

    def plan_back(
        self, number: Optional[int] = None, now: Optional[datetime] = None
    ) -> RollbackPlan:
        entries = self.history.list(vm("vm"))
        past = choose(entries, number, "vm")
        return plan_way_back(self.product.host, past, entries, now)

    def roll_back(self, number: Optional[int] = None, back_to: Optional[int] = None) -> Action:
        """Take a change back; return what the plan had said."""
        way = self.plan_back(number)
        self.carry(way, "rollback", back_to)
        assert find_kept_otherwise(self.product.host, way) == ""
        return way.plan.actions[0]

    def entries(self) -> Tuple[ChangeRecord, ...]:
        return self.history.list(vm("vm"))


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
            change.path.rpartition(".")[2]
            for change in planned.changes
            if change.effect is Effect.WITHHELD
        } <= {"size"}


@pytest.fixture
def recorded(product: Product, tmp_path: Path) -> Recorded:
    """Return the product with a history."""
    return Recorded(product, FolderHistory(str(tmp_path / "history")))


VM = replace(BASE, name="vm")


def wanted_of(spec: Document) -> MachineManifest:
    """Return the manifest of that spec."""
    with TemporaryDirectory() as folder:
        loaded = load(Path(folder), machine("vm", **spec))
    assert loaded.problems == ()
    return loaded.desired.machines[0]


SMALL: Document = {"cpus": 1, "memory": "64MiB", "power": "stopped", "interfaces": []}


def test_a_rollback_can_be_taken_back_and_the_manifest_brings_all_of_it_again(
    recorded: Recorded, product: Product
) -> None:
    data = {"name": "data", "size": "8MiB"}
    former, wanted = wanted_of(SMALL), wanted_of({**SMALL, "disks": [data], "autostart": True})
    recorded.apply(former)
    recorded.apply(wanted)
    after = product.xml("vm")
    action = recorded.roll_back()
    assert action.notes == (f"disks[data]: {volume_path(product)} stays",)
    assert "ua-data" not in product.xml("vm")
    assert not product.host.domains.read_domain("vm").autostart
    assert product.plan(former).is_empty
    recorded.roll_back()  # of the rollback
    assert differ(canonical(after), canonical(product.xml("vm"))) == ""
    assert product.plan(wanted).is_empty
    recorded.roll_back(2)
    recorded.apply(wanted)  # what `resume` does: its own disk is plugged in again
    assert differ(canonical(after), canonical(product.xml("vm"))) == ""
    assert [one.number for one in recorded.entries()] == [6, 5, 4, 3, 2, 1]


DISKS: Document = {
    **SMALL, "disks": [{"name": "root", "size": "8MiB"}, {"name": "data", "size": "8MiB"}],
}  # fmt: skip
CHANGED: Document = {
    **DISKS, "disks": [{"name": "root", "size": "8MiB", "bus": "scsi"}], "autostart": True,
    "memory": "128MiB",
}  # fmt: skip


def killed(
    recorded: Recorded, way: RollbackPlan, verb: str, back_to: Optional[int], step: int
) -> bool:
    """Carry out a plan that is killed after so many calls; return whether it came to that."""
    host = FaultyHost.around(recorded.product.host, Fault(step, kill, after=True))
    cause = ChangeCause("alice", verb, "f00", back_to)
    chronicle = ChangeRecorder(recorded.history, cause, time.time, recorded.told.append)
    try:
        execute(
            host,
            way.desired,
            way.plan,
            chronicle.on(recorded.product.host, Silent()),
            SystemClock(),
        )
    except Killed:
        return True
    return False


@pytest.mark.parametrize("step", range(2))
def test_an_interrupted_rollback_that_is_repeated_finishes(
    recorded: Recorded, product: Product, step: int
) -> None:
    recorded.apply(wanted_of(DISKS))
    before = product.xml("vm")
    recorded.apply(wanted_of(CHANGED))
    after = product.xml("vm")
    if not killed(recorded, recorded.plan_back(), "rollback", 2, step):
        pytest.fail("the rollback has fewer steps by now")
    if not recorded.roll_back(back_to=2).steps:  # all was done, and the verb writes that down
        recorded.history.end(replace(recorded.entries()[0], outcome=DONE))
    assert differ(canonical(before), canonical(product.xml("vm"))) == ""
    assert not product.host.domains.read_domain("vm").autostart
    assert product.plan(wanted_of(DISKS)).is_empty
    recorded.roll_back()  # of both tries
    assert differ(canonical(after), canonical(product.xml("vm"))) == ""


@pytest.mark.parametrize("step", range(4))
def test_an_interrupted_apply_is_taken_back(
    recorded: Recorded, product: Product, step: int
) -> None:
    recorded.apply(wanted_of(DISKS))
    before, volumes = product.xml("vm"), product.volumes()
    more = [*DISKS["disks"], {"name": "logs", "size": "8MiB"}]
    desired = product.desired([wanted_of({**DISKS, "disks": more, "memory": "128MiB"})])
    seen = observe(product.host, desired)
    way = RollbackPlan(desired, seen, seen.plan(PlanOptions()))
    assert killed(recorded, way, "apply", None, step)
    recorded.roll_back()
    expected = with_volumes_of(before, product.xml("vm"))
    assert differ(canonical(expected), canonical(product.xml("vm"))) == ""
    assert product.plan(wanted_of(DISKS)).is_empty
    assert product.volumes() - {"vm-logs.qcow2"} == volumes


def volume_path(product: Product) -> str:
    return product.host.storage.read_pool("default").volumes["vm-data.qcow2"].path


def test_what_cannot_go_back_is_said_before(recorded: Recorded, product: Product) -> None:
    disks = [{"name": name, "size": "8MiB"} for name in ("root", "data")]
    grown = {"name": "root", "size": "16MiB"}
    recorded.apply(wanted_of({**SMALL, "disks": disks}))
    recorded.apply(wanted_of({**SMALL, "disks": [grown], "memory": "128MiB"}))
    product.host.storage.delete_partial("default", "vm-data.qcow2")
    action = recorded.roll_back()
    assert action.notes == (
        "not everything can go back, so what no field describes stays as it is now",
    )
    planned = {change.path: change for change in action.changes}
    assert planned["disks[data]"].effect is Effect.WITHHELD
    assert "a deleted volume cannot be restored" in planned["disks[data]"].reason
    size = planned["disks[root].size"]
    assert (size.effect, size.reason) == (Effect.WITHHELD, "a disk is never shrunk")
    assert (size.observed, size.desired) == (16 * MIB, 8 * MIB)
    assert planned["memory.size"].effect is Effect.OFFLINE
    xml = product.xml("vm")
    assert "<memory unit='KiB'>65536</memory>" in xml
    assert "ua-data" not in xml


def test_a_creation_is_not_taken_back(recorded: Recorded) -> None:
    recorded.apply(wanted_of(SMALL))
    with pytest.raises(RefusedError, match=r"change 1 is the creation of vm; .* deletes nothing"):
        recorded.plan_back()


def test_another_domain_of_the_same_name_is_left_alone(
    recorded: Recorded, product: Product
) -> None:
    recorded.apply(wanted_of(SMALL))
    recorded.apply(wanted_of({**SMALL, "memory": "128MiB"}))
    product.host.domains.undefine("vm")
    with pytest.raises(RefusedError, match="no longer exists"):
        recorded.plan_back()
    product.apply(wanted_of({**SMALL, "uuid": "00000000-0000-4000-8000-000000000001"}))
    with pytest.raises(RefusedError, match="vm is another domain now"):
        recorded.plan_back()


def test_before_its_adoption_a_domain_was_nobodys_and_is_so_again(
    recorded: Recorded, product: Product, lab: LabHost
) -> None:
    product.apply(wanted_of(SMALL))
    owner = product.xml("vm")
    lab.virsh("metadata", "vm", "urn:virt-reconciler:domain:1", "--config", "--remove")
    before = product.xml("vm")
    desired = product.desired([wanted_of(SMALL)])
    seen = observe(product.host, desired)
    plan = seen.plan(PlanOptions(adopt_all=True))
    recorded.carry(RollbackPlan(desired, seen, plan), "adopt")
    assert canonical(product.xml("vm")) == canonical(owner)
    [change] = recorded.roll_back().changes
    assert (change.path, change.observed, change.desired) == ("metadata.owner", "vm", None)
    assert product.xml("vm") == before
    [change] = recorded.roll_back().changes
    assert (change.path, change.observed, change.desired) == ("metadata.owner", None, "vm")
    assert differ(canonical(owner), canonical(product.xml("vm"))) == ""


def test_what_no_field_speaks_of_is_one_change_more(
    recorded: Recorded, product: Product, lab: LabHost, tmp_path: Path
) -> None:
    recorded.apply(wanted_of(SMALL))
    recorded.apply(wanted_of({**SMALL, "memory": "128MiB"}))
    edited = tmp_path / "edited.xml"
    text = product.xml("vm").replace("<on_crash>destroy", "<on_crash>restart")
    edited.write_text(text, encoding="utf-8")
    lab.virsh("define", str(edited))
    changes = {change.path: change for change in recorded.roll_back().changes}
    rest = changes["xml[/domain]"]
    assert (rest.observed, rest.desired) == (
        "/domain/on_crash: restart", "/domain/on_crash: destroy",
    )  # fmt: skip
    assert "<on_crash>destroy" in product.xml("vm")


def test_a_password_is_kept_nowhere_and_taken_from_the_domain_as_it_is(
    recorded: Recorded, product: Product, lab: LabHost, tmp_path: Path
) -> None:
    recorded.apply(wanted_of({**SMALL, "graphics": "vnc"}))
    edited = tmp_path / "edited.xml"
    text = product.xml("vm").replace(
        "<graphics type='vnc'", "<graphics type='vnc' passwd='hunter2'"
    )
    edited.write_text(text, encoding="utf-8")
    lab.virsh("define", str(edited))
    recorded.apply(wanted_of({**SMALL, "graphics": "vnc", "memory": "128MiB"}))
    for path in (tmp_path / "history").rglob("*.json"):
        assert "hunter2" not in path.read_text(encoding="utf-8")
    recorded.roll_back()
    assert "passwd='hunter2'" in product.xml("vm")


def test_a_running_guest_is_brought_back_live_and_keeps_running(
    recorded: Recorded, bench: Bench
) -> None:
    nic = Interface("lan", network="default", link="up")
    disks = (Disk("data", bus="virtio", size=8 * MIB),)
    former = bench.manifest(replace(VM, interfaces=(nic,), disks=disks))
    recorded.apply(former)
    guest = Guest(bench.uri, "vm")
    guest.wait_ready(LIMIT)
    boot = guest.boot_id()
    before = bench.product.xml("vm")
    changed = replace(
        VM, interfaces=(replace(nic, link="down"),), disks=(), video="vga",
    )  # fmt: skip
    recorded.apply(bench.manifest(changed))
    action = recorded.roll_back()
    effects = {change.path: change.effect for change in action.changes}
    assert effects["interfaces[lan].link"] is Effect.LIVE
    assert effects["disks[data]"] is Effect.LIVE
    assert effects["video"] is Effect.LIVE  # the guest never saw the other one
    assert Effect.RESTART not in effects.values()
    assert differ(canonical(before), canonical(bench.product.xml("vm"))) == ""
    assert bench.pending(former) == ()
    assert guest.boot_id() == boot
