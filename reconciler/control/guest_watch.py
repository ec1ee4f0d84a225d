"""Look into guests, beside the loop: in lanes of their own, which no pass ever waits for.

What is found is information, for people and for what waits for a guest. A guest that does not
answer is asked less and less, and at last no more, until its agent reconnects, it restarts, or
somebody says so.
"""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, Optional

from reconciler.control.queue import Lanes, WorkQueue
from reconciler.control.state import LoopState
from reconciler.core import metrics
from reconciler.core.conditions import READY, find_delay, spread
from reconciler.core.faults import contain
from reconciler.core.frozen import replace
from reconciler.core.guest import AgentState, GuestView
from reconciler.core.key import Key, show_key
from reconciler.core.world import Unknown
from reconciler.errors import NotFoundError, ReconcilerError
from reconciler.kinds.api import find_kind

LANES = 4  # looks at a time, however long they last: libvirt serves 5 calls of a connection
SOONEST = 2.0  # seconds between two looks into one guest, whatever it announces
PROBE = 10.0  # until the next look into one whose bus is changed
REFRESH = 600.0  # until the next look into one that is ready
MOST_BOOTING = 20.0  # into one that is about to be ready
MOST_WAIT = 300.0
MOST_SILENT = 10  # looks in a row, over a quarter of an hour, that an agent did not answer


@dataclass
class _Looked:
    """When a guest was last looked into, and how often in a row that did not help.

    `failures` are looks in a row that libvirt broke off. `view` is what was seen last; one that was
    ready is forgotten at the next news of the guest.
    """

    at: float = float("-inf")
    tries: int = 0
    silent: int = 0
    failures: int = 0
    view: Optional[GuestView] = None


class GuestWatch:
    """Whose guests are looked into, when, and what is to be done where something was found."""

    def __init__(self, shared: LoopState) -> None:
        """Begin with no guest."""
        self._shared = shared
        clock = shared.services.clock
        self.queue: WorkQueue[Key] = WorkQueue(clock.now)
        self.lanes: Lanes[Key] = Lanes(self.queue, self._look, LANES, clock.now, most=LANES)
        self._lock = threading.Lock()
        self._followed: FrozenSet[Key] = frozenset()
        self._looked: Dict[Key, _Looked] = {}

    def follow(self) -> None:
        """Take up the guests of the manifests in force that are new, and let go of the others."""
        objects = self._shared.wanted.in_force.objects
        now = frozenset(
            key for key, manifest in objects.items() if find_kind(key.kind).has_guest(manifest)
        )
        with self._lock:
            former, self._followed = self._followed, now
            for key in former - now:
                self._looked.pop(key, None)
        for key in sorted(former - now):
            self._shared.ledger.show_inside(key, None)
        self.wake(now - former)

    def wake(self, keys: Iterable[Key]) -> None:
        """Look into these guests again soon, as if for the first time: something has happened."""
        now = self._shared.services.clock.now()
        with self._lock:
            awake = sorted(self._followed.intersection(keys))
            waits = {}
            for key in awake:
                last = self._looked.get(key, _Looked())
                view = None if last.view is None or last.view.ready else last.view
                self._looked[key] = _Looked(at=last.at, view=view)
                waits[key] = max(last.at + SOONEST - now, 0.0)
        for key, wait in waits.items():
            self.queue.add_after(key, wait)

    def wake_all(self) -> None:
        """Look into all of them: what has happened meanwhile is not known."""
        self.wake(self._followed)

    def find_view(self, key: Key) -> Optional[GuestView]:
        """Return what was seen of a guest last; if it was ready, since the last news of it.

        What is remembered from before, of another boot even, is no reason to start another guest.
        """
        with self._lock:
            looked = self._looked.get(key)
            return None if looked is None else looked.view

    def _look(self, key: Key, _waited: float) -> None:
        """Look into one guest, and say when to look again. Never raises."""
        try:
            wait = contain(self._look_inside, key)
        except ReconcilerError as error:
            self._shared.ledger.show_inside(key, GuestView(None, (str(error),)))
            wait = self._count_failure(key)
        if wait is not None:
            self.queue.add_after(key, spread(wait, self._shared.services.chance()))

    def _count_failure(self, key: Key) -> float:
        """Return when to look again: soon at first, a libvirt that was restarted is back soon."""
        with self._lock:
            looked = self._looked.setdefault(key, _Looked())
            looked.failures += 1
            return find_delay(looked.failures, 0.0, MOST_WAIT)

    def _look_inside(self, key: Key) -> Optional[float]:
        """Return after how many seconds to look again; None: when it is woken."""
        manifest = self._shared.wanted.in_force.objects.get(key)
        kind = find_kind(key.kind)
        if manifest is None or not kind.has_guest(manifest):
            return None
        if self._shared.find_unreached(kind):
            return None  # it is woken when libvirt is reached
        host = self._shared.find_host(kind)
        if isinstance(host, Unknown) or not kind.is_here(manifest, host):
            self._shared.ledger.show_inside(key, None)
            return None
        services, begun = self._shared.services, self._shared.services.clock.now()
        with self._lock:
            looked = self._looked.setdefault(key, _Looked())
        try:
            view = kind.look_inside(services.host, manifest)
        except NotFoundError:
            self._shared.ledger.show_inside(key, None)
            return None
        finally:
            services.meter.observe(metrics.GUEST_LOOK, services.clock.now() - begun)
        return self._conclude(key, view, looked)

    def _conclude(self, key: Key, view: GuestView, began: _Looked) -> Optional[float]:
        """Show what was found, and have a pass made over what depends on it."""
        is_silent = view.report.agent is AgentState.SILENT
        with self._lock:
            if key not in self._followed:
                return None
            looked = self._looked.setdefault(key, _Looked())
            looked.at = self._shared.services.clock.now()
            looked.tries += 1
            looked.failures = 0
            looked.silent = looked.silent + 1 if is_silent else 0
            tries, gives_up = looked.tries, looked.silent >= MOST_SILENT
            is_news = view.ready and looked is began and not (looked.view and looked.view.ready)
            looked.view = view if looked is began or not view.ready else None
            if view.ready:
                looked.tries = 0
        if gives_up:
            reasons = (*view.reasons, _describe_end(key))
            view = replace(view, reasons=reasons, is_booting=False)
        former = self._shared.ledger.get(key).inside
        if not self._shared.ledger.show_inside(key, view):
            return SOONEST  # the first pass has not ended yet
        if is_news:
            self._wake_users(key)
        if _is_awaited(former or GuestView(), view):
            self._shared.request_pass(key)
        return None if gives_up else _find_wait(view, tries)

    def _wake_users(self, key: Key) -> None:
        """Have those looked at that wait for this guest to be ready."""
        for user in sorted(self._shared.wanted.in_force.find_users(key)):
            if not self._shared.ledger.get(user).condition(READY).holds:
                self._shared.request_pass(user)


def _is_awaited(former: GuestView, now: GuestView) -> bool:
    """Whether a look shows what a pass may wait for: the end of a boot, the driver of a bus."""
    finished = now.report.cloud_init.finished
    if finished and former.report.cloud_init.finished != finished:
        return True
    seen, before = (
        (report.driver, report.disks, {card.mac for card in report.interfaces if card.name})
        for report in (now.report, former.report)
    )
    return now.report.driver is not None and seen != before


def _find_wait(view: GuestView, tries: int) -> Optional[float]:
    if view.report.driver is not None:
        return PROBE
    if view.ready or view.report.agent is AgentState.OFF:
        return REFRESH  # libvirt announces a start
    return find_delay(tries, 0.0, MOST_BOOTING if view.is_booting else MOST_WAIT)


def _describe_end(key: Key) -> str:
    return (
        f"not answered {MOST_SILENT} times, so it is not asked any more until it reconnects or the "
        f"guest restarts; to ask now: virt-reconciler retry {shlex.quote(show_key(key))}"
    )
