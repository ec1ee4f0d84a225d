"""What is planned for a guest between on and off, with a job, or with a saved state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, Optional, Tuple

import pytest

from reconciler.core.conditions import planned
from reconciler.core.machine import Cpus, Disruption, Machine, Memory, Power
from reconciler.core.manifest import Desired, Lifecycle, MachineManifest, Place
from reconciler.core.plan import (
    Action,
    ActionKind,
    Change,
    Define,
    DetachDevice,
    Effect,
    PlanOptions,
    Resume,
    Shutdown,
    Start,
    Step,
    Wake,
)
from reconciler.core.world import DomainView, GuestState, World
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.planner import plan_machine
from reconciler.kinds.machine.planning.guards import owner_of

PATH = "/images/vm-root.qcow2"
XML = f"""<domain type='kvm' id='7'><name>vm</name><memory>2097152</memory>
<currentMemory>2097152</currentMemory><vcpu current='1'>2</vcpu><os><type>hvm</type></os>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{PATH}'/>
<target dev='vda' bus='virtio'/><alias name='ua-root'/></disk>
<interface type='network'><source network='default'/><mac address='52:54:00:00:00:01'/>
<alias name='ua-lan'/></interface>
<memballoon model='virtio'/></devices></domain>"""
FORCE = Lifecycle(force_off=True)
RESTART = Lifecycle(Disruption.RESTART)
RESTART_HARD = Lifecycle(Disruption.RESTART, force_off=True)
RUNNING = Machine("vm", power=Power.RUNNING)
STOPPED = Machine("vm", power=Power.STOPPED)
UNPLUGGED = replace(RUNNING, interfaces=())
BALLOON = replace(RUNNING, memory=Memory(2**30))
MORE_CPUS = replace(RUNNING, cpus=Cpus(maximum=4))


def manifest_of(machine: Machine, lifecycle: Lifecycle) -> MachineManifest:
    return MachineManifest(machine, "g", "{}", Place("f", 1, 1), lifecycle)


def plan(
    machine: Machine,
    state: GuestState = GuestState.PAUSED,
    reason: str = "user",
    *,
    lifecycle: Lifecycle = Lifecycle(),
    unattended: bool = False,
    free: Optional[int] = None,
    **more: Any,
) -> Action:
    """Plan a machine whose guest is in that state; `free` bytes are left for its disk."""
    manifest = manifest_of(machine, lifecycle)
    owner = owner_of(manifest)
    xml = set_owner(XML.replace(" id='7'", ""), owner)
    live = set_owner(XML, owner) if state.is_active else None
    view = DomainView("vm", "u", state, xml, live, state_reason=reason, **more)
    world = World(
        "h",
        "u",
        {"vm": read(view)},
        {"default": True},
        free={} if free is None else {PATH: free},
    )
    return plan_machine(manifest, Desired.of(manifest), world, PlanOptions(unattended=unattended))


def words(action: Action) -> Tuple[str, object, object, Effect]:
    [change] = action.changes
    return change.path, change.observed, change.desired, change.effect


def find(action: Action, path: str) -> Change:
    return next(change for change in action.changes if change.path == path)


def test_a_person_who_applies_lets_a_paused_guest_go_on() -> None:
    action = plan(RUNNING)
    assert words(action) == ("power", "paused", "running", Effect.LIVE)
    assert action.steps == (Resume(),)


def test_the_daemon_shows_a_pause_by_a_person_and_leaves_it() -> None:
    action = plan(RUNNING, unattended=True)
    assert words(action) == ("power", "paused", "running", Effect.WITHHELD)
    assert action.steps == ()
    assert "virsh resume vm" in action.changes[0].reason
    assert not action.transient  # it hears of the end of the pause


JOBS = ["migrating", "saving", "dumping", "creating snapshot", "starting up", "shutting down"]


@pytest.mark.parametrize("reason", JOBS)
@pytest.mark.parametrize("machine", [RUNNING, STOPPED], ids=["on", "off"])
def test_a_pause_that_belongs_to_a_job_is_left_to_it(reason: str, machine: Machine) -> None:
    action = plan(machine, reason=reason, lifecycle=RESTART_HARD)
    assert words(action)[3] is Effect.WITHHELD
    assert "apply again when that is done" in action.changes[0].reason
    assert (action.steps, action.transient) == ((), True)


def test_a_guest_goes_on_when_there_is_space_again() -> None:
    errors = {"vda": "no space"}
    full = plan(RUNNING, reason="I/O error", free=0, disk_errors=errors, unattended=True)
    assert words(full)[3] is Effect.WITHHELD
    assert f"no space for vda ({PATH})" in full.changes[0].reason
    assert full.transient

    space = plan(RUNNING, reason="I/O error", free=2**30, disk_errors=errors, unattended=True)
    assert space.steps == (Resume(),)


def test_an_io_error_of_which_nothing_is_known_is_tried_again() -> None:
    errors = {"vda": "unspecified"}
    action = plan(RUNNING, reason="I/O error", disk_errors=errors, unattended=True)
    assert action.steps == (Resume(),)


def test_a_guest_that_its_watchdog_paused_is_not_resumed_blindly() -> None:
    action = plan(RUNNING, reason="watchdog")
    assert (words(action)[3], action.steps) == (Effect.WITHHELD, ())
    assert "virsh reset vm" in action.changes[0].reason


@pytest.mark.parametrize(("state", "reason"), [("CRASHED", "panicked"), ("PAUSED", "crashed")])
def test_a_crashed_guest_is_restarted_only_where_that_is_allowed(state: str, reason: str) -> None:
    held = plan(RUNNING, GuestState[state], reason)
    assert (words(held)[3], held.steps) == (Effect.WITHHELD, ())
    assert "virsh destroy vm" in held.changes[0].reason
    for lifecycle, lacks in ((FORCE, "disruption: restart"), (RESTART, "forceOff: true")):
        held = plan(RUNNING, GuestState[state], reason, lifecycle=lifecycle)
        assert held.steps == ()
        assert lacks in held.changes[0].reason
    action = plan(RUNNING, GuestState[state], reason, lifecycle=RESTART_HARD)
    assert words(action)[3] is Effect.RESTART
    assert action.steps == (Shutdown(RESTART_HARD.shutdown_timeout, force=True), Start())


def test_a_guest_that_suspended_itself_is_woken_up() -> None:
    assert plan(RUNNING, GuestState.PMSUSPENDED, unattended=True).steps == (Wake(),)


def test_a_guest_that_shuts_down_is_waited_for() -> None:
    action = plan(RUNNING, GuestState.SHUTTING_DOWN)
    assert (words(action)[3], action.steps) == (Effect.WITHHELD, ())
    stop = plan(STOPPED, GuestState.SHUTTING_DOWN)
    assert [type(step) for step in stop.steps] == [Shutdown]


@pytest.mark.parametrize("state", [GuestState.PAUSED, GuestState.CRASHED])
def test_a_guest_that_cannot_be_asked_is_stopped_only_hard(state: GuestState) -> None:
    held = plan(STOPPED, state)
    assert (words(held)[3], held.steps) == (Effect.WITHHELD, ())
    assert "cannot be asked to shut down: virsh" in held.changes[0].reason
    assert "lifecycle.forceOff" in held.changes[0].reason
    stop = plan(STOPPED, state, lifecycle=FORCE)
    assert words(stop)[1:] == (state.value, "stopped", Effect.RESTART)
    assert [type(step) for step in stop.steps] == [Shutdown]


def test_a_guest_that_suspended_itself_is_woken_to_be_stopped() -> None:
    action = plan(STOPPED, GuestState.PMSUSPENDED)
    assert [type(step) for step in action.steps] == [Shutdown]
    assert "woken up" in action.changes[0].reason


@pytest.mark.parametrize(
    ("machine", "path"), [(UNPLUGGED, "interfaces[lan]"), (BALLOON, "memory.size")]
)
def test_what_needs_the_guest_is_not_tried_while_it_is_paused(machine: Machine, path: str) -> None:
    action = plan(machine, unattended=True)
    assert find(action, path).effect is Effect.WITHHELD
    assert "virsh resume vm" in find(action, path).reason
    assert action.steps == ()


def test_a_guest_goes_on_before_anything_is_asked_of_it() -> None:
    action = plan(UNPLUGGED)
    assert find(action, "interfaces[lan]").effect is Effect.LIVE
    kinds = [type(step) for step in action.steps]
    assert kinds[0] is Resume
    assert DetachDevice in kinds


def test_a_guest_that_a_person_paused_is_not_restarted_by_the_daemon() -> None:
    action = plan(MORE_CPUS, lifecycle=RESTART_HARD, unattended=True)
    assert find(action, "cpus.maximum").effect is Effect.NEXT_BOOT
    assert not any(isinstance(step, (Shutdown, Start)) for step in action.steps)


def test_a_restart_that_is_allowed_begins_with_the_end_of_the_pause() -> None:
    action = plan(MORE_CPUS, lifecycle=RESTART_HARD)
    kinds = [type(step).__name__ for step in action.steps]
    assert kinds[0] == "Resume"
    assert kinds[-2:] == ["Shutdown", "Start"]


def test_what_a_crashed_guest_would_have_to_do_comes_with_its_restart() -> None:
    action = plan(UNPLUGGED, GuestState.CRASHED, "panicked", lifecycle=RESTART_HARD)
    assert find(action, "interfaces[lan]").effect is Effect.RESTART
    assert not any(isinstance(step, DetachDevice) for step in action.steps)


def test_what_a_guest_that_is_switched_off_hard_cannot_do_is_stored() -> None:
    machine = replace(STOPPED, interfaces=())
    action = plan(machine, lifecycle=FORCE)
    assert find(action, "interfaces[lan]").effect is Effect.NEXT_BOOT
    assert not any(isinstance(step, DetachDevice) for step in action.steps)


@pytest.mark.parametrize("machine", [BALLOON, STOPPED, UNPLUGGED], ids=["ram", "off", "card"])
def test_a_job_is_named_and_waited_for(machine: Machine) -> None:
    action = plan(machine, GuestState.RUNNING, "", lifecycle=RESTART_HARD, job="backup")
    assert {change.effect for change in action.changes} == {Effect.WITHHELD}
    [reason] = {change.reason for change in action.changes}
    assert reason == "a backup of the guest is under way; apply again when it is done"
    assert (action.steps, action.transient) == ((), True)


def test_the_status_says_that_what_waits_for_a_job_is_tried_again() -> None:
    waits = planned(plan(BALLOON, GuestState.RUNNING, "", job="backup"))
    assert (waits.ready, "a backup of the guest" in waits.reason) == (False, True)
    assert waits.reconciling
    assert not waits.stalled
    paused = planned(plan(RUNNING, unattended=True))
    assert (paused.ready, paused.reconciling, paused.stalled) == (False, "", "")


def test_a_job_of_one_disk_names_the_disk() -> None:
    action = plan(BALLOON, GuestState.RUNNING, "", job="block copy of disk vda")
    assert action.changes[0].reason.startswith("a block copy of disk vda is under way")


def test_a_job_is_nothing_to_a_guest_that_is_as_wanted() -> None:
    action = plan(RUNNING, GuestState.RUNNING, "", job="backup")
    assert (action.action, action.transient) == (ActionKind.NONE, False)


def test_a_saved_state_is_resumed_where_power_is_all_that_differs() -> None:
    action = plan(RUNNING, GuestState.OFF, "", saved=True)
    assert words(action) == ("power", "saved", "running", Effect.OFFLINE)
    assert "resumed from its saved state" in action.changes[0].reason
    assert action.steps == (Start(),)


def test_nothing_is_stored_beside_a_saved_state() -> None:
    action = plan(BALLOON, GuestState.OFF, "", saved=True)
    assert {change.effect for change in action.changes} == {Effect.WITHHELD}
    assert action.steps == ()
    assert "virsh start vm" in action.changes[0].reason
    assert "virsh managedsave-remove vm" in action.changes[0].reason


def test_a_guest_with_a_saved_state_is_stopped() -> None:
    assert plan(STOPPED, GuestState.OFF, "", saved=True).action is ActionKind.NONE


@pytest.mark.parametrize("unattended", [False, True])
def test_a_guest_that_was_migrated_away_is_not_started_a_second_time(unattended: bool) -> None:
    action = plan(RUNNING, GuestState.OFF, "migrated", unattended=unattended)
    assert (words(action)[3], action.steps) == (Effect.WITHHELD, ())
    assert "placement.host" in action.changes[0].reason
    assert "virsh start vm" in action.changes[0].reason


def test_a_machine_that_was_migrated_away_is_not_made_again() -> None:
    manifest = manifest_of(RUNNING, FORCE)
    options = PlanOptions(unattended=True, migrated=True)
    action = plan_machine(manifest, Desired.of(manifest), World("h", "u"), options)
    assert (action.action, action.steps, action.changes) == (ActionKind.WITHHELD, (), ())
    assert "placement.host" in action.reason
    assert "virt-reconciler retry vm" in action.reason


def test_a_guest_that_was_saved_to_a_file_is_left_off_by_the_daemon() -> None:
    held = plan(RUNNING, GuestState.OFF, "saved", unattended=True)
    assert (words(held)[3], held.steps) == (Effect.WITHHELD, ())
    assert "virsh restore FILE, or virsh start vm" in held.changes[0].reason
    started = plan(RUNNING, GuestState.OFF, "saved")
    assert started.steps == (Start(),)
    assert "saved to a file" in started.changes[0].reason


@pytest.mark.parametrize("reason", ["shutdown", "destroyed", "crashed", "failed", "unknown"])
def test_a_guest_that_is_off_for_any_other_reason_is_started(reason: str) -> None:
    assert plan(RUNNING, GuestState.OFF, reason, unattended=True).steps == (Start(),)


def test_a_domain_that_comes_by_migration_is_waited_for() -> None:
    action = plan(RUNNING, GuestState.PAUSED, "migrating", persistent=False)
    assert (action.action, action.transient) == (ActionKind.FAILED, True)


@pytest.mark.parametrize(
    ("wanted", "lifecycle", "effect", "power"),
    [
        (replace(STOPPED, interfaces=(), disks=()), FORCE, Effect.NEXT_BOOT, [Shutdown(120, True)]),
        (
            replace(MORE_CPUS, interfaces=(), disks=()),
            RESTART_HARD,
            Effect.RESTART,
            [Shutdown(120, True), Start()],
        ),
    ],
    ids=["stopped", "restarted"],
)
def test_a_guest_that_goes_off_is_not_asked_to_give_up_a_device_first(
    wanted: Machine, lifecycle: Lifecycle, effect: Effect, power: List[Step]
) -> None:
    action = plan(wanted, GuestState.RUNNING, "", lifecycle=lifecycle)
    assert {find(action, one).effect for one in ("interfaces[lan]", "disks[root]")} == {effect}
    assert not any(isinstance(step, DetachDevice) for step in action.steps)
    assert [step for step in action.steps if isinstance(step, (Shutdown, Start))] == power
    [stored] = [step.xml for step in action.steps if isinstance(step, Define)]
    assert "<interface" not in stored
    assert "<disk" not in stored


def test_a_guest_that_stays_on_for_another_reason_gives_up_its_device_live() -> None:
    never = Lifecycle(Disruption.NEVER)
    action = plan(replace(STOPPED, interfaces=()), GuestState.RUNNING, "", lifecycle=never)
    assert find(action, "power").effect is Effect.WITHHELD
    assert find(action, "interfaces[lan]").effect is Effect.LIVE
    assert any(isinstance(step, DetachDevice) for step in action.steps)


def test_a_transient_domain_is_refused_with_a_command() -> None:
    action = plan(RUNNING, GuestState.RUNNING, "", persistent=False)
    assert action.action is ActionKind.FAILED
    assert "virsh define vm.xml" in action.reason
