"""Clocks that stand still, and do something while somebody sleeps."""

from __future__ import annotations

import time
from typing import Callable, List

from tests.unit.fake_clock import FakeClock

LIMIT = 20.0  # seconds; only a failure takes that long


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something to become true."""
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.005)


class StillClock(FakeClock):
    """Time goes on only by sleeping; each sleep does the next thing that was put in."""

    def __init__(self, *things: Callable[[], object]) -> None:
        """`things` are done one for each sleep; nothing when they are used up."""
        super().__init__(1000.0)
        self.things: List[Callable[[], object]] = list(things)
        self.slept = 0

    def sleep(self, seconds: float) -> None:
        """Go on, and do the next thing."""
        self.time += seconds
        self.slept += 1
        if self.things:
            self.things.pop(0)()
