"""Gauges of the loop that no single event sets: read off now and then. Changes nothing."""

from __future__ import annotations

from reconciler.control.loop import Loop
from reconciler.control.ports.service import Meter
from reconciler.core.loop import metrics
from reconciler.core.loop.verdict import READY, RESTART_REQUIRED, STALLED


def measure(loop: Loop, meter: Meter) -> None:
    """Set the gauges."""
    in_force = loop.shared.wanted.in_force
    records = [loop.shared.ledger.get(name) for name in in_force.machines]
    meter.set(metrics.MACHINES, len(records))
    meter.set(metrics.QUEUE_DEPTH, len(loop.queue))
    meter.set(metrics.LONGEST_RUNNING, loop.lanes.longest())
    meter.set(metrics.SUSPENDED, len(loop.shared.suspended))
    for name, type_ in (
        (metrics.PENDING_RESTARTS, RESTART_REQUIRED),
        (metrics.STALLED, STALLED),
        (metrics.READY_MACHINES, READY),
    ):
        meter.set(name, sum(bool(one.condition(type_).holds) for one in records))
    source = loop.shared.ledger.source
    meter.set(metrics.PRUNE_BLOCKED, bool(source.prune_blocked))
    meter.set(metrics.SOURCE_FAILING, bool(source.error or source.refused))
    meter.set(metrics.SOURCE_PROBLEMS, len(source.problems))
    meter.replace(metrics.SOURCE_INFO, 1, revision=source.revision or "")
