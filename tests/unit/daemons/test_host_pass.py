"""The pass over the host's daemons in the daemon's loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Tuple, cast

import pytest

from reconciler.control.ledger import Ledger
from reconciler.control.ports import Host, News
from reconciler.control.state import LoopServices, LoopState
from reconciler.core.conditions import Done, Stalled
from reconciler.core.libvirt_daemons import DaemonsView, Unit
from reconciler.core.manifest import Desired, HostManifest
from reconciler.core.manifest_sets import InForce, ManifestSet, merge
from reconciler.errors import Problem
from reconciler.kinds.host.host_pass import HostPass
from tests.unit.cli.fakes import FakeClock
from tests.unit.daemons.test_host_plan import FakeUnits
from tests.unit.daemons.views import LISTENING, host, modular
from tests.unit.loop.fakes import CountingMeter, ListJournal, MemoryHistory, MemoryStore

STOPPED = Unit("loaded", "inactive", "enabled")


@dataclass(frozen=True)
class Daemonless:
    """A host of which only the units can be reached."""

    units: FakeUnits

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name}: libvirt is not needed for this")


def make_pass(seen: DaemonsView, *hosts: HostManifest) -> Tuple[HostPass, FakeUnits, ListJournal]:
    """Return a pass over a host with these daemons, where these manifests are in force."""
    units, store, journal = FakeUnits(seen), MemoryStore(), ListJournal()
    parts = LoopServices(
        cast("Host", Daemonless(units)),
        cast("News", None),
        store,
        journal,
        CountingMeter(),
        FakeClock(),
        lambda: 0.0,
        lambda: 0.0,
        MemoryHistory(),
    )
    shared = LoopState(parts, Ledger(store, journal))
    shared.wanted.replace(ManifestSet("one", Desired.of(*hosts), revision="one"))
    return HostPass(shared), units, journal


def test_what_is_stopped_is_started_and_told() -> None:
    one, units, journal = make_pass(modular(virtnetworkd_socket=STOPPED), host())
    assert one.run() == Done()
    assert units.told == [("start", ("virtnetworkd.socket",))]
    assert journal.lines("changed") == [
        "kvm01: daemons[virtnetworkd].socket: enabled, stopped -> enabled, listening"
    ]


def test_what_is_only_checked_is_told_once_and_when_it_is_over() -> None:
    one, units, journal = make_pass(
        modular(virtnetworkd_socket=STOPPED), replace(host(), ensure=False)
    )
    assert [one.run(), one.run()] == [Done(), Done()]
    units.seen = modular()
    one.run()
    first, last = journal.lines("condition")
    assert "daemons[virtnetworkd].socket: the Host sets `action: check`" in first
    assert last == "kvm01: nothing is withheld any more"
    assert units.told == []


def test_what_cannot_be_put_right_is_told_once_and_not_tried_in_a_loop() -> None:
    one, units, journal = make_pass(modular(virtnetworkd_socket=STOPPED), host())
    units.works = False
    assert [one.run(), one.run()] == [Stalled("systemctl: job failed")] * 2
    assert journal.lines("failed") == ["kvm01: systemctl: job failed"]


@pytest.mark.parametrize(
    "hosts", [pytest.param((), id="none"), pytest.param((host(selector=("kvm02",)),), id="another")]
)
def test_without_a_manifest_for_this_host_nothing_is_done(hosts: Tuple[HostManifest, ...]) -> None:
    one, units, journal = make_pass(modular(libvirtd_socket=LISTENING), *hosts)
    assert (one.run(), units.told, journal.events) == (Done(), [], [])


def test_a_host_whose_manifest_became_invalid_stays_in_force() -> None:
    before = merge(InForce(), ManifestSet("one", Desired.of(host())))
    broken = ManifestSet("two", Desired(), (Problem("host.yaml", 1, 1, "", "wrong"),))
    assert merge(before, broken).hosts == (host(),)
    assert merge(before, ManifestSet("three", Desired())).hosts == ()
