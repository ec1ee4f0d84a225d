"""Signals at any moment, and what happens around the loop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, List, Mapping, Tuple, cast

import pytest

from reconciler import daemon as module
from reconciler.adapters.clock import StoppableClock
from reconciler.control import queue
from reconciler.control.journal_reporter import JournalReporter
from reconciler.control.loop import Loop
from reconciler.control.ports import Listener
from reconciler.core.overview import summarise
from reconciler.core.plan import Action, ActionKind
from reconciler.daemon import Daemon, Follower
from reconciler.errors import UsageError
from tests.lab.keys import vm

from .fakes import ListJournal
from .test_trouble import Domains, Host, World

LIMIT = 20.0  # seconds


class Supervisor:
    """A service manager that notes what it was told."""

    watchdog_interval = 0.0

    def __init__(self) -> None:
        self.told: List[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.told.append(name)


def refuse() -> Tuple[Follower, Tuple[str, ...]]:
    raise UsageError("the settings are wrong")


@dataclass
class News:
    """News that come, or do no more."""

    alive: bool = True

    def start(self, listener: Listener) -> None:
        """Do nothing."""

    def is_alive(self) -> bool:
        return self.alive

    def stop(self) -> None:
        """Do nothing."""


def make_daemon(loop: Loop) -> Daemon:
    """Return a daemon whose settings cannot be read anew."""
    loop.shared.services = replace(loop.shared.services, news=News())
    nothing, supervisor = cast("Any", None), cast("Any", Supervisor())
    return Daemon(
        loop, nothing, supervisor, ListJournal(), StoppableClock(), lambda: 0.5, 300.0, refuse, nothing
    )  # fmt: skip


def test_a_signal_is_taken_whatever_it_interrupts() -> None:
    daemon = make_daemon(World().make_loop())
    signals = [signal.SIGHUP] * 500

    def interrupt(_frame: object, _event: str, _value: object) -> Any:
        """Stand in for a signal at each line that is run."""
        daemon._take_signal(signals.pop() if signals else signal.SIGTERM, None)
        return interrupt

    def wait() -> None:
        sys.settrace(interrupt)
        daemon._wait()

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(LIMIT)
    assert not waiting.is_alive()


class Fetching:
    """A follower that is in the middle of a fetch, and one that notes that it began."""

    def __init__(self) -> None:
        self.begun, self.fetched = threading.Event(), threading.Event()

    def run(self) -> None:
        self.begun.set()
        self.fetched.wait(LIMIT)

    def stop(self) -> None:
        """Have the fetch go on all the same."""


def test_a_reload_during_a_fetch_lets_it_end_first() -> None:
    daemon = make_daemon(World().make_loop())
    former, new = Fetching(), Fetching()
    daemon._follow(former)
    assert former.begun.wait(LIMIT)
    daemon.reload = lambda: (new, ("state",))
    daemon._reload()
    assert daemon.follower is new
    source = daemon.loop.shared.ledger.source
    assert source.restart_needed == ("state",)
    assert source.configuration == ""
    assert not new.begun.wait(0.2)  # for nothing would tell that it is never to come
    former.fetched.set()
    assert new.begun.wait(LIMIT)
    new.fetched.set()


def test_a_reload_that_is_refused_is_shown_until_one_is_not() -> None:
    daemon = make_daemon(World().make_loop())
    daemon._reload()
    ledger, journal = daemon.loop.shared.ledger, daemon.loop.shared.services.journal
    assert ledger.source.configuration == "the settings are wrong"
    [told] = cast("ListJournal", journal).lines("failed")
    assert told.startswith(
        "configuration not reloaded, the former one stays in force: the settings are"
    )
    assert told.endswith("virt-reconciler config check")
    assert "configuration not reloaded" in summarise({}, ledger.source)
    daemon.reload = lambda: (Fetching(), ())
    daemon.follower = Fetching()
    daemon._reload()
    assert ledger.source.configuration == ""


def test_long_work_that_takes_up_every_lane_is_no_stuck_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue, "MOST", 1)
    loop = World().make_loop()
    daemon = make_daemon(loop)
    clone = JournalReporter(daemon.journal, cast("Any", None), None, False, loop.shared.move)
    clone.started(Action("VirtualMachine", "web01", ActionKind.CREATE))
    loop.work.probed = 0.0  # no probe has come through since
    begun = time.monotonic()

    clone.progress("copying", 1, 2)
    assert daemon._find_last_sign() == 0.0, "there are lanes, so the probe should have come"
    loop.lanes._begun[vm("web01")] = begun
    assert daemon._find_last_sign() >= begun, "a clone goes on"
    loop.shared.moved = 0.0
    assert daemon._find_last_sign() == 0.0, "a call that hangs is no work that goes on"
    daemon.clock.sleep(0)
    assert daemon._find_last_sign() >= begun, "a guest is waited for"


def test_a_daemon_that_would_never_hear_of_libvirt_again_ends_to_be_started_anew() -> None:
    daemon = make_daemon(World().make_loop())
    daemon.loop.shared.services = replace(daemon.loop.shared.services, news=News(alive=False))
    daemon._take_signal(signal.SIGHUP, None)  # so that nobody waits
    assert daemon._wait() == 1
    assert "a thread of the loop has ended; stopping" in cast("Any", daemon.journal).lines("failed")


def test_a_resync_that_hangs_ends_the_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()

    class HangingDomains(Domains):
        """A hypervisor driver that does not answer yet."""

        def list_domains(self) -> Mapping[str, Any]:
            asked.set()
            answered.wait(LIMIT)
            return super().list_domains()

    loop = World(Host(HangingDomains())).make_loop()
    loop.reached("qemu")
    daemon = make_daemon(loop)
    daemon.measure = lambda: None
    daemon.loop.resync_due.set()
    ticking = threading.Thread(target=daemon._tick, daemon=True)
    assert daemon._is_alive(LIMIT)
    ticking.start()
    assert asked.wait(LIMIT)
    monkeypatch.setattr(module, "RESYNC_LIMIT", 0.05)
    deadline = time.monotonic() + LIMIT
    while daemon._is_alive(LIMIT) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not daemon._is_alive(LIMIT)
    daemon._stopping = True
    daemon.loop.resync_due.set()
    answered.set()
    ticking.join(LIMIT)
