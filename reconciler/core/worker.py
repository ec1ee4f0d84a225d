"""Who works on an object: one run of virt-reconciler, so that others can find it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional

from reconciler.core.render.times import show_time

QUIET = 600.0  # seconds without a sign after which a run on another machine counts as dead


@dataclass(frozen=True)
class Worker:
    """One run of virt-reconciler that works on an object.

    `machine` stands for the boot of the machine and the namespace in which `process` is counted;
    `started` is when that process began, in clock ticks since the boot: a number that was given
    again has another. `since` is when it began with the object, in seconds since the epoch.
    """

    machine: str
    host: str
    process: int
    started: int
    verb: str
    since: float = 0.0

    @property
    def identity(self) -> Mapping[str, object]:
        """What tells this run from every other."""
        return {"machine": self.machine, "process": self.process, "started": self.started}

    def describe(self) -> str:
        """Return `pid 123, apply, since 2026-11-26T12:03:00Z`."""
        since = f", since {show_time(self.since)}" if self.since else ""
        return f"pid {self.process}, {self.verb}{since}"


def describe_busy(name: str, worker: Optional[Worker]) -> str:
    """Say that another run of virt-reconciler works on an object now."""
    who = worker.describe() if worker else "it does not say which process"
    return f"another virt-reconciler works on {name} ({who}); try again when it has ended"


def describe_unseen(name: str, worker: Worker, last: float) -> str:
    """Say that a run on another machine may still make volumes; `last` is its last sign."""
    until = show_time(last + QUIET)
    return (
        f"another virt-reconciler on {worker.host} ({worker.describe()}) makes volumes of {name}; "
        f"whether it still runs cannot be seen from here. If they do not grow until {until}, "
        "it counts as ended: apply again then"
    )
