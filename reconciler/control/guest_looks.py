"""Look into guests for the machines that are started after them, in one run of `apply`."""

from __future__ import annotations

import threading
from typing import Any, Dict, Tuple

from reconciler.control.ports import Clock, Host
from reconciler.core.guest import GuestView
from reconciler.core.key import Key
from reconciler.kinds.api import find_kind

POLL = 2.0  # seconds between two looks into one guest


class GuestLooks:
    """What was seen of guests lately. Many may ask; each guest is looked into by one at a time.

    Its agent serves one caller at a time, and two would take each other for another program.
    """

    def __init__(self, host: Host, clock: Clock) -> None:
        """Begin with nothing seen."""
        self._host = host
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: Dict[Key, threading.Lock] = {}
        self._seen: Dict[Key, Tuple[float, GuestView]] = {}

    def look(self, manifest: Any) -> GuestView:
        """Return what a guest shows, at most some seconds ago.

        Raises NotFoundError where there is no such object, TransientError where the host cannot be
        asked.
        """
        key: Key = manifest.key
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            at, view = self._seen.get(key, (float("-inf"), GuestView()))
            if self._clock.now() - at < POLL:
                return view
            view = find_kind(key.kind).look_inside(self._host, manifest)
            self._seen[key] = self._clock.now(), view
            return view
