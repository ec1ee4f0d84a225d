"""Run the queue's work in threads: a few at a time, and what takes long holds up nobody.

A piece of work that lasts longer than `PATIENCE` (a clone, a guest that does not shut down, a call
that hangs in a storage daemon) no longer counts, and another may begin in its place.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict, Generic, Optional, TypeVar

from reconciler.control.queue import WorkQueue

K = TypeVar("K")

PATIENCE = 5.0  # seconds
MOST = 64  # threads, however long they last


class Lanes(Generic[K]):
    """Takes keys out of a queue and works on each in a thread of its own."""

    def __init__(self, queue: WorkQueue[K], work: Callable[[K, float], None], lanes: int) -> None:
        """`work` is given a key and the seconds that it waited; it must not raise."""
        self._queue = queue
        self._work = work
        self._lanes = lanes
        self._changed = threading.Condition()
        self._begun: Dict[K, float] = {}

    def run(self) -> None:
        """Hand out work until the queue is closed."""
        while self._wait_for_lane():
            taken = self._queue.take()
            if taken is None:
                return
            with self._changed:
                self._begun[taken[0]] = time.monotonic()
            threading.Thread(target=self._carry, args=taken, daemon=True).start()

    def longest(self) -> float:
        """Return for how many seconds the oldest piece of work has been going on; 0 for none."""
        with self._changed:
            now = time.monotonic()
            return now - min(self._begun.values(), default=now)

    def is_full(self) -> bool:
        """Whether nothing more begins before something ends, however long that takes."""
        with self._changed:
            return len(self._begun) >= MOST

    def _carry(self, key: K, waited: float) -> None:
        try:
            self._work(key, waited)
        finally:
            with self._changed:
                del self._begun[key]
                self._changed.notify_all()
            self._queue.done(key)

    def _wait_for_lane(self) -> bool:
        with self._changed:
            while True:
                wait = self._find_wait()
                if wait == 0:
                    return True
                self._changed.wait(wait)

    def _find_wait(self) -> Optional[float]:
        """Return 0 if one more may begin, else seconds until that must be asked again."""
        if len(self._begun) >= MOST:
            return None
        now = time.monotonic()
        fresh = [one for one in self._begun.values() if now - one < PATIENCE]
        return 0 if len(fresh) < self._lanes else max(min(fresh) + PATIENCE - now, 0.001)
