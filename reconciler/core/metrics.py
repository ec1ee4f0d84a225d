"""What is counted: one row for each metric, and how they are written for Prometheus. Pure.

The names are for others to rely on, like those of fields: dashboards and alerts are made of them.
"""

from __future__ import annotations

from typing import Dict, Mapping, Sequence, Tuple

from reconciler.core.conditions import FAILURES
from reconciler.core.frozen import frozen

PREFIX = "virt_reconciler_"
# Seconds; from a pass that finds nothing to a clone of a large image.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)

Labels = Tuple[Tuple[str, str], ...]


@frozen
class Metric:
    """One metric: its name without the prefix, its type, its labels, and what it says.

    `known` are the values of a counter's only label that are there from the start, at 0: who
    watches for an increase would not see the first one otherwise.
    """

    name: str
    type: str
    labels: Tuple[str, ...]
    meaning: str
    known: Tuple[str, ...] = ()

    def initial(self) -> Tuple[Labels, ...]:
        """Return the combinations of labels that are there before anything was counted."""
        if self.type != "counter":
            return ()
        return tuple(((self.labels[0], value),) for value in self.known) if self.labels else ((),)


@frozen
class Histogram:
    """Durations by size: how many were at most as long as each of `BUCKETS`, all, and their sum."""

    counts: Tuple[int, ...] = (0,) * len(BUCKETS)
    count: int = 0
    sum: float = 0.0

    def plus(self, seconds: float) -> Histogram:
        """Return these and one more."""
        counts = tuple(count + (seconds <= most) for count, most in zip(self.counts, BUCKETS))
        return Histogram(counts, self.count + 1, self.sum + seconds)


PASSES = "passes_total"
DURATION = "pass_seconds"
QUEUE_DEPTH = "queue_depth"
QUEUE_WAIT = "queue_wait_seconds"
LONGEST_RUNNING = "longest_running_seconds"
DRIFT_FOUND = "drift_found_total"
DRIFT_REPAIRED = "drift_repaired_total"
MACHINES = "virtual_machines"
OBJECTS = "objects"
OBJECTS_READY = "objects_ready"
OBJECTS_STALLED = "objects_stalled"
OBJECTS_SUSPENDED = "objects_suspended"
READY_MACHINES = "ready"
PENDING_RESTARTS = "pending_restarts"
STALLED = "stalled"
SUSPENDED = "suspended"
PRUNE_BLOCKED = "prune_blocked"
ERRORS = "errors_total"
GUESTS = "guests"
GUESTS_READY = "guests_ready"
GUESTS_SILENT = "guests_silent"
GUEST_LOOK = "guest_look_seconds"
LAST_SUCCESS = "last_success_timestamp_seconds"
LIBVIRT_CONNECTED = "libvirt_connected"
RECONNECTS = "libvirt_reconnects_total"
STATE_FAILING = "state_failing"
CONFIGURATION_FAILING = "configuration_failing"
SOURCE_INFO = "source_info"
SOURCE_CHANGED = "source_changed_timestamp_seconds"
SOURCE_FAILING = "source_failing"
SOURCE_ERRORS = "source_errors_total"
SOURCE_PROBLEMS = "invalid_manifests"
WATCH_MISSED = "watch_missed_total"

TABLE = (
    Metric(
        PASSES,
        "counter",
        ("result",),
        "Passes over one object: done, again or stalled.",
        known=("done", "again", "stalled"),
    ),
    Metric(DURATION, "histogram", (), "How long a pass took."),
    Metric(QUEUE_DEPTH, "gauge", (), "Objects that wait for a pass."),
    Metric(QUEUE_WAIT, "histogram", (), "How long an object waited."),
    Metric(LONGEST_RUNNING, "gauge", (), "Age of the oldest pass in progress; 0 if none."),
    Metric(
        ERRORS,
        "counter",
        ("kind",),
        "Failed tries: transient (tried again), refused (a safety rail), terminal (waits for a "
        "change of manifest or domain), bug.",
        known=FAILURES,
    ),
    Metric(
        DRIFT_FOUND,
        "counter",
        ("field",),
        "Fields that someone else changed, to be brought back.",
    ),
    Metric(DRIFT_REPAIRED, "counter", ("field",), "Fields that were brought back."),
    Metric(MACHINES, "gauge", (), "Virtual machines with a manifest for this host."),
    Metric(READY_MACHINES, "gauge", (), "Machines that match their manifests."),
    Metric(
        PENDING_RESTARTS,
        "gauge",
        (),
        "Machines that wait for a cold start to match their manifests.",
    ),
    Metric(STALLED, "gauge", (), "Machines that need a person's attention."),
    Metric(SUSPENDED, "gauge", (), "Machines that a person has suspended."),
    Metric(OBJECTS, "gauge", ("kind",), "Objects of a kind with a manifest for this host."),
    Metric(OBJECTS_READY, "gauge", ("kind",), "Objects of a kind that match their manifests."),
    Metric(
        OBJECTS_STALLED, "gauge", ("kind",), "Objects of a kind that need a person's attention."
    ),
    Metric(OBJECTS_SUSPENDED, "gauge", ("kind",), "Objects of a kind that a person has suspended."),
    Metric(GUESTS, "gauge", (), "Running guests with guestAgent: true."),
    Metric(GUESTS_READY, "gauge", (), "Those of them that show what their manifests name."),
    Metric(
        GUESTS_SILENT,
        "gauge",
        (),
        "Those of them whose agent is not connected, or does not answer.",
    ),
    Metric(GUEST_LOOK, "histogram", (), "How long a look into a guest took."),
    Metric(PRUNE_BLOCKED, "gauge", (), "1 while nothing is pruned until a person confirms it."),
    Metric(
        LAST_SUCCESS,
        "gauge",
        (),
        "When a pass or a resync last ended without a failure, or the daemon started, Unix time.",
    ),
    Metric(LIBVIRT_CONNECTED, "gauge", ("driver",), "1 while connected to that driver of libvirt."),
    Metric(RECONNECTS, "counter", ("driver",), "Connections made to that driver."),
    Metric(STATE_FAILING, "gauge", (), "1 while the daemon's state folder cannot be written."),
    Metric(CONFIGURATION_FAILING, "gauge", (), "1 while the last reload is refused."),
    Metric(SOURCE_INFO, "gauge", ("revision",), "1 for the revision that is in force."),
    Metric(SOURCE_CHANGED, "gauge", (), "When other manifests came into force, Unix time."),
    Metric(SOURCE_FAILING, "gauge", (), "1 while newer manifests cannot be read or are refused."),
    Metric(
        SOURCE_ERRORS, "counter", (), "Times that the manifests could not be read or were refused."
    ),
    Metric(SOURCE_PROBLEMS, "gauge", (), "Problems in manifests; their objects stay as they were."),
    Metric(WATCH_MISSED, "counter", (), "Changes of files that were found by polling only."),
)

BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in TABLE}


def render(
    values: Mapping[Tuple[str, Labels], float], durations: Mapping[Tuple[str, Labels], Histogram]
) -> str:
    """Return the Prometheus text format, version 0.0.4, in the order of the table."""
    lines = []
    for metric in TABLE:
        found = _lines_of(metric, values, durations)
        if found:
            name = f"{PREFIX}{metric.name}"
            lines += [f"# HELP {name} {metric.meaning}", f"# TYPE {name} {metric.type}", *found]
    return "".join(f"{line}\n" for line in lines)


def _lines_of(
    metric: Metric,
    values: Mapping[Tuple[str, Labels], float],
    durations: Mapping[Tuple[str, Labels], Histogram],
) -> Sequence[str]:
    name = f"{PREFIX}{metric.name}"
    if metric.type != "histogram":
        mine = sorted(
            (labels, value) for (known, labels), value in values.items() if known == metric.name
        )
        return [f"{name}{_labels(dict(labels))} {_number(value)}" for labels, value in mine]
    found = sorted(
        (
            (labels, duration)
            for (known, labels), duration in durations.items()
            if known == metric.name
        ),
        key=lambda pair: pair[0],
    )
    return [line for labels, duration in found for line in _histogram(name, dict(labels), duration)]


def _histogram(name: str, labels: Dict[str, str], histogram: Histogram) -> Sequence[str]:
    buckets = [
        f"{name}_bucket{_labels({**labels, 'le': _number(most)})} {count}"
        for most, count in zip(BUCKETS, histogram.counts)
    ]
    return [
        *buckets,
        f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {histogram.count}",
        f"{name}_sum{_labels(labels)} {_number(histogram.sum)}",
        f"{name}_count{_labels(labels)} {histogram.count}",
    ]


def _labels(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(round(value, 6))
