"""Tell systemd how the daemon is: sd_notify(3). Outside of a service every call does nothing.

A notification that cannot be sent is lost: systemd is being started anew, or stops us anyway.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Mapping

from reconciler.adapters.systemd import binding
from reconciler.core.render.values import escape

_MICRO = 10**6


class SystemdSupervisor:
    """Implements `Supervisor`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take what systemd put into the environment."""
        self._is_service = bool(environ.get("NOTIFY_SOCKET"))
        self._interval = find_interval(environ) if self._is_service else 0.0
        self._shown = ""
        self._lock = threading.Lock()

    @property
    def watchdog_interval(self) -> float:
        """Half of what systemd waits for, so that one sign of life may come late."""
        return self._interval

    def ready(self) -> None:
        """Say that the daemon is up, after a start or a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that settings are read anew; `ready` ends it. `Type=notify-reload` needs the time."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the daemon ends."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show one line, if it is another than the one that is shown."""
        line = escape(text)  # a second line would be an assignment of its own
        with self._lock:
            if line != self._shown and self._send(f"STATUS={line}"):
                self._shown = line

    def _send(self, state: str) -> bool:
        if not self._is_service:
            return False
        with suppress(OSError):
            binding.notify(state)
            return True
        return False


def find_interval(environ: Mapping[str, str]) -> float:
    """Return half of the watchdog's time in seconds; 0 if none is meant for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / _MICRO / 2 if text.isascii() and text.isdigit() else 0.0
