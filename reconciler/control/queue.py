"""The work queue, and the lanes that work it off: what takes long holds up nobody else."""

from __future__ import annotations

import heapq
import threading
from typing import Callable, Dict, Generic, List, Optional, Set, Tuple, TypeVar

K = TypeVar("K")


class WorkQueue(Generic[K]):
    """Keys in the order in which they came, with delayed ones; safe to use from several threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Begin empty; `now` is seconds on a monotonic clock."""
        self._now = now
        self._changed = threading.Condition()
        self._waiting: Dict[K, float] = {}  # in order of arrival → since when
        self._working: Set[K] = set()
        self._again: Set[K] = set()
        self._due: Dict[K, float] = {}
        self._heap: List[Tuple[float, int, K]] = []
        self._count = 0
        self._closed = False

    def add(self, key: K) -> None:
        """Have the key looked at as soon as can be; a delay that it had is over."""
        with self._changed:
            self._due.pop(key, None)
            self._put(key)
            self._changed.notify_all()

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key looked at after a time, unless it is added before."""
        with self._changed:
            due = self._now() + seconds
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                self._count += 1
                heapq.heappush(self._heap, (due, self._count, key))
                self._changed.notify_all()

    def take(self, limit: Optional[float] = None) -> Optional[Tuple[K, float]]:
        """Wait for a key and return it with the seconds that it waited.

        None after `limit` seconds, or when the queue is closed. The taker says `done` afterwards.
        """
        until = None if limit is None else self._now() + limit
        with self._changed:
            while not self._closed:
                self._mature()
                if self._waiting:
                    return self._hand_out()
                wait = self._find_wait(until)
                if wait is not None and wait <= 0:
                    return None
                self._changed.wait(wait)
            return None

    def done(self, key: K) -> None:
        """Give a key back; it waits again if it was added while it was worked on."""
        with self._changed:
            self._working.discard(key)
            if key in self._again:
                self._again.discard(key)
                self._put(key)
            self._changed.notify_all()

    def wait_idle(self, limit: float) -> bool:
        """Wait until no key is worked on; return whether it came to that within `limit` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._working, limit)

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Return how many keys wait, not counting delayed ones."""
        with self._changed:
            return len(self._waiting) + len(self._again)

    def _put(self, key: K) -> None:
        if key in self._working:
            self._again.add(key)
        else:
            self._waiting.setdefault(key, self._now())

    def _hand_out(self) -> Tuple[K, float]:
        key = next(iter(self._waiting))
        since = self._waiting.pop(key)
        self._working.add(key)
        return key, self._now() - since

    def _mature(self) -> None:
        """Move the delayed keys whose time has come; stale heap entries are dropped on the way."""
        while self._heap and self._heap[0][0] <= self._now():
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self._put(key)

    def _find_wait(self, until: Optional[float]) -> Optional[float]:
        now = self._now()
        if until is not None and until <= now:
            return 0
        times = [] if until is None else [until]
        times += [self._heap[0][0]] if self._heap else []
        return max(min(times) - now, 0.001) if times else None


PATIENCE = 5.0  # seconds
MOST = 64  # threads, however long they last


class Lanes(Generic[K]):
    """Takes keys out of a queue and works on each in a thread of its own."""

    def __init__(
        self,
        queue: WorkQueue[K],
        work: Callable[[K, float], None],
        lanes: int,
        now: Callable[[], float],
        most: Optional[int] = None,
    ) -> None:
        """`work` is given a key and the seconds that it waited; it must not raise.

        `now` is seconds on a monotonic clock; `most` the pieces of work at a time, however long
        they last.
        """
        self._most = most
        self._now = now
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
                self._begun[taken[0]] = self._now()
            threading.Thread(target=self._carry, args=taken, daemon=True).start()

    def longest(self) -> float:
        """Return for how many seconds the oldest piece of work has been going on; 0 for none."""
        with self._changed:
            now = self._now()
            return now - min(self._begun.values(), default=now)

    def is_full(self) -> bool:
        """Whether nothing more begins before something ends, however long that takes."""
        with self._changed:
            return len(self._begun) >= (self._most or MOST)

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
        if len(self._begun) >= (self._most or MOST):
            return None
        now = self._now()
        fresh = [begun for begun in self._begun.values() if now - begun < PATIENCE]
        return 0 if len(fresh) < self._lanes else max(min(fresh) + PATIENCE - now, 0.001)
