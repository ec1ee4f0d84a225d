"""Count: the daemon's metrics in memory, to be written for whoever asks. Implements `Meter`."""

from __future__ import annotations

import threading
from typing import Dict, Mapping, Tuple

from reconciler.core.loop.metrics import BY_NAME, Histogram, Labels, render

_Key = Tuple[str, Labels]


class Registry:
    """All counts; safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with nothing counted; counters whose labels are known are there at 0."""
        self._lock = threading.Lock()
        self._values: Dict[_Key, float] = {
            (one.name, labels): 0 for one in BY_NAME.values() for labels in one.initial()
        }
        self._durations: Dict[_Key, Histogram] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        key = _key(name, labels)
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[_key(name, labels)] = value

    def replace(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge of which only one label is true at a time."""
        with self._lock:
            for key in [one for one in self._values if one[0] == name]:
                del self._values[key]
            self._values[_key(name, labels)] = value

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one duration to a histogram."""
        key = _key(name, labels)
        with self._lock:
            self._durations[key] = self._durations.get(key, Histogram()).plus(seconds)

    def render(self) -> str:
        """Return everything in the Prometheus text format."""
        with self._lock:
            values, durations = dict(self._values), dict(self._durations)
        return render(values, durations)


def _key(name: str, labels: Mapping[str, str]) -> _Key:
    """Return the key, labels in the order of the table."""
    return name, tuple((one, labels[one]) for one in BY_NAME[name].labels)
