"""What is said when a step fails is what became of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple

import pytest

from reconciler.cli.progress import sum_up
from reconciler.control.ports import NoLocks
from reconciler.core import plan
from reconciler.core.history import ChangeCause, conclude, remember
from reconciler.core.machine import Cpus, Machine
from reconciler.core.manifest import Desired
from reconciler.core.names import Owner
from reconciler.core.plan import Action, ActionKind, Before, Change, Effect, Outcome, Plan
from reconciler.core.world import DomainView, GuestState, VolumeView
from reconciler.core.xmltree import digest
from reconciler.errors import NotFoundError, ReconcilerError, TerminalError, TransientError
from reconciler.kinds.machine.domain.mark import set_owner
from tests.execution import execute
from tests.unit.fake_clock import FakeClock
from tests.unit.planning.worlds import UUID, domain, manifest_of

OLD, NEW = domain(), domain(vcpu="<vcpu>4</vcpu>")
BEGUN = set_owner(NEW, Owner("vm", "", "{}", is_unfinished=True))
CHANGE = Change("cpus.count", 2, 4, Effect.OFFLINE)
STOP = plan.Shutdown(5, force=False)
VOLUME = plan.CreateVolume("data", "default", "vm-data.qcow2", "qcow2", 2**30)


@dataclass
class Fake:
    """A host of one domain; the calls in `broken` fail, each so many times.

    With `is_wrong` libvirt finds that a definition is not valid, whenever it validates one.
    `rival` is a definition that somebody else stores while a volume is made.
    """

    xml: Optional[str] = OLD
    state: GuestState = GuestState.OFF
    autostart: bool = False
    broken: Dict[str, int] = field(default_factory=dict)
    interrupted: str = ""
    volumes: List[str] = field(default_factory=list)
    deaf: bool = False
    is_wrong: bool = False
    rival: Optional[str] = None
    made: List[str] = field(default_factory=list)
    locks: NoLocks = field(default_factory=NoLocks)
    host: str = "kvm01"
    uri: str = "qemu:///system"

    @property
    def domains(self) -> Any:
        """Be the hypervisor driver."""
        return self

    @property
    def storage(self) -> Any:
        """Be the storage driver."""
        return self

    def _try(self, call: str, error: ReconcilerError) -> None:
        if call == self.interrupted:
            raise KeyboardInterrupt
        if self.broken.get(call, 0) > 0:
            self.broken[call] -= 1
            raise error

    def read_domain(self, name: str) -> DomainView:
        """Return the domain."""
        if self.xml is None:
            raise NotFoundError(name)
        live = None if self.state is GuestState.OFF else self.xml
        return DomainView(name, UUID, self.state, self.xml, live, self.autostart)

    def define(self, xml: str, *, validate: bool = True) -> None:
        """Store it."""
        self._try("define", TerminalError("unsupported"))
        if validate and self.is_wrong:
            raise TerminalError("not valid")
        self.xml = xml

    def undefine_new(self, name: str) -> None:
        """Forget it."""
        self.xml = None

    def set_metadata(self, name: str, xml: str, live: bool) -> None:
        """Fail or not."""
        self._try("metadata", TerminalError("no metadata"))

    def set_autostart(self, name: str, enabled: bool) -> None:
        """Set it."""
        self._try("autostart", TerminalError("no link"))
        self.autostart = enabled

    def start(self, name: str) -> None:
        """Start it."""
        self._try("start", TerminalError("no memory"))
        self.state = GuestState.RUNNING

    def shut_down(self, name: str) -> None:
        """Go off, or not."""
        if not self.deaf:
            self.state = GuestState.OFF

    def find_job(self, name: str) -> str:
        """Be at no job."""
        return ""

    def create_volume(self, step: plan.CreateVolume, progress: object) -> VolumeView:
        """Make it."""
        self.xml = self.rival or self.xml
        self._try("volume", TransientError("pool full"))
        self.volumes.append(step.name)
        self.made.append(step.name)
        return VolumeView(step.pool, step.name, f"/images/{step.name}", step.format, 2**30)

    def delete_partial(self, pool: str, name: str) -> None:
        """Delete it."""
        self.volumes.remove(name)


class Silent:
    """A reporter that tells nobody."""

    def __getattr__(self, name: str) -> Any:
        """Say nothing."""
        return lambda *_: None


def carry_out(
    host: Fake, *steps: plan.Step, changes: Tuple[Change, ...] = (CHANGE,), create: bool = False
) -> Outcome:
    """Carry out these steps."""
    before = Before(None if host.xml is None else digest(host.xml), state=host.state)
    kind = ActionKind.CREATE if create else ActionKind.UPDATE
    action = Action("VirtualMachine", "vm", kind, changes, steps, before)
    desired = Desired.of(manifest_of(Machine("vm")))
    todo = Plan("kvm01", "qemu:///system", (action,))
    [outcome] = execute(host, desired, todo, Silent(), FakeClock())  # type: ignore[arg-type]
    return outcome


def test_a_new_machine_that_does_not_start_is_there_and_is_said_to_be() -> None:
    host = Fake(xml=None, broken={"start": 1})
    outcome = carry_out(host, plan.Define(NEW), VOLUME, plan.Start(), create=True)
    assert outcome.error == ("defined but not started: no memory. The next apply tries again")
    assert (host.xml is not None, host.volumes) == (True, ["vm-data.qcow2"])
    assert sum_up([outcome]) == (
        "Applied: 1 created (1 not started), 0 changed, 0 adopted, 0 deleted, 1 failed (vm)."
    )


@pytest.mark.parametrize("broken", ["volume", "autostart", "metadata"])
def test_a_new_machine_that_cannot_be_finished_leaves_nothing(broken: str) -> None:
    host = Fake(xml=None, broken={broken: 1})
    steps = (
        plan.Define(NEW), VOLUME, plan.SetMetadata("<m/>", live=False),
        plan.SetAutostart(enabled=True), plan.Start(),
    )  # fmt: skip
    outcome = carry_out(host, *steps, create=True)
    assert (host.xml, host.volumes) == (None, [])
    assert (outcome.error or "").endswith("; everything was put back")
    assert "0 created" in sum_up([outcome])


@pytest.mark.parametrize(
    ("clone", "is_made"), [("linked", True), ("reflink", True), ("none", True), ("full", False)]
)
def test_a_wrong_definition_of_a_new_machine_costs_no_long_copy_and_leaves_nothing(
    clone: str, *, is_made: bool
) -> None:
    host = Fake(xml=None, is_wrong=True)
    volume = replace(VOLUME, clone=clone)
    outcome = carry_out(host, plan.Define(BEGUN), volume, plan.Define(NEW), create=True)
    assert (outcome.error or "").startswith("not valid"), "what is stored last is always validated"
    assert (host.xml, host.volumes) == (None, [])
    assert bool(host.made) is is_made


def test_a_domain_that_somebody_makes_meanwhile_is_not_overwritten() -> None:
    host = Fake(xml=None, rival=OLD)
    outcome = carry_out(host, VOLUME, plan.Define(NEW), create=True)
    assert "made or changed by someone else meanwhile" in (outcome.error or "")
    assert (host.xml, host.volumes) == (OLD, [])


@pytest.mark.parametrize("step", ["volume", "autostart"])
def test_ctrl_c_takes_back_all_but_a_volume_that_libvirt_goes_on_making(step: str) -> None:
    host = Fake(xml=None, interrupted=step)
    with pytest.raises(KeyboardInterrupt):
        carry_out(
            host, plan.Define(NEW), VOLUME, plan.SetAutostart(enabled=True), plan.Start(),
            create=True,
        )  # fmt: skip
    assert (host.xml is not None) is (step == "volume"), "our mark in it names the volume"
    assert host.volumes == []


def test_a_definition_with_which_the_guest_does_not_start_goes_back() -> None:
    host = Fake(broken={"start": 1})
    outcome = carry_out(host, plan.Define(NEW), plan.SetAutostart(enabled=True), plan.Start())
    assert (host.xml, host.autostart) == (OLD, False)
    assert outcome.error == "no memory; everything was put back"
    assert outcome.kept == ()


def test_a_guest_that_was_shut_down_for_nothing_runs_again_as_it_was() -> None:
    host = Fake(state=GuestState.RUNNING, broken={"start": 1})
    outcome = carry_out(host, plan.Define(NEW), STOP, plan.Start())
    assert (host.xml, host.state) == (OLD, GuestState.RUNNING)
    assert (outcome.error or "").endswith("; the guest was started again as it was")


def test_that_it_is_off_is_said_when_it_does_not_start_as_it_was_either() -> None:
    host = Fake(state=GuestState.RUNNING, broken={"start": 2})
    outcome = carry_out(host, plan.Define(NEW), STOP, plan.Start())
    assert host.state is GuestState.OFF
    assert "the guest is off, and does not start as it was either: no memory" in str(outcome.error)
    assert outcome.kept == ("power",)


def test_what_is_stored_when_the_guest_refuses_to_go_off_is_said() -> None:
    host = Fake(state=GuestState.RUNNING, deaf=True)
    outcome = carry_out(host, plan.Define(NEW), STOP, plan.Start())
    assert host.xml == NEW
    assert (outcome.error or "").endswith("; what was done before that stays: cpus.count")
    assert "1 changed (1 in part)" in sum_up([outcome])


def test_a_volume_that_a_started_guest_may_have_had_open_is_not_deleted() -> None:
    host = Fake(broken={"start": 1})
    outcome = carry_out(host, VOLUME, plan.Define(NEW), plan.Start())
    assert (host.xml, host.volumes) == (NEW, ["vm-data.qcow2"])
    assert "what was done before that stays: cpus.count" in (outcome.error or "")


def test_a_change_that_spoils_another_managed_field_is_taken_back() -> None:
    host = Fake(xml=domain(vcpu="<vcpu>2</vcpu>"))
    manifest = manifest_of(Machine("vm", cpus=Cpus(2)))
    action = Action(
        "VirtualMachine", "vm", ActionKind.UPDATE, (Change("memory.size", 1, 2, Effect.OFFLINE),),
        (plan.Define(NEW),), Before(digest(host.xml or "")),
    )  # fmt: skip
    todo = Plan("kvm01", "qemu:///system", (action,))
    [outcome] = execute(host, Desired.of(manifest), todo, Silent(), FakeClock())  # type: ignore[arg-type]
    assert "cpus.count is 4, should be 2" in (outcome.error or "")
    assert host.xml == OLD


def test_what_stays_of_a_failure_can_be_taken_back_later() -> None:
    action = Action("VirtualMachine", "vm", ActionKind.UPDATE, (CHANGE,))
    past = remember(action, None, ChangeCause("me", "apply"), 0.0)
    failed = Outcome("vm", ActionKind.UPDATE, "does not go off")
    assert not conclude(past, failed).counts
    assert conclude(past, replace(failed, kept=("cpus.count",))).counts
