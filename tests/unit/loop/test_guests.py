"""Guests are looked into beside the loop: when, how often, and what is told of it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any, List, Optional, cast

import pytest

from reconciler.adapters.state.files import to_data, to_record
from reconciler.control.gauges import LoopGauges
from reconciler.control.guest_watch import LANES, MOST_SILENT, REFRESH, SOONEST
from reconciler.control.loop import Loop
from reconciler.control.ports import News
from reconciler.control.state import LoopServices
from reconciler.core import events, metrics
from reconciler.core.conditions import READY, RECONCILING
from reconciler.core.guest import (
    AgentState,
    CloudInitReport,
    CloudInitState,
    DriverProbe,
    FileSystem,
    GuestReport,
    GuestView,
)
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.overview import OverviewEntry
from reconciler.core.records import Record
from reconciler.core.render.status import _find_rest
from reconciler.core.settings import Settings
from reconciler.core.world import GuestState
from reconciler.errors import TransientError
from tests.lab.keys import vm
from tests.unit.cli.fakes import FakeServices, call, manifest
from tests.unit.fake_clock import FakeClock

from .fakes import CountingMeter, ListJournal, MemoryHistory, MemoryStore

KEY = vm("web01")
LIMIT = 20.0  # seconds
ANSWERS = GuestReport(AgentState.ANSWERS, os="Rocky Linux 9.6", system="rocky")
SILENT = GuestReport(AgentState.SILENT)
FAILED = replace(ANSWERS, cloud_init=CloudInitReport(CloudInitState.FAILED, ("no network",)))
BOOTS = replace(ANSWERS, cloud_init=CloudInitReport(CloudInitState.RUNNING, stage="init"))


class World:
    """One machine that runs, and the loop that looks after it; time passes only when told."""

    def __init__(self, report: Optional[GuestReport] = None, **spec: Any) -> None:
        self.clock = FakeClock()
        self.services = FakeServices(clock=self.clock)
        self.host = self.services.host
        self.say(**spec)
        assert call(self.services, "apply", "--yes", "p").status == 0
        if report is not None:
            self.host.guests.reports["web01"] = report
        self.store, self.journal, self.meter = MemoryStore(), ListJournal(), CountingMeter()
        self.loop = Loop(
            LoopServices(
                host=self.host,
                news=cast("News", None),
                store=self.store,
                journal=self.journal,
                meter=self.meter,
                clock=self.clock,
                chance=lambda: 0.5,
                history=MemoryHistory(),
            ),
            Settings(),
        )
        for driver in ("qemu", "storage", "network"):
            self.loop.reached(driver)
        self.publish()
        self.work()

    def say(self, **spec: Any) -> None:
        """Write the manifest."""
        given = {"power": "running", "guestAgent": True, **spec}
        self.services.files = {"web01.yaml": manifest("web01", **given)}

    def publish(self, *, identity: str = "one") -> None:
        """Put the manifests in force."""
        desired = self.services.load_manifests(()).desired
        self.loop.publish(ManifestSet(identity, desired, revision="one"))

    def work(self) -> None:
        """Make every pass and every look that is due now."""
        passes, looks = self.loop.queue, self.loop.guests.queue
        while True:
            key = passes.take(0)
            if key is not None:
                self.loop.work(*key)
                passes.done(key[0])
            look = looks.take(0)
            if look is not None:
                self.loop.guests._look(*look)
                looks.done(look[0])
            if key is None and look is None:
                return

    def wait(self, seconds: float) -> int:
        """Let time pass, second by second; return how often the guest was looked into."""
        before = len(self.asked)
        for _ in range(int(seconds)):
            self.clock.sleep(1)
            self.work()
        return len(self.asked) - before

    @property
    def asked(self) -> List[str]:
        """Return the guests that were looked into."""
        return self.host.guests.asked

    @property
    def inside(self) -> GuestView:
        """Return what is remembered of the guest."""
        found = self.store.records[KEY].inside
        assert found is not None
        return found

    def show(self, report: GuestReport) -> None:
        """Have the guest show something else, and announce it."""
        self.host.guests.reports["web01"] = report
        self.clock.sleep(SOONEST)
        self.loop.guest_changed("web01")
        self.work()


def test_a_guest_that_is_ready_is_looked_into_now_and_then() -> None:
    world = World(ANSWERS)
    assert (world.inside.ready, world.inside.report) == (True, ANSWERS)
    assert world.wait(REFRESH - 1) == 0
    assert world.wait(2) == 1


def test_what_is_found_does_not_change_ready() -> None:
    world = World(FAILED)
    assert world.inside.ready is False
    assert world.store.records[KEY].condition(READY).holds is True


def test_a_pass_leaves_what_is_known_of_the_guest_alone() -> None:
    world = World(ANSWERS)
    world.loop.retry({KEY})
    world.loop.queue.add(KEY)
    taken = world.loop.queue.take(0)
    assert taken is not None
    world.loop.work(*taken)
    assert world.inside.ready is True


def test_a_pass_knows_when_a_person_asked_for_another_try() -> None:
    world = World(ANSWERS)
    world.clock.sleep(7)
    asked = world.clock.wall()
    world.loop.retry({KEY})
    assert world.loop.shared.retried == {KEY: asked}
    world.clock.sleep(7)
    world.work()
    assert world.loop.shared.retried == {}


def test_a_guest_that_boots_is_asked_soon_again_and_told_once_it_is_ready() -> None:
    world = World(BOOTS)
    assert world.inside.reason == "cloud-init runs (init)"
    assert world.wait(60) >= 3
    world.host.guests.reports["web01"] = ANSWERS
    assert world.wait(22) == 1
    assert world.journal.lines("guest") == [
        "web01: GuestReady is False: cloud-init runs (init)",
        "web01: GuestReady is True",
    ]


def test_what_a_boot_does_not_mend_is_a_warning() -> None:
    world = World(ANSWERS)
    world.show(FAILED)
    world.show(FAILED)
    [told] = world.journal.lines("guest-not-ready")
    assert told.startswith("web01: GuestReady is False: cloud-init failed: no network")


def test_an_agent_that_never_answers_is_asked_no_more_until_something_happens() -> None:
    world = World(SILENT)
    world.wait(3600)
    assert len(world.asked) == MOST_SILENT
    assert world.inside.ready is False
    assert world.inside.reason.endswith("to ask now: virt-reconciler retry web01")
    assert len(world.journal.lines("guest-not-ready")) == 1
    world.loop.guest_changed("web01")
    world.work()
    assert len(world.asked) == MOST_SILENT + 1
    assert "not asked any more" not in world.inside.reason


def test_a_person_can_have_it_asked_again() -> None:
    world = World(SILENT)
    world.wait(3600)
    world.host.guests.reports["web01"] = ANSWERS
    world.store.retries.add(KEY)
    world.loop.reread_orders()
    world.work()
    assert world.inside.ready is True


def test_a_guest_that_announces_something_all_the_time_is_asked_no_faster() -> None:
    world = World(ANSWERS)
    before = len(world.asked)
    for _ in range(100):
        world.loop.guest_changed("web01")
        world.work()
        world.clock.sleep(0.1)
    assert len(world.asked) - before <= 10 / SOONEST + 1


def test_a_guest_that_is_off_is_unknown_and_asked_when_it_starts() -> None:
    world = World(ANSWERS)
    world.host.change("web01", state=GuestState.OFF, live_xml=None)
    world.say(power="stopped")
    world.publish(identity="two")
    world.wait(SOONEST)
    assert (world.inside.ready, world.inside.reason) == (None, "the guest does not run")
    world.host.domains.start("web01")
    world.loop.guest_changed("web01")
    world.wait(SOONEST)
    assert world.inside.ready is True


def test_a_guest_whose_manifest_asks_for_no_agent_is_not_looked_into() -> None:
    world = World(ANSWERS)
    world.say(guestAgent=False)
    world.publish(identity="two")
    world.work()
    assert world.store.records[KEY].inside is None
    before = len(world.asked)
    world.loop.guest_changed("web01")
    world.wait(REFRESH)
    assert len(world.asked) == before


def test_libvirt_that_is_away_is_not_asked() -> None:
    world = World(ANSWERS)
    world.loop.lost("qemu", "gone")
    assert world.wait(REFRESH + 60) == 0
    before = len(world.asked)
    world.loop.reached("qemu")
    world.work()
    assert len(world.asked) == before + 1


def test_an_error_of_libvirts_is_unknown_and_tried_again() -> None:
    world = World(ANSWERS)

    def fail(name: str, instance: str = "", probe: Optional[DriverProbe] = None) -> GuestReport:
        raise TransientError(f"domain {name}: asking its guest agent: socket is closed")

    read, world.host.guests.read = world.host.guests.read, fail  # type: ignore[method-assign]
    world.wait(REFRESH + 1)
    assert world.inside.ready is None
    assert "socket is closed" in world.inside.reason
    world.host.guests.read = read  # type: ignore[method-assign]
    world.wait(REFRESH)
    assert world.inside.ready is True


def test_the_end_of_the_first_boot_takes_the_seed_away() -> None:
    world = World(
        ANSWERS,
        cloudInit={"hostname": "web01"},
        disks=[{"name": "root", "size": "2GiB"}],
        cdroms=[],
    )
    volumes = world.host.pools["default"].volumes
    assert "web01-seed.iso" in volumes
    [files] = world.host.seeds.values()
    instance = json.loads(files["meta-data"])["instance-id"]
    world.host.finished_boots.add(("web01", instance))
    world.loop.guest_changed("web01")
    world.wait(SOONEST)
    assert "web01-seed.iso" not in world.host.pools["default"].volumes


def test_sizes_that_differ_little_are_not_written_again() -> None:
    mounted = FileSystem("/", "xfs", "vda4", 1000, 400, ("/dev/vda",))
    world = World(replace(ANSWERS, file_systems=(mounted,)))
    writes = world.store.writes[KEY]
    world.show(replace(ANSWERS, file_systems=(replace(mounted, used=410),)))
    assert world.store.writes[KEY] == writes
    world.show(replace(ANSWERS, file_systems=(replace(mounted, used=500),)))
    assert world.inside.report.file_systems[0].used == 500


def test_metrics_count_guests() -> None:
    world = World(ANSWERS)
    gauges = LoopGauges(world.loop, world.meter)

    def measured() -> List[float]:
        gauges.measure()
        names = (metrics.GUESTS, metrics.GUESTS_READY, metrics.GUESTS_SILENT)
        return [world.meter.values[name, ()] for name in names]

    assert measured() == [1, 1, 0]
    world.show(SILENT)
    assert measured() == [1, 0, 1]
    assert world.meter.total(metrics.GUEST_LOOK) >= 2


def test_agents_that_hang_hold_up_no_pass_and_no_more_than_their_lanes() -> None:
    """Each look hangs until the test lets it go: passes go on, and no further look begins."""
    names = [f"web{number:02d}" for number in range(1, 9)]
    world = World(ANSWERS)
    world.services.files = {
        f"{name}.yaml": manifest(name, power="running", guestAgent=True) for name in names
    }
    assert call(world.services, "apply", "--yes", "p").status == 0
    release, hanging = threading.Event(), threading.Semaphore(0)
    begun: List[str] = []

    def hang(name: str, instance: str = "", probe: Optional[DriverProbe] = None) -> GuestReport:
        begun.append(name)
        hanging.release()
        assert release.wait(LIMIT)
        return SILENT

    world.host.guests.read = hang  # type: ignore[method-assign]
    threading.Thread(target=world.loop.guests.lanes.run, daemon=True).start()
    world.publish(identity="two")
    for _ in range(LANES):
        assert hanging.acquire(timeout=LIMIT)
    try:
        passes = world.loop.queue
        made = 0
        while True:
            taken = passes.take(0)
            if taken is None:
                break
            world.loop.work(*taken)
            passes.done(taken[0])
            made += 1
        world.loop.resync()
        assert made == len(names) - 1, "web01 is as it was"
        assert all(world.store.records[vm(name)].condition(READY).holds is True for name in names)
        assert len(begun) == LANES
    finally:
        release.set()
        world.loop.guests.queue.close()


@pytest.mark.parametrize("report", [ANSWERS, FAILED, SILENT])
def test_what_is_known_survives_a_restart_of_the_daemon(report: GuestReport) -> None:
    record = World(report).store.records[KEY]
    assert to_record(to_data(record)) == record


AFTER = {"power": "running", "lifecycle": {"startAfter": ["web01"]}}
APP = vm("app01")


def add_waiting(world: World) -> Record:
    """Add a machine that is started after the other; return its record."""
    world.services.files = {**world.services.files, "app01.yaml": manifest("app01", **AFTER)}
    world.publish(identity="two")
    world.work()
    return world.store.records[APP]


def state_of(world: World, name: str) -> GuestState:
    """Return what the guest does."""
    return world.host.domains.read_domain(name).state


def test_a_machine_is_started_when_the_guest_that_it_waits_for_is_ready() -> None:
    world = World(BOOTS)
    record = add_waiting(world)
    reason = "withheld: power: waits until web01 is ready: cloud-init runs (init)"
    assert record.condition(READY).reason == reason
    assert record.condition(RECONCILING).holds is True
    assert state_of(world, "app01") is GuestState.OFF
    told = [event for event in world.journal.events if event.object == APP]
    assert [event.kind for event in told] == [events.CHANGED, events.CONDITION]
    world.show(ANSWERS)
    assert state_of(world, "app01") is GuestState.RUNNING
    assert world.store.records[APP].condition(READY).holds is True
    assert events.DRIFT not in [event.kind for event in world.journal.events]


def test_no_pass_asks_a_guest_for_a_machine_that_waits() -> None:
    world = World(BOOTS)
    asked = len(world.asked)
    add_waiting(world)
    world.clock.sleep(SOONEST)
    world.loop.look_at({APP})
    key = world.loop.queue.take(0)
    assert key is not None
    world.loop.work(*key)
    assert len(world.asked) == asked


def test_it_is_shown_for_what_a_machine_waits_and_since_when() -> None:
    world = World(BOOTS)
    began = world.clock.wall()
    add_waiting(world)
    world.wait(300)
    record = world.store.records[APP]
    assert record.trying_since == round(began)
    assert record.next_try is not None
    page = "".join(
        line.text for line in _find_rest(OverviewEntry(record), world.clock.wall(), error="")
    )
    assert " in 5m" in page
    world.show(ANSWERS)
    assert world.store.records[APP].trying_since is None


def test_what_was_known_of_a_former_boot_starts_nobody() -> None:
    world = World(ANSWERS)
    world.host.change("web01", state=GuestState.OFF, live_xml=None)
    world.host.change("web01", state=GuestState.RUNNING)
    world.host.guests.reports["web01"] = BOOTS
    world.loop.guest_changed("web01")  # libvirt announces it; nobody has looked yet
    world.services.files = {**world.services.files, "app01.yaml": manifest("app01", **AFTER)}
    world.publish(identity="two")
    key = world.loop.queue.take(0)
    while key is not None:
        world.loop.work(*key)
        world.loop.queue.done(key[0])
        key = world.loop.queue.take(0)
    reason = world.store.records[APP].condition(READY).reason
    assert "waits until web01 is ready: its guest was not inspected yet" in reason
    assert state_of(world, "app01") is GuestState.OFF


def test_a_look_that_began_before_the_news_of_a_guest_is_no_reason_to_start_another() -> None:
    world = World(ANSWERS)
    read = world.host.guests.read

    def read_slowly(
        name: str, instance: str = "", probe: Optional[DriverProbe] = None
    ) -> GuestReport:
        report = read(name, instance)
        world.loop.guest_changed("web01")
        return report

    world.host.guests.read = read_slowly  # type: ignore[method-assign]
    world.loop.guests._look(KEY, 0.0)
    assert world.loop.guests.find_view(KEY) is None


def test_a_machine_is_not_started_while_the_other_is_kept_off_by_its_manifest() -> None:
    world = World(ANSWERS)
    world.say(power="stopped")
    record = add_waiting(world)
    assert "starts after web01, which is kept off by its manifest" in record.condition(READY).reason
    world.say(power="running")
    world.services.files = {**world.services.files, "app01.yaml": manifest("app01", **AFTER)}
    world.publish(identity="three")
    world.work()
    world.wait(5)
    assert state_of(world, "app01") is GuestState.RUNNING


def test_a_guest_that_runs_is_not_disturbed_by_one_that_is_not_ready() -> None:
    world = World(ANSWERS)
    add_waiting(world)
    assert state_of(world, "app01") is GuestState.RUNNING
    writes = len(world.host.writes)
    world.show(BOOTS)
    world.loop.look_at({APP})
    world.work()
    assert world.store.records[APP].condition(READY).holds is True
    assert world.host.writes[writes:] == []
    stopped = manifest("app01", **{**AFTER, "power": "stopped"})
    world.services.files = {**world.services.files, "app01.yaml": stopped}
    world.publish(identity="three")
    world.work()
    assert state_of(world, "app01") is GuestState.OFF


def test_a_look_that_libvirt_broke_off_is_made_again_soon_and_then_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(ANSWERS)
    with monkeypatch.context() as patch:

        def fail(name: str, *_rest: Any) -> GuestReport:
            world.asked.append(name)
            raise TransientError(f"domain {name}: asking its guest agent: Broken pipe")

        patch.setattr(world.host.guests, "read", fail)
        world.clock.sleep(SOONEST)
        world.loop.guest_changed("web01")
        world.work()
        assert world.wait(30) in range(3, 6)
        assert world.wait(3600) < 20
        assert "Broken pipe" in world.inside.reasons[0]
    world.show(ANSWERS)
    assert world.inside.ready
