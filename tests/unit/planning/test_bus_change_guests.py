"""A staged bus change of a guest that is neither off nor running, and of one that may restart."""

from __future__ import annotations

from typing import Callable, Dict, Tuple

import pytest

from reconciler.core.guest import AgentState, DriverProbe, DriverReport, GuestReport
from reconciler.core.machine import Disruption, Power
from reconciler.core.plan import ActionKind, Effect
from reconciler.core.world import GuestState
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.status import find_status
from tests.unit.planning.walking import Walk, manifest_on

LONG = 100_000  # seconds, far more than the limit


def turn_off(walk: Walk) -> None:
    """By someone else's hand."""
    walk.turn_off()


def save(walk: Walk) -> None:
    """With virsh managedsave."""
    walk.save()


def be(state: GuestState, reason: str = "") -> Callable[[Walk], None]:
    """Have it be in that state."""
    return lambda walk: walk.become(state, reason)


STATES: Dict[str, Callable[[Walk], None]] = {
    "off": turn_off,
    "saved": save,
    "running": be(GuestState.RUNNING),
    "paused": be(GuestState.PAUSED, "user"),
    "paused by its watchdog": be(GuestState.PAUSED, "watchdog"),
    "paused, as it crashed": be(GuestState.PAUSED, "crashed"),
    "crashed": be(GuestState.CRASHED, "panicked"),
    "asleep": be(GuestState.PMSUSPENDED),
    "shutting down": be(GuestState.SHUTTING_DOWN),
}
PLACES: Dict[str, Callable[[], Walk]] = {
    "before": Walk,
    "plugged": lambda: Walk().prepare(),
    "proved": lambda: Walk().prove(),
    "switched": lambda: Walk().switch(),
}
SAVED = "the guest has a saved state"
PAUSED, ASLEEP = "the guest is paused: virsh resume vm", "is suspended by itself: virsh dompmwakeup"
CRASHED, ENDING = "the guest has crashed: virsh destroy vm", "the guest is shutting down"
# Where, how the guest is → the steps that are made long after, and what is said.
TABLE: Dict[Tuple[str, str], Tuple[str, str]] = {
    ("before", "off"): ("SetMetadata CreateVolume Define", "step 1 of 5"),
    ("before", "saved"): ("", SAVED),
    ("before", "running"): ("SetMetadata CreateVolume Define AttachDevice", "step 1 of 5"),
    ("before", "paused"): ("", f"step 1 of 5: waits for the guest: {PAUSED}"),
    ("before", "paused by its watchdog"): ("", PAUSED),
    ("before", "paused, as it crashed"): ("", CRASHED),
    ("before", "crashed"): ("", f"step 1 of 5: waits for the guest: {CRASHED}"),
    ("before", "asleep"): ("", ASLEEP),
    ("before", "shutting down"): ("", ENDING),
    ("plugged", "off"): ("", "for the next start of the guest"),
    ("plugged", "saved"): ("", SAVED),
    ("plugged", "running"): ("", "step 2 of 5: waits since"),
    ("plugged", "paused"): ("", f"step 1 of 5: waits for the guest: {PAUSED}"),
    ("plugged", "paused by its watchdog"): ("", PAUSED),
    ("plugged", "paused, as it crashed"): ("", CRASHED),
    ("plugged", "crashed"): ("", CRASHED),
    ("plugged", "asleep"): ("", ASLEEP),
    ("plugged", "shutting down"): ("", ENDING),
    ("proved", "off"): ("Define", "step 3 of 5: the disks are moved while the guest is off"),
    ("proved", "saved"): ("", SAVED),
    ("proved", "running"): ("", "the disks are moved when the guest is off"),
    ("proved", "paused"): ("", f"step 3 of 5: waits for the guest: {PAUSED}"),
    ("proved", "paused by its watchdog"): ("", PAUSED),
    ("proved", "paused, as it crashed"): ("", CRASHED),
    ("proved", "crashed"): ("", CRASHED),
    ("proved", "asleep"): ("", ASLEEP),
    ("proved", "shutting down"): ("", ENDING),
    ("switched", "off"): ("SetMetadata", "its next start has a whole limit"),
    ("switched", "saved"): ("SetMetadata", "when it runs again it has 10m to show its disks"),
    ("switched", "running"): ("SetMetadata", "the former bus comes back when the guest is off"),
    ("switched", "paused"): ("SetMetadata", f"{PAUSED}; when it runs again it has 10m"),
    ("switched", "paused by its watchdog"): (
        "SetMetadata",
        f"the former bus comes back later: {PAUSED}",
    ),
    ("switched", "paused, as it crashed"): ("SetMetadata", f"comes back later: {CRASHED}"),
    ("switched", "crashed"): ("SetMetadata", f"the former bus comes back later: {CRASHED}"),
    ("switched", "asleep"): ("SetMetadata", "when it runs again it has 10m to show its disks"),
    ("switched", "shutting down"): ("", ENDING),
}


def test_the_table_is_complete() -> None:
    assert set(TABLE) == {(place, state) for place in PLACES for state in STATES}


@pytest.mark.parametrize(("place", "state"), TABLE)
def test_what_is_done_about_a_guest_in_each_state(place: str, state: str) -> None:
    steps, words = TABLE[place, state]
    walk = PLACES[place]()
    STATES[state](walk)
    walk.clock.time += LONG
    action = walk.plan()
    assert " ".join(type(step).__name__ for step in action.steps) == steps
    assert words in "\n".join(change.reason for change in action.changes)
    if steps:
        assert walk.carry_out(action).error is None
        assert walk.plan().steps == (), "each step leads on"


@pytest.mark.parametrize("state", ["saved", "paused", "asleep"])
def test_a_guest_that_stood_still_has_a_whole_limit_when_it_runs_again(state: str) -> None:
    walk = Walk().switch()
    walk.clock.time += 500
    STATES[state](walk)
    walk.apply()
    assert walk.plan().action is ActionKind.WITHHELD
    walk.clock.time += LONG
    walk.start() if state == "saved" else walk.become(GuestState.RUNNING)
    walk.apply()
    walk.clock.time += 599
    [change] = walk.plan().changes
    assert "step 4 of 5: waits since" in change.reason
    walk.clock.time += 1
    assert "the former bus comes back" in walk.plan().changes[0].reason


def test_a_guest_that_is_resumed_by_the_plan_has_a_whole_limit_too() -> None:
    walk = Walk(manifest_on(power=Power.RUNNING)).switch()
    walk.become(GuestState.PAUSED, "user")
    walk.clock.time += LONG
    action = walk.apply()
    assert [type(step).__name__ for step in action.steps] == ["SetMetadata", "Resume"]
    assert {change.path: change.effect for change in action.changes} == {
        "power": Effect.LIVE,
        "busChange": Effect.WITHHELD,
    }
    walk.apply()
    assert "waits since" in walk.plan().changes[0].reason


def test_a_guest_whose_power_is_kept_on_cannot_have_its_limit_anew_by_ending_itself() -> None:
    walk = Walk(manifest_on(power=Power.RUNNING)).switch()
    for _ in range(3):
        walk.clock.time += 300
        walk.turn_off()
        walk.apply()
    walk.apply()
    walk.turn_off()
    walk.apply()
    assert walk.buses == ("sata",)


@pytest.mark.parametrize("force", [False, True])
def test_a_crashed_guest_goes_back_where_its_power_may_be_cut(force: bool) -> None:
    walk = Walk(manifest_on(disruption=Disruption.WHEN_OFF)).switch()
    walk.manifest = manifest_on(disruption=Disruption.RESTART, force_off=force)
    walk.become(GuestState.CRASHED, "panicked")
    walk.clock.time += LONG
    action = walk.apply()
    assert walk.buses == (("sata",) if force else ("virtio",))
    assert ("power_off vm" in walk.host.writes) is force
    assert action.changes[0].effect is (Effect.RESTART if force else Effect.WITHHELD)


def test_what_is_promised_of_a_guest_whose_time_is_over_is_done_when_it_is_off() -> None:
    walk = Walk().switch()
    walk.clock.time += 600
    walk.apply()
    walk.turn_off()
    action = walk.apply()
    assert walk.buses == ("sata",)
    assert "10m since its start on virtio at" in action.changes[0].reason
    assert "its guest agent is not connected" in walk.plan().stalled


def test_a_guest_that_shows_its_disks_after_its_time_stays() -> None:
    walk = Walk().switch()
    walk.clock.time += 600
    walk.apply()
    walk.show_disks()
    walk.apply()
    assert (walk.owner.bus_change, walk.buses) == (None, ("virtio",))


@pytest.mark.parametrize("place", ["plugged", "proved"])
@pytest.mark.parametrize("state", ["saved", "paused", "crashed", "asleep"])
def test_an_end_before_the_switch_waits_for_a_guest_that_holds_the_helper_disk(
    place: str, state: str
) -> None:
    walk = PLACES[place]()
    STATES[state](walk)
    action = walk.apply(aborts=frozenset({"vm"}))
    assert "ended by a person" in action.changes[-1].reason
    assert "the helper disk is removed later: the guest " in action.changes[-1].reason
    assert "vm-bus-change.qcow2" in walk.volumes
    assert walk.plan().steps == ()
    walk.start() if state == "saved" else walk.become(GuestState.RUNNING)
    walk.apply()
    assert walk.volumes == ["vm-root.qcow2"]
    assert "ended by a person" in walk.plan().stalled


@pytest.mark.parametrize("state", ["saved", "paused", "crashed"])
def test_an_end_after_the_switch_is_remembered_until_the_guest_is_off(state: str) -> None:
    walk = Walk().switch()
    STATES[state](walk)
    action = walk.apply(aborts=frozenset({"vm"}))
    assert "ended by a person" in action.changes[0].reason
    assert walk.buses == ("virtio",)
    walk.turn_off()
    walk.apply()
    assert walk.buses == ("sata",)


def test_an_end_comes_before_the_start_of_the_guest() -> None:
    walk = Walk(manifest_on(power=Power.RUNNING)).prove()
    walk.turn_off()
    walk.apply(aborts=frozenset({"vm"}))
    assert walk.volumes == ["vm-root.qcow2"]
    walk.apply()
    assert (walk.view.state, walk.buses) == (GuestState.RUNNING, ("sata",))


def test_a_change_that_is_not_wanted_any_more_waits_for_the_helper_disk_too() -> None:
    walk = Walk().prove()
    walk.save()
    walk.manifest = manifest_on("sata")
    action = walk.plan()
    assert action.steps == ()
    assert "does not ask for it any more; the helper disk is removed later" in (
        action.changes[-1].reason
    )
    walk.start()
    walk.apply()
    assert walk.volumes == ["vm-root.qcow2"]


@pytest.mark.parametrize("place", ["proved", "switched"])
def test_a_guest_that_is_to_be_stopped_is_not_started_by_it(place: str) -> None:
    walk = PLACES[place]()
    walk.manifest = manifest_on(disruption=Disruption.RESTART, power=Power.STOPPED)
    walk.clock.time += LONG
    walk.host.writes.clear()
    for _ in range(2):
        walk.apply()
    assert walk.view.state is GuestState.OFF
    assert "start vm" not in walk.host.writes
    assert walk.buses == (("virtio",) if place == "proved" else ("sata",))


def test_a_backup_is_not_cut_off_by_the_way_back() -> None:
    walk = Walk().switch()
    walk.manifest = manifest_on(disruption=Disruption.RESTART)
    walk.host.change("vm", job="backup")
    walk.clock.time += LONG
    action = walk.apply()
    assert "comes back later: a backup of the guest is under way" in action.changes[0].reason
    walk.host.change("vm", job="")
    walk.apply()
    assert walk.buses == ("sata",)


NOT_ASKED: Dict[str, GuestReport] = {
    "not asked yet": GuestReport(),
    "last asked while it was off": GuestReport(AgentState.OFF),
    "last asked in another run": GuestReport(
        AgentState.ANSWERS, driver=DriverReport(DriverProbe("virtio", ""), "6")
    ),
}


@pytest.mark.parametrize("report", NOT_ASKED.values(), ids=NOT_ASKED.keys())
def test_a_daemon_that_has_just_begun_takes_no_guest_back_that_it_has_not_asked(
    report: GuestReport,
) -> None:
    walk = Walk(with_agent=True).switch()
    walk.manifest = manifest_on(disruption=Disruption.RESTART)
    walk.clock.time += LONG
    walk.host.guests.reports["vm"] = report
    assert walk.plan().action is ActionKind.WITHHELD
    walk.host.guests.reports["vm"] = GuestReport(AgentState.DISCONNECTED)
    walk.apply()
    assert walk.buses == ("sata",)


def test_a_guest_without_a_channel_for_an_agent_goes_back() -> None:
    walk = Walk().switch()
    walk.manifest = manifest_on(disruption=Disruption.RESTART)
    walk.clock.time += LONG
    walk.host.guests.reports["vm"] = GuestReport()
    walk.apply()
    assert walk.buses == ("sata",)


def ready(walk: Walk) -> str:
    """Return what `status` says without a daemon."""
    return find_status("vm", read(walk.view)).condition("Ready").reason


def test_status_says_of_a_change_that_is_to_end_that_it_has_not_ended() -> None:
    walk = Walk().prove()
    walk.save()
    walk.apply(aborts=frozenset({"vm"}))
    assert ready(walk) == (
        "the staged bus change to virtio ends when its guest allows it: "
        "ended by a person (apply --abort-bus-change)"
    )


def test_status_says_what_a_guest_lacked_whose_time_is_over() -> None:
    walk = Walk().switch()
    walk.clock.time += LONG
    walk.apply()
    assert "is in step 4 of 5 since 1970-01-12T13:46:40Z; in 10m since its start" in ready(walk)
    assert ready(walk).endswith("its guest agent is not connected")
