"""This host in the daemon's loop: its daemons are looked at like any other object."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Tuple, cast

import pytest

from reconciler.control.loop import Loop
from reconciler.control.ports import Host, News
from reconciler.control.state import LoopServices
from reconciler.core.conditions import READY, STALLED
from reconciler.core.key import Key
from reconciler.core.libvirt_daemons import DaemonsView, Unit
from reconciler.core.manifest import Desired, HostManifest
from reconciler.core.manifest_files import InForce, ManifestSet, merge
from reconciler.core.records import Record, Suspension
from reconciler.core.settings import Settings
from reconciler.core.world import Unknown
from reconciler.errors import Problem, TransientError
from tests.unit.daemons.test_host_plan import FakeUnits
from tests.unit.daemons.views import LISTENING, host, modular
from tests.unit.fake_clock import FakeClock
from tests.unit.loop.fakes import CountingMeter, ListJournal, MemoryHistory, MemoryStore

STOPPED = Unit("loaded", "inactive", "enabled")
KEY = Key("Host", "kvm01")


@dataclass(frozen=True)
class Daemonless:
    """A host of which only the units can be reached."""

    units: FakeUnits

    @property
    def domains(self) -> Any:
        """Return nothing."""
        raise TransientError("libvirt is away")


@dataclass
class Site:
    """A loop over a host of which libvirt is away."""

    units: FakeUnits
    store: MemoryStore = field(default_factory=MemoryStore)
    journal: ListJournal = field(default_factory=ListJournal)
    history: MemoryHistory = field(default_factory=MemoryHistory)

    def __post_init__(self) -> None:
        """Make the loop."""
        services = LoopServices(
            host=cast("Host", Daemonless(self.units)),
            news=cast("News", None),
            store=self.store,
            journal=self.journal,
            meter=CountingMeter(),
            clock=FakeClock(),
            chance=lambda: 0.0,
            history=self.history,
        )
        self.loop = Loop(services, Settings())

    def resync(self) -> None:
        """List everything, as far as that is possible."""
        with pytest.raises(TransientError, match="libvirt is away"):
            self.loop.resync()

    def look(self) -> Record:
        """Have the host looked at once, and return what is known of it then."""
        self.loop.work(KEY, 0.0)
        return self.loop.shared.ledger.get(KEY)


def make_site(seen: DaemonsView, *hosts: HostManifest) -> Site:
    """Return a host with these daemons, where these manifests are in force."""
    site = Site(FakeUnits(seen))
    site.loop.publish(ManifestSet("one", Desired.of(*hosts), revision="one"))
    return site


def test_what_is_stopped_is_started_told_and_remembered_with_what_was_before() -> None:
    site = make_site(modular(virtnetworkd_socket=STOPPED), host())
    record = site.look()
    assert record.condition(READY).holds
    assert (record.kind, record.state, record.guest) == ("Host", "up", "modular daemons")
    assert record.last_change is not None
    assert site.units.told == [("start", ("virtnetworkd.socket",))]
    assert site.journal.lines("changed") == [
        "host/kvm01: daemons[virtnetworkd].socket: enabled, stopped -> enabled, listening"
    ]
    [entry] = site.history.list(KEY)
    [change] = entry.changes
    assert (entry.outcome, entry.cause.revision) == ("done", "one")
    assert (change.observed, change.desired) == ("enabled, stopped", "enabled, listening")


def test_what_is_only_checked_is_told_once_and_when_it_is_over() -> None:
    site = make_site(modular(virtnetworkd_socket=STOPPED), replace(host(), ensure=False))
    assert [site.look().condition(READY).holds for _ in range(2)] == [False, False]
    [told] = site.journal.lines("not-ready")
    assert "daemons[virtnetworkd].socket: the Host sets `action: check`" in told
    site.units.seen = modular()
    assert site.look().condition(READY).holds
    assert site.journal.lines("condition")[-1] == "host/kvm01: Ready is True"
    assert site.units.told == []


def test_what_cannot_be_put_right_is_told_once_and_not_tried_in_a_loop() -> None:
    site = make_site(modular(virtnetworkd_socket=STOPPED), host())
    site.units.works = False
    assert [site.look().condition(STALLED).holds for _ in range(2)] == [True, True]
    assert site.journal.lines("failed") == ["host/kvm01: systemctl: job failed"]
    assert len(site.units.told) == 1
    assert [entry.outcome for entry in site.history.list(KEY)] == ["failed"]


def test_a_person_has_it_tried_again() -> None:
    site = make_site(modular(virtnetworkd_socket=STOPPED), host())
    site.units.works = False
    site.look()
    site.units.works = True
    site.store.retries.add(KEY)
    site.loop.reread_orders()
    assert site.look().condition(READY).holds


def test_a_suspended_host_is_left_alone_until_it_is_resumed() -> None:
    site = make_site(modular(virtnetworkd_socket=STOPPED), host())
    site.store.suspensions[KEY] = Suspension("kvm01", 1.0, kind="Host")
    site.loop.reread_orders()
    assert site.look().condition(READY).reason == "suspended"
    assert site.units.told == []
    site.store.suspensions.clear()
    site.loop.reread_orders()
    assert site.look().condition(READY).holds


def test_a_resync_looks_again_only_if_a_daemon_has_changed() -> None:
    site = make_site(modular(), host())
    site.loop.queue.take(0)
    site.look()
    site.loop.queue.done(KEY)
    site.resync()
    assert len(site.loop.queue) == 0
    site.units.seen = modular(virtnetworkd_socket=STOPPED)
    site.resync()
    assert len(site.loop.queue) == 1


def test_a_host_whose_daemons_cannot_be_inspected_is_not_known() -> None:
    site = make_site(modular(), host())
    site.units.observe = lambda: Unknown("systemctl is not there")  # type: ignore[method-assign,assignment,return-value]
    record = site.look()
    assert record.condition(READY).holds is None
    assert "cannot be inspected: systemctl is not there" in record.condition(READY).reason


def test_a_host_without_a_manifest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(modular(), host())
    domains = SimpleNamespace(host="kvm01", list_domains=dict)
    monkeypatch.setattr(Daemonless, "domains", domains)
    site.look()
    site.loop.publish(ManifestSet("two", Desired(), revision="two"))
    site.loop.resync()
    assert site.loop.shared.ledger.all() == {}


@pytest.mark.parametrize(
    "hosts", [pytest.param((), id="none"), pytest.param((host(selector=("kvm02",)),), id="another")]
)
def test_without_a_manifest_for_this_host_nothing_is_done(hosts: Tuple[HostManifest, ...]) -> None:
    site = make_site(modular(libvirtd_socket=LISTENING), *hosts)
    site.look()
    assert (site.units.told, site.store.records) == ([], {})
    assert {event.kind.name for event in site.journal.events} == {"revision"}


def test_a_host_whose_manifest_became_invalid_stays_in_force() -> None:
    before = merge(InForce(), ManifestSet("one", Desired.of(host())))
    broken = ManifestSet("two", Desired(), (Problem("host.yaml", 1, 1, "", "wrong"),))
    assert merge(before, broken).desired.hosts == (host(),)
    assert merge(before, ManifestSet("three", Desired())).desired.hosts == ()
