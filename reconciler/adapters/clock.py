"""Time: the one place that asks the machine for it, and waits."""

from __future__ import annotations

import threading
import time
from datetime import datetime

from reconciler.errors import StoppingError


class SystemClock:
    """Implements `ports.Clock`: the machine's own clock."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def local(self) -> datetime:
        """Return the host's local time, without its zone."""
        return datetime.now().astimezone().replace(tzinfo=None)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


SYSTEM_CLOCK = SystemClock()


def find_boot() -> str:
    """Return what identifies this boot of the host, '' where that cannot be read."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class StoppableClock(SystemClock):
    """The same; its sleepers are woken when the daemon stops."""

    def __init__(self) -> None:
        """Begin running."""
        self._stopped = threading.Event()
        self.slept = 0.0  # when anybody last did

    def sleep(self, seconds: float) -> None:
        """Wait. Raises StoppingError when the daemon stops."""
        self.slept = self.now()
        if self._stopped.wait(seconds):
            raise StoppingError("the daemon was stopped meanwhile; it resumes at its next start")

    def stop(self) -> None:
        """Wake all sleepers."""
        self._stopped.set()
