"""Trouble with libvirt, with orders or with the disk is told once and ends nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Dict, List, Mapping, Optional, cast

import pytest

from reconciler.adapters.clock import StoppableClock
from reconciler.control.gauges import LoopGauges
from reconciler.control.loop import Loop
from reconciler.control.ports import News
from reconciler.control.service_ports import HostSigns
from reconciler.control.state import Attempt, LoopServices
from reconciler.control.worker import AFTER_FAULT
from reconciler.core import metrics
from reconciler.core.conditions import READY, RECONCILING, Conditions, failed, fingerprint
from reconciler.core.key import Key
from reconciler.core.machine import Disk, Interface, Machine
from reconciler.core.manifest import Desired, MachineManifest, Place, TemplateManifest
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.records import Record, Suspension
from reconciler.core.settings import Settings
from reconciler.core.world import DomainView, GuestState
from reconciler.daemon import Daemon
from reconciler.errors import NotFoundError, TransientError
from reconciler.kinds.machine.sightings import make_sighting
from tests.lab.keys import vm

from .fakes import CountingMeter, ListJournal, MemoryHistory, MemoryStore

KEY = vm("web01")
MANIFEST = MachineManifest(Machine("web01"), "g1", "{}", Place("web01.yaml", 1, 1))


@dataclass
class Domains:
    """A hypervisor driver without domains, which answers or not."""

    trouble: Optional[Exception] = None
    host: str = "kvm01"
    there: Dict[str, DomainView] = field(default_factory=dict)

    def read_domain(self, name: str) -> DomainView:
        if name not in self.there:
            raise NotFoundError(f"{name} is not there")
        return self.there[name]

    def list_domains(self) -> Mapping[str, Any]:
        if self.trouble is not None:
            raise self.trouble
        return dict(self.there)


@dataclass
class Host:
    """A host of which only that driver is asked."""

    domains: Domains = field(default_factory=Domains)


class SetClock(StoppableClock):
    """A clock that goes on, and whose date stands still."""

    def wall(self) -> float:
        return 1000.0


class Store(MemoryStore):
    """A store whose orders may be unreadable."""

    trouble: Optional[Exception] = None

    def suspended(self) -> Mapping[Key, Suspension]:
        if self.trouble is not None:
            raise self.trouble
        return super().suspended()


@dataclass
class World:
    """A loop and its surroundings."""

    host: Host = field(default_factory=Host)
    store: Store = field(default_factory=Store)
    journal: ListJournal = field(default_factory=ListJournal)
    meter: CountingMeter = field(default_factory=CountingMeter)
    manifest: MachineManifest = MANIFEST

    def make_loop(self, *, publish: bool = True) -> Loop:
        """Return a loop that has a manifest, or none yet."""
        loop = Loop(
            LoopServices(
                host=cast("Any", self.host),
                news=cast("News", None),
                store=self.store,
                journal=self.journal,
                meter=self.meter,
                clock=SetClock(),
                chance=lambda: 0.5,
                history=MemoryHistory(),
            ),
            Settings(),
        )
        if publish:
            loop.publish(ManifestSet("one", Desired.of(self.manifest), revision="one"))
        return loop

    def succeeded(self) -> bool:
        """Whether anything was looked at with success."""
        return (metrics.LAST_SUCCESS, ()) in self.meter.values


@pytest.fixture
def world() -> World:
    return World()


def make_daemon(world: World, loop: Loop) -> Daemon:
    nothing = cast("Any", None)
    return Daemon(
        loop, nothing, nothing, world.journal, StoppableClock(), lambda: 0.5, 300.0, nothing, nothing
    )  # fmt: skip


def test_while_libvirt_is_away_nothing_succeeds(world: World) -> None:
    loop = world.make_loop()
    loop.work(KEY, 0.0)
    assert not world.succeeded()
    assert loop.shared.ledger.get(vm("web01")).conditions[0].holds is None
    loop.reached("qemu")
    loop.resync()
    assert world.succeeded()


def test_a_resync_that_fails_is_told_once_and_is_no_success(world: World) -> None:
    loop = world.make_loop()
    daemon = make_daemon(world, loop)
    world.host.domains.trouble = TransientError("libvirt is away")
    daemon._resync()
    daemon._resync()
    assert world.journal.lines("failed") == ["resync: libvirt is away"]
    assert not world.succeeded()
    world.host.domains.trouble = None
    daemon._resync()
    world.host.domains.trouble = TransientError("libvirt is away")
    daemon._resync()
    assert world.journal.lines("failed") == ["resync: libvirt is away"] * 2


def test_orders_that_cannot_be_read_leave_the_former_ones(world: World) -> None:
    world.store.suspensions[vm("web01")] = Suspension("web01", 1.0)
    loop = world.make_loop()
    world.store.trouble = TransientError("suspended: Permission denied")
    loop.reread_orders()
    loop.reread_orders()
    assert loop.shared.suspended == {vm("web01")}
    [told] = world.journal.lines("failed")
    assert "Permission denied" in told
    world.store.trouble = None
    world.store.suspensions.clear()
    loop.reread_orders()
    assert loop.shared.suspended == frozenset()


def test_a_bug_is_told_counted_and_ends_one_pass_alone(world: World) -> None:
    loop = world.make_loop()
    loop.reached("qemu")
    loop.shared.hosts = {"VirtualMachine": "kvm01"}
    world.host.domains = cast("Any", None)
    loop.work(KEY, 0.0)
    assert world.meter.values[metrics.ERRORS, (("kind", "bug"),)] == 1
    assert world.meter.values[metrics.PASSES, (("result", "again"),)] == 1
    [told] = world.journal.lines("failed")
    assert told.startswith("web01: this is a bug in virt-reconciler")
    loop.queue.close()


def test_after_a_bug_nobody_is_told_that_all_is_well(world: World) -> None:
    conditions = Conditions(ready=True).conditions()
    world.store.records[vm("web01")] = Record("web01", generation="g0", conditions=conditions)
    loop = world.make_loop()
    loop.reached("qemu")
    world.host.domains = cast("Any", None)
    loop.work(KEY, 0.0)
    record = world.store.records[vm("web01")]
    assert record.condition(READY).holds is None
    assert record.condition(RECONCILING).holds
    assert "this is a bug" in record.last_error
    assert record.next_try == 1000 + AFTER_FAULT
    loop.queue.close()


def test_a_resync_looks_at_what_is_not_ready_even_if_its_domain_is_as_it_was(world: World) -> None:
    view = DomainView("web01", "u", GuestState.OFF, "<domain/>")
    world.host.domains.there["web01"] = view
    loop = world.make_loop()
    loop.reached("qemu")
    loop.shared.attempts.succeed(vm("web01"), fingerprint("g1", make_sighting(view).parts))
    # libvirt comes back while a pass still writes down that it is away.
    loop.shared.unreached["qemu"] = "it is away"
    loop.work(KEY, 0.0)
    del loop.shared.unreached["qemu"]
    while loop.queue.take(0) is not None:
        loop.queue.done(KEY)
    loop.resync()
    assert loop.queue.take(0) is not None
    loop.queue.close()


def test_a_machine_of_another_host_is_not_shown_here(world: World) -> None:
    world.manifest = replace(MANIFEST, host="kvm02")
    loop = world.make_loop()
    loop.work(KEY, 0.0)  # whose it is can only be told once libvirt is reached
    loop.reached("qemu")
    loop.work(KEY, 0.0)
    LoopGauges(loop, world.meter).measure()
    assert world.store.records == {}
    assert world.meter.values[metrics.MACHINES, ()] == 0


def test_what_a_machine_has_left_here_is_shown_as_left_alone(world: World) -> None:
    former = Record("web01", "running", uuid="u", seen_at="zero", next_try=5.0)
    world.store.records[vm("web01")] = former
    world.host.domains.there["web01"] = DomainView("web01", "u", GuestState.OFF, "<domain/>")
    world.manifest = replace(MANIFEST, host="kvm02")
    loop = world.make_loop()
    loop.reached("qemu")
    loop.work(KEY, 0.0)
    record = world.store.records[vm("web01")]
    assert (record.state, record.uuid, record.seen_at, record.next_try) == (
        "off",
        "u",
        "zero",
        None,
    )
    assert record.conditions[0].holds is None
    assert "another host" in record.conditions[0].reason
    world.host.domains.there.clear()
    loop.shared.attempts.succeed(vm("web01"), "seen")
    loop.work(KEY, 0.0)
    assert world.store.records == {}
    assert not loop.shared.attempts.is_clean(vm("web01"), "seen")


def test_drivers_that_come_back_at_once_leave_none_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = world.make_loop()
    loop.reached("qemu")
    loop.lost("network", "is away")
    loop.lost("storage", "is away")
    change = loop.shared.ledger.change_source
    waiting: List[Any] = []
    # Each waits for its turn to write, and they take turns in any order.
    monkeypatch.setattr(loop.shared.ledger, "change_source", waiting.append)
    loop.reached("network")
    loop.reached("storage")
    for one in reversed(waiting):
        change(one)
    assert world.store.source.libvirt == ""


def test_the_same_manifests_read_anew_are_held_back_as_before(world: World) -> None:
    loop = world.make_loop()
    loop.shared.ledger.change_source(
        lambda source: replace(source, prune_blocked="too many", prune_held=("a", "b"))
    )
    loop.publish(ManifestSet("one", Desired.of(MANIFEST), revision="one"))  # systemctl reload
    assert world.store.source.prune_held == ("a", "b")
    loop.publish(ManifestSet("two", Desired.of(MANIFEST), revision="two"))
    assert (world.store.source.prune_blocked, world.store.source.prune_held) == ("", ())


def test_libvirt_that_comes_back_this_very_moment_is_no_bug(world: World) -> None:
    class Fleeting(Dict[str, str]):
        """Reasons that are gone once somebody has looked."""

        def __contains__(self, key: object) -> bool:
            return self.pop(cast("str", key), None) is not None

    loop = world.make_loop()
    loop.shared.unreached = Fleeting(qemu="it is away")
    loop.work(KEY, 0.0)
    assert world.journal.lines("failed") == []


def test_what_is_made_from_a_domain_is_tried_again_when_that_changes_and_nothing_else(
    world: World,
) -> None:
    place = MANIFEST.place
    golden = TemplateManifest("golden", place, domain="gold")
    disk = Disk("root", template="golden")
    made = replace(MANIFEST, machine=Machine("made", disks=(disk,)))
    other = replace(MANIFEST, machine=Machine("other"))
    gold = replace(MANIFEST, machine=Machine("gold"))
    loop = world.make_loop()
    loop.publish(ManifestSet("two", Desired.of(made, other, gold, golden)))
    attempts = loop.shared.attempts
    for name in ("made", "other", "gold"):
        attempts.fail(vm(name), Attempt("g1", "seen", "in vain", None))
    loop.domain_changed("gold")  # as it is by its own failed try, too
    assert attempts.find(vm("made"), "g1", "seen") is None
    assert attempts.find(vm("other"), "g1", "seen") is not None
    assert attempts.find(vm("gold"), "g1", "seen") is not None


def test_what_waits_for_the_host_is_tried_again_when_a_pool_or_network_comes(world: World) -> None:
    loop = world.make_loop()
    attempts = loop.shared.attempts
    attempts.fail(vm("web01"), Attempt("g1", "seen", "no such bridge", 10.0))
    conditions = failed("no such bridge", again=True).conditions()
    loop.shared.ledger.put(Record("web01", conditions=conditions))
    loop.surroundings_changed("pool", "a pool that no manifest names")
    assert attempts.find(vm("web01"), "g1", "seen") is None


def test_an_order_to_try_again_is_obeyed_once_whatever_is_known(world: World) -> None:
    loop = world.make_loop()
    attempts = loop.shared.attempts
    attempts.fail(vm("web01"), Attempt("g1", "seen", "in vain", None))
    loop.shared.ledger.put(Record("web01", failures=9))
    while loop.queue.take(0) is not None:
        loop.queue.done(KEY)
    world.store.retries.add(vm("web01"))
    loop.reread_orders()
    assert attempts.find(vm("web01"), "g1", "seen") is None
    assert loop.shared.ledger.get(vm("web01")).failures == 0, "the next wait begins short"
    assert loop.queue.take(0) is not None
    loop.queue.done(KEY)
    loop.reread_orders()
    assert loop.queue.take(0) is None


def test_a_resync_does_not_wait_for_the_next_try_and_leaves_what_only_a_change_mends(
    world: World,
) -> None:
    loop = world.make_loop()
    attempts = loop.shared.attempts
    for until in (10.0, None):
        attempts.fail(vm("web01"), Attempt("g1", "seen", "in vain", until))
        loop.resync()
        assert (attempts.find(vm("web01"), "g1", "seen") is None) is (until is not None)


def test_what_waits_is_tried_again_when_its_bridge_or_a_mount_comes(world: World) -> None:
    lan = Interface("lan", bridge="br0")
    world.manifest = replace(MANIFEST, machine=Machine("web01", interfaces=(lan,)))
    loop = world.make_loop()
    seen = [
        HostSigns(frozenset({"lo"}), "a"),
        HostSigns(frozenset({"lo", "vnet7"}), "a"),  # another guest's
        HostSigns(frozenset({"lo", "vnet7", "br0"}), "a"),
        HostSigns(frozenset({"lo", "vnet7", "br0"}), "a and a share"),
    ]
    tried = []
    for signs in seen:
        loop.shared.services = replace(loop.shared.services, signs=partial(replace, signs))
        loop.shared.attempts.fail(vm("web01"), Attempt("g1", "seen", "no such bridge", 10.0))
        conditions = failed("no such bridge", again=True).conditions()
        loop.shared.ledger.put(Record("web01", conditions=conditions))
        loop.look_around()
        tried.append(loop.shared.attempts.find(vm("web01"), "g1", "seen") is None)
    assert tried == [False, False, True, True]
