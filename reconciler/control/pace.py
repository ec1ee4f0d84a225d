"""When to look at the manifests: soon after a hint, and from time to time without one.

A hint is waited on until things are quiet, but never longer than `MOST`: a burst that never ends
starves nobody. Knows nothing of what is looked at.
"""

from __future__ import annotations

import random
import threading
import time
from enum import Enum
from typing import Callable, Optional, Tuple

from reconciler.core.loop.backoff import spread

QUIET = 0.2  # seconds without a further hint
MOST = 2.0  # seconds after the first hint, however many follow
GRACE = 1.0  # seconds for a hint that is on its way (watchdog holds some back for 0.5)


class Cause(Enum):
    """Why it is time to look."""

    HINT = "hint"
    TIMER = "timer"


class Pace:
    """Hints come in from any thread; one thread waits. The first look is due at once."""

    def __init__(
        self,
        interval: float,
        quiet: float = QUIET,
        most: float = MOST,
        grace: float = GRACE,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`interval` is seconds between two looks that nothing has hinted at, 10 % more or less."""
        self._interval, self._quiet, self._most, self._grace = interval, quiet, most, grace
        self._now, self._chance = now, chance
        self._changed = threading.Condition()
        self._first: Optional[float] = None  # since the last look
        self._latest: Optional[float] = None  # ever
        self._timer = now()
        self._asked = True
        self._stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether there will be no further look."""
        return self._stopped

    def hint(self) -> None:
        """Have a look as soon as it is quiet."""
        with self._changed:
            self._latest = self._now()
            self._first = self._latest if self._first is None else self._first
            self._changed.notify_all()

    def ask(self) -> None:
        """Have a look now."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Have no further look."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self) -> Optional[Cause]:
        """Wait until it is time to look, and return why; None when stopped."""
        with self._changed:
            while not self._stopped:
                due, cause = self.find_due()
                now = self._now()
                if due <= now:
                    self.begin()
                    return cause
                self._changed.wait(due - now)
            return None

    def find_due(self) -> Tuple[float, Cause]:
        """Return when the next look is due, and why."""
        if self._asked:
            return float("-inf"), Cause.HINT
        if self._first is None or self._latest is None:
            return self._timer, Cause.TIMER
        hinted = min(self._latest + self._quiet, self._first + self._most)
        return min(hinted, self._timer), Cause.HINT

    def begin(self) -> None:
        """Note that a look begins: hints from now on are for the next one."""
        self._first, self._asked = None, False
        self._timer = self._now() + spread(self._interval, self._chance())

    def was_hinted(self, seconds: float) -> bool:
        """Whether there was a hint in the last seconds."""
        return self._latest is not None and self._latest >= self._now() - seconds

    def wait_hint(self) -> bool:
        """Wait for a hint that may be on its way; return whether there is one to look after."""
        with self._changed:
            self._changed.wait_for(lambda: self._first is not None or self._stopped, self._grace)
            return self._first is not None
