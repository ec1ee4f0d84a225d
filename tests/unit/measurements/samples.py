"""Measurements that tests share."""

from __future__ import annotations

from typing import Optional, Sequence

from reconciler.core.measurements.values import (
    DiskResult,
    DiskRun,
    Environment,
    Flow,
    Latency,
    Measurement,
)

MIB = 2**20
GIB = 2**30
LATENCY = Latency(100.0, 200.5, 300.0, 900.0)
HOST = Environment("kvm01", "5.14.0", "Xeon", memory=16 * GIB, storage="/srv/x", filesystem="xfs")


def make_run(
    bandwidth: int, *, writes: bool = False, from_storage: Optional[int] = None
) -> DiskRun:
    """Return a run of one second at that bandwidth."""
    flow = Flow(bandwidth, bandwidth, bandwidth / 4096, LATENCY)
    read, write = (None, flow) if writes else (flow, None)
    return DiskRun(1.0, read, write, 1.5, 2.5, from_storage)


def make_result(
    runs: Sequence[DiskRun], *, direct: bool, profile: str = "rand_read", size: int = GIB
) -> DiskResult:
    """Return a result of fio with these runs."""
    return DiskResult(profile, "fio", "fio-3.35", direct, 4096, 32, "libaio", size, 30, tuple(runs))


def make_measurement(
    *results: DiskResult, environment: Environment = HOST, name: str = "disk-1"
) -> Measurement:
    """Return a measurement with these results."""
    return Measurement(name, "2027-01-15T08:00:00Z", "1.0", environment, results=results)
