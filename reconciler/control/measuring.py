"""Gauges of the loop that no single event sets: read off now and then. Changes nothing."""

from __future__ import annotations

from typing import Optional

from reconciler.control.loop import Loop
from reconciler.control.ports.service import Meter
from reconciler.control.shared import DRIVERS
from reconciler.core.loop import metrics
from reconciler.core.loop.inforce import InForce
from reconciler.core.loop.verdict import READY, RESTART_REQUIRED, STALLED


class Measuring:
    """Sets the gauges of one loop."""

    def __init__(self, loop: Loop, meter: Meter) -> None:
        """Set what is known from the last run, so that no alert falls silent over a restart."""
        self._loop, self._meter = loop, meter
        self._version = -1
        self._in_force: Optional[InForce] = None
        for driver in DRIVERS:
            meter.set(metrics.LIBVIRT_CONNECTED, 0, driver=driver)
        # An alert waits half an hour from then, as it does from any other success.
        meter.set(metrics.LAST_SUCCESS, loop.shared.parts.wall())
        since = loop.shared.ledger.source.since
        if since is not None:
            meter.set(metrics.SOURCE_CHANGED, since)

    def measure(self) -> None:
        """Set them; what is summed up over all objects only if one has changed."""
        loop, meter = self._loop, self._meter
        meter.set(metrics.QUEUE_DEPTH, len(loop.queue))
        meter.set(metrics.LONGEST_RUNNING, loop.lanes.longest())
        meter.set(metrics.SUSPENDED, len(loop.shared.suspended))
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
        names = in_force.machines if loop.shared.wanted.snapshot else known
        records = [known[name] for name in names if name in known]
        meter.set(metrics.MACHINES, len(records))
        for name, type_ in (
            (metrics.PENDING_RESTARTS, RESTART_REQUIRED),
            (metrics.STALLED, STALLED),
            (metrics.READY_MACHINES, READY),
        ):
            meter.set(name, sum(bool(one.condition(type_).holds) for one in records))
        meter.set(metrics.PRUNE_BLOCKED, bool(source.prune_blocked))
        meter.set(metrics.SOURCE_FAILING, bool(source.error or source.refused))
        meter.set(metrics.STATE_FAILING, bool(loop.shared.ledger.trouble))
        meter.set(metrics.CONFIGURATION_FAILING, bool(source.configuration))
        meter.set(metrics.SOURCE_PROBLEMS, len(source.problems))
        meter.replace(metrics.SOURCE_INFO, 1, revision=source.revision or "")
