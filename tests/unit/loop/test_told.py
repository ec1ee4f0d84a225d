"""What the journal is told: everything that went wrong, as a warning or worse, and once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, List, cast

import pytest

from reconciler.control.gauges import LoopGauges
from reconciler.control.journal_reporter import JournalReporter
from reconciler.core import metrics
from reconciler.core.conditions import Conditions, failed
from reconciler.core.events import Level
from reconciler.core.machine import Cpus, Machine, Memory
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.overview import summarise
from reconciler.core.plan import Action, ActionKind, Change, Effect, Outcome
from reconciler.core.records import Record, SourceRecord
from reconciler.errors import TransientError
from tests.lab.keys import vm
from tests.unit.corpus.worlds import read_world
from tests.unit.memory_host import MemoryHost

from .fakes import CountingMeter, ListJournal
from .test_trouble import MANIFEST, Store, World


def warnings(journal: ListJournal) -> List[str]:
    """Return what `journalctl -p warning` shows."""
    return [
        event.message for event in journal.events if event.kind.level.value <= Level.WARNING.value
    ]


def test_what_is_stalled_by_its_plan_is_told_as_an_error_once() -> None:
    recorded = read_world("numa")
    host = MemoryHost(recorded.snapshot)
    [stalled] = recorded.plan(host).actions
    [manifest] = recorded.desired.machines
    world = World(host=cast("Any", host), manifest=manifest)
    loop = world.make_loop()
    loop.reached("qemu")
    for _ in range(2):
        loop.work(manifest.key, 0.0)
    assert stalled.reason.startswith("cpus: the domain has NUMA cells")
    assert warnings(world.journal) == [stalled.reason]


def test_a_machine_that_is_not_as_wanted_without_a_failure_is_a_warning(world: World) -> None:
    loop = world.make_loop()
    verdict = Conditions(ready=False, reason="withheld: lifecycle.disruption is never")
    loop.shared.ledger.put(Record("web01", conditions=verdict.conditions()))
    assert warnings(world.journal) == ["Ready is False: withheld: lifecycle.disruption is never"]


def test_what_failed_is_not_a_warning_once_more(world: World) -> None:
    loop = world.make_loop()
    conditions = failed("refused", again=False).conditions()
    loop.shared.ledger.put(Record("web01", conditions=conditions, last_error="refused"))
    assert warnings(world.journal) == []
    told = world.journal.lines("condition")
    assert told[-1].endswith("once that is changed: virt-reconciler retry web01")


@pytest.mark.parametrize("drift", [True, False])
def test_drift_is_told_apart_and_values_are_in_the_manifests_units(drift: bool) -> None:
    journal = ListJournal()
    telling = JournalReporter(journal, CountingMeter(), "r", drift, lambda _key, _text: None)
    change = Change("memory.size", 2**30, 2**31, Effect.NEXT_BOOT)
    telling.started(Action("VirtualMachine", "web01", ActionKind.UPDATE, (change,)))
    telling.finished(Outcome("web01", ActionKind.UPDATE))
    [event] = journal.events
    assert event.message.startswith("memory.size: 1GiB -> 2GiB")
    assert (event.kind.name == "drift") is drift
    assert ("someone had changed it" in event.message) is drift
    assert bool(warnings(journal)) is drift


def gauge(world: World, name: str, **labels: str) -> float:
    return world.meter.values[name, tuple(sorted(labels.items()))]


def test_gauges_are_right_from_the_first_scrape_after_a_restart(world: World) -> None:
    conditions = failed("refused", again=False).conditions()
    world.store.records[vm("web01")] = Record("web01", generation="g1", conditions=conditions)
    world.store.source = SourceRecord("one", "one", 900.0, prune_blocked="too many")
    loop = world.make_loop(publish=False)
    measuring = LoopGauges(loop, world.meter)
    measuring.measure()
    assert gauge(world, metrics.STALLED) == 1
    assert gauge(world, metrics.MACHINES) == 1
    assert gauge(world, metrics.PRUNE_BLOCKED) == 1
    assert gauge(world, metrics.SOURCE_CHANGED) == 900
    assert gauge(world, metrics.LAST_SUCCESS) == 1000
    assert gauge(world, metrics.SOURCE_INFO, revision="one") == 1
    assert gauge(world, metrics.LIBVIRT_CONNECTED, driver="storage") == 0
    loop.publish(ManifestSet("one", Desired.of(MANIFEST), revision="one"))
    measuring.measure()
    assert gauge(world, metrics.STALLED) == 1


def test_gauges_follow_manifests_that_change_no_record(world: World) -> None:
    conditions = Conditions(ready=True).conditions()
    world.store.records[vm("web01")] = Record("web01", generation="g1", conditions=conditions)
    loop = world.make_loop(publish=False)
    measuring = LoopGauges(loop, world.meter)
    measuring.measure()
    other = replace(MANIFEST, machine=Machine("web02", cpus=Cpus(count=1), memory=Memory(2**30)))
    loop.shared.wanted.replace(ManifestSet("two", Desired.of(other)))
    measuring.measure()
    assert gauge(world, metrics.READY_MACHINES) == 0


@pytest.fixture
def world() -> World:
    return World()


class FullStore(Store):
    """A store on a disk that is full, or was."""

    is_full = True

    def touch(self) -> None:
        if self.is_full:
            raise TransientError("/state: cannot be written: No space left on device")

    def save_record(self, record: Record) -> None:
        self.touch()
        super().save_record(record)

    def save_source(self, record: SourceRecord) -> None:
        self.touch()
        super().save_source(record)


def test_a_daemon_without_a_memory_says_so_once_works_and_writes_when_it_can(world: World) -> None:
    world.store = store = FullStore()
    loop = world.make_loop()
    measuring, ledger = LoopGauges(loop, world.meter), loop.shared.ledger
    ledger.put(Record("web01", conditions=Conditions(ready=True).conditions()))
    measuring.measure()
    assert warnings(world.journal) == [
        "the daemon runs without its state folder: /state: cannot be written: No space left on device"
    ]
    assert gauge(world, metrics.STATE_FAILING) == 1
    assert "runs without its state folder" in summarise(ledger.all(), ledger.source, ledger.trouble)
    assert ledger.get(vm("web01")).condition("Ready").holds
    store.is_full = False
    store.records[vm("gone")] = Record("gone")
    ledger.save_rest()
    measuring.measure()
    assert gauge(world, metrics.STATE_FAILING) == 0
    assert set(store.records) == {vm("web01")}
    assert store.source.revision == "one"
