"""A clock of the tests; implements `Clock`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass
class FakeClock:
    """A clock that moves only when told, or when somebody waits."""

    time: float = 0.0
    epoch: float = 1_000_000.0

    def now(self) -> float:
        """Return the time set."""
        return self.time

    def wall(self) -> float:
        """Return the time set, in seconds since the epoch."""
        return self.epoch + self.time

    def local(self) -> datetime:
        """Be in UTC."""
        return datetime.fromtimestamp(self.wall(), timezone.utc).replace(tzinfo=None)

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.time += seconds
