"""The daemon: threads, signals, timers and signs of life around the loop. No domain logic.

The main thread only waits: for signals, and for the time to say that the loop is alive, which it
says when a probe has come through the queue and a worker, and every thread is still there. Where
all workers are taken up by long work no probe comes through, and it counts that the work goes on.
"""

from __future__ import annotations

import queue
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Callable, List, Optional, Protocol, Tuple

from reconciler.control.journal_reporter import TroubleReporter
from reconciler.control.loop import Loop
from reconciler.control.ports import Clock
from reconciler.control.service_ports import Journal, Supervisor
from reconciler.core import events
from reconciler.core.conditions import spread
from reconciler.core.events import Event
from reconciler.core.overview import summarise
from reconciler.errors import ReconcilerError

# Seconds that running work gets to end; longer work is gone on with at the next start.
STOP_LIMIT = 45.0
# Seconds between two looks at what a person has ordered, and between two at what is counted.
ORDERS = 2.0
TICK = 10.0
# Seconds that a former look at the manifests may go on; a fetch that hangs is ended before.
HANDOVER = 180.0
# Seconds after which a resync hangs in libvirt, and only a new connection helps.
RESYNC_LIMIT = 300.0
# How many intervals a probe may take: work that hangs gives its lane back before.
PATIENCE = 2


class Follower(Protocol):
    """What brings the manifests; `run` returns after `stop`."""

    def run(self) -> None:
        """Follow the manifests."""

    def stop(self) -> None:
        """End `run`."""


class DaemonClock(Clock, Protocol):
    """A clock whose sleepers are woken when the daemon stops."""

    @property
    def slept(self) -> float:
        """Return when anybody last began to sleep; 0 if nobody did."""

    def stop(self) -> None:
        """Wake all sleepers, who raise StoppingError."""


@dataclass
class Daemon:
    """One run of the daemon.

    `reload` returns a new follower and the settings that wait for a restart, or raises if the
    settings are wrong.
    `resync` is seconds between two looks at every domain; `measure` updates what is counted.
    """

    loop: Loop
    follower: Follower
    supervisor: Supervisor
    journal: Journal
    clock: DaemonClock
    chance: Callable[[], float]
    resync: float
    reload: Callable[[], Tuple[Follower, Tuple[str, ...]]]
    measure: Callable[[], None]
    _threads: List[threading.Thread] = field(default_factory=list)
    # Not an Event: a signal may come while its lock is held, and would wait for it for ever.
    _woken: queue.SimpleQueue[None] = field(default_factory=queue.SimpleQueue)
    _ticked: float = field(init=False)
    _shown: int = -1
    _stopping: bool = False
    _reloading: bool = False
    _follower_thread: Optional[threading.Thread] = None
    _resyncing: TroubleReporter = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no trouble told."""
        self._ticked = self.clock.now()
        self._resyncing = TroubleReporter(self.journal, "resync")

    def run(self) -> int:
        """Run until a signal says to stop; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._take_signal)
        self.loop.shared.services.news.start(self.loop)
        self._start(self.loop.lanes.run, "lanes")
        self._start(self.loop.guests.lanes.run, "guests")
        self._start(self._tick, "timers")
        self._follow(self.follower)
        self.supervisor.ready()
        self._tell(events.STARTED, "started")
        status = self._wait()
        self._stop()
        return status

    def _take_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._reloading = True
        else:
            self._stopping = True
        self._woken.put(None)

    def _wait(self) -> int:
        """Give signs of life until the end."""
        interval = min(self.supervisor.watchdog_interval or TICK, TICK)
        self.loop.probe()
        while not self._stopping:
            with suppress(queue.Empty):
                self._woken.get(timeout=interval)
            if self._reloading:
                self._reload()
            if not self._are_all_there():
                self._tell(events.FAILED, "a thread of the loop has ended; stopping")
                return 1
            self._show_status()
            if self._is_alive(PATIENCE * interval):
                self.supervisor.alive()
                self.loop.probe()
        return 0

    def _are_all_there(self) -> bool:
        threads = [thread for thread in [*self._threads, self._follower_thread] if thread]
        return (
            all(thread.is_alive() for thread in threads)
            and self.loop.shared.services.news.is_alive()
        )

    def _is_alive(self, patience: float) -> bool:
        now = self.clock.now()
        return now - self._find_last_sign() < patience and now - self._ticked < RESYNC_LIMIT

    def _find_last_sign(self) -> float:
        """Return when the loop last showed that it is alive."""
        probed = self.loop.work.probed
        if not self.loop.lanes.is_full():
            return probed
        return max(probed, self.loop.shared.moved, self.clock.slept)

    def _show_status(self) -> None:
        ledger = self.loop.shared.ledger
        if ledger.version != self._shown:
            self._shown = ledger.version
            self.supervisor.status(summarise(ledger.all(), ledger.source, ledger.trouble))

    def _reload(self) -> None:
        """Read the settings anew; wrong ones change nothing. Everything is tried once more."""
        self._reloading = False
        self.supervisor.reloading()
        try:
            follower, restart_needed = self.reload()
        except ReconcilerError as error:
            waiting = self.loop.shared.ledger.source.restart_needed
            self.loop.configured(_shorten(error), waiting)
        else:
            self.follower.stop()
            self._follow(follower)
            self.loop.configured("", restart_needed)
        self.loop.retry_all()
        self.supervisor.ready()

    def _follow(self, follower: Follower) -> None:
        """Follow from when the former one has ended: both use the same repository."""
        former = self._follower_thread

        def run() -> None:
            if former is not None:
                former.join(HANDOVER)
            follower.run()

        self.follower = follower
        self._follower_thread = threading.Thread(target=run, name="manifests", daemon=True)
        self._follower_thread.start()

    def _tick(self) -> None:
        """Resync when it is due, and look at what has no event."""
        due, measured = self.clock.now() + spread(self.resync, self.chance()), 0.0
        while not self._stopping:
            self._ticked = self.clock.now()
            if self.loop.resync_due.wait(min(ORDERS, max(due - self.clock.now(), 0))):
                due = 0
                self.loop.resync_due.clear()
            self.loop.reread_orders()
            self.loop.look_around()
            self.loop.shared.ledger.save_rest()
            if self.clock.now() >= measured + TICK:
                measured = self.clock.now()
                self.measure()
            if self.clock.now() >= due:
                due = self.clock.now() + spread(self.resync, self.chance())
                self._resync()

    def _resync(self) -> None:
        self._resyncing.run(self.loop.resync)

    def _stop(self) -> None:
        self._stopping = True
        self.supervisor.stopping()
        self._tell(events.STOPPING, "stopping")
        self.follower.stop()
        self.loop.queue.close()
        self.loop.guests.queue.close()
        self.clock.stop()
        if not self.loop.queue.wait_idle(STOP_LIMIT):
            self._tell(events.STOPPING, "unfinished work resumes at the next start")
        self.loop.shared.services.news.stop()

    def _start(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _tell(self, kind: events.EventKind, text: str) -> None:
        self.journal.tell(Event(kind, text))


def _shorten(error: ReconcilerError) -> str:
    """Return the first problem, and how many more there are."""
    first, *more = str(error).splitlines()
    return f"{first} (and {len(more)} more)" if more else first
