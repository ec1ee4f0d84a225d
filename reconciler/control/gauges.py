"""The daemon's metrics in memory, and the gauges that no single event sets."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Dict, Mapping, Optional, Sequence, Tuple

from reconciler.control.loop import Loop
from reconciler.control.service_ports import Meter
from reconciler.control.state import DRIVERS
from reconciler.core import metrics
from reconciler.core.conditions import READY, RESTART_REQUIRED, STALLED
from reconciler.core.key import FORMER_KIND
from reconciler.core.manifest_files import InForce
from reconciler.core.metrics import BY_NAME, Histogram, Labels, render
from reconciler.core.records import Record
from reconciler.kinds.api import list_reconciled

_Key = Tuple[str, Labels]


class Registry:
    """All counts; safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with nothing counted; counters whose labels are known are there at 0."""
        self._lock = threading.Lock()
        self._values: Dict[_Key, float] = {
            (metric.name, labels): 0 for metric in BY_NAME.values() for labels in metric.initial()
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
            for key in [key for key in self._values if key[0] == name]:
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
    return name, tuple((label, labels[label]) for label in BY_NAME[name].labels)


class LoopGauges:
    """Sets the gauges of one loop."""

    def __init__(self, loop: Loop, meter: Meter) -> None:
        """Set what is known from the last run, so that no alert falls silent over a restart."""
        self._loop, self._meter = loop, meter
        self._version = -1
        self._in_force: Optional[InForce] = None
        for driver in DRIVERS:
            meter.set(metrics.LIBVIRT_CONNECTED, 0, driver=driver)
        # An alert waits half an hour from then, as it does from any other success.
        meter.set(metrics.LAST_SUCCESS, loop.shared.services.clock.wall())
        since = loop.shared.ledger.source.since
        if since is not None:
            meter.set(metrics.SOURCE_CHANGED, since)

    def measure(self) -> None:
        """Set them; what is summed up over all objects only if one has changed."""
        loop, meter = self._loop, self._meter
        meter.set(metrics.QUEUE_DEPTH, len(loop.queue))
        meter.set(metrics.LONGEST_RUNNING, loop.lanes.longest())
        suspended = Counter(key.kind for key in loop.shared.suspended)
        meter.set(metrics.SUSPENDED, suspended[FORMER_KIND])
        for kind in list_reconciled():
            meter.set(metrics.OBJECTS_SUSPENDED, suspended[kind.name], kind=kind.name)
        version, in_force = loop.shared.ledger.version, loop.shared.wanted.in_force
        if version != self._version or in_force != self._in_force:
            self._version, self._in_force = version, in_force
            self._sum_up(loop, meter)

    @staticmethod
    def _sum_up(loop: Loop, meter: Meter) -> None:
        in_force, source = loop.shared.wanted.in_force, loop.shared.ledger.source
        # What is another host's has no record here. Before there are manifests, the records say
        # what the last run had.
        known = loop.shared.ledger.all()
        keys = in_force.objects if loop.shared.wanted.snapshot else known
        records = [known[key] for key in keys if key in known]
        machines = [record for record in records if record.kind == FORMER_KIND]
        meter.set(metrics.MACHINES, len(machines))
        for name, type_ in (
            (metrics.PENDING_RESTARTS, RESTART_REQUIRED),
            (metrics.STALLED, STALLED),
            (metrics.READY_MACHINES, READY),
        ):
            meter.set(name, _count(machines, type_))
        guests = [record.inside for record in machines if record.inside is not None]
        asked = [view for view in guests if view.ready is not None]
        meter.set(metrics.GUESTS, len(asked))
        meter.set(metrics.GUESTS_READY, sum(bool(view.ready) for view in asked))
        meter.set(metrics.GUESTS_SILENT, sum(not view.report.answers for view in asked))
        for kind in list_reconciled():
            mine = [record for record in records if record.kind == kind.name]
            meter.set(metrics.OBJECTS, len(mine), kind=kind.name)
            meter.set(metrics.OBJECTS_READY, _count(mine, READY), kind=kind.name)
            meter.set(metrics.OBJECTS_STALLED, _count(mine, STALLED), kind=kind.name)
        meter.set(metrics.PRUNE_BLOCKED, bool(source.prune_blocked))
        meter.set(metrics.SOURCE_FAILING, bool(source.error or source.refused))
        meter.set(metrics.STATE_FAILING, bool(loop.shared.ledger.trouble))
        meter.set(metrics.CONFIGURATION_FAILING, bool(source.configuration))
        meter.set(metrics.SOURCE_PROBLEMS, len(source.problems))
        meter.replace(metrics.SOURCE_INFO, 1, revision=source.revision or "")


def _count(records: Sequence[Record], type_: str) -> int:
    return sum(bool(record.condition(type_).holds) for record in records)
