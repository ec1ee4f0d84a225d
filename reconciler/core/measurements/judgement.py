"""What measured numbers say: how far runs lie apart, what is noise, what the cache did. Pure."""

from __future__ import annotations

from typing import Callable, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.tools import CACHE_READ, DEVICE_READ
from reconciler.core.measurements.values import DiskResult, DiskRun, Environment, Measurement
from reconciler.core.units import format_roughly

# Two runs of the same on a quiet machine differ by this much, however close these two came.
FLOOR = 0.05
# Runs that lie further apart than this are no basis for a comparison.
UNSTEADY = 0.25
FEW_FROM_STORAGE = 0.1  # less of what was read than this came from the storage
MUCH_FASTER = 2.0  # no storage is that much faster for being read through a copy in memory
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@frozen
class Spread:
    """Several values of the same, at least one."""

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def from_values(cls, values: Sequence[float]) -> Spread:
        """Return how far they lie apart."""
        return cls(sum(values) / len(values), min(values), max(values), len(values))

    @property
    def share(self) -> float:
        """How far the extremes lie apart, as a share of the mean."""
        return (self.high - self.low) / self.mean if self.mean else 0.0

    @property
    def is_unsteady(self) -> bool:
        """Whether the runs differ so much that their mean says little."""
        return self.share > UNSTEADY


@frozen
class SpreadChange:
    """Two spreads beside each other. `change` is by how much the second mean is higher: 0.2."""

    before: Spread
    after: Spread
    change: float
    is_noise: bool


def spread_of(result: DiskResult, value: Callable[[DiskRun], float]) -> Spread:
    """Return how far the runs of a result lie apart in a value, like their bandwidth."""
    return Spread.from_values([value(run) for run in result.runs])


def compare_spreads(before: Spread, after: Spread) -> SpreadChange:
    """Return the difference of two measurements, and whether it is noise.

    It is noise if their runs overlap, or if the means differ by no more than the runs of either
    do among themselves. A single run is taken to be as unsteady as two usually are.
    """
    change = (after.mean - before.mean) / before.mean if before.mean else 0.0
    overlap = before.low <= after.high and after.low <= before.high
    least = max(before.share, after.share, FLOOR)
    return SpreadChange(before, after, change, is_noise=overlap or abs(change) <= least)


@frozen
class CacheFinding:
    """What the page cache did to a profile, as a sentence. `only_memory`: nothing else counted."""

    profile: str
    sentence: str
    only_memory: bool


def judge_cache(measurement: Measurement) -> Tuple[CacheFinding, ...]:
    """Return a finding for each profile that was measured buffered or in memory."""
    found = (
        _judge_result(result, _find_direct(measurement, result), measurement.environment)
        for result in measurement.results
        if result.runs
    )
    return tuple(finding for finding in found if finding is not None)


def _find_direct(measurement: Measurement, result: DiskResult) -> Optional[DiskResult]:
    """Return the result of the same past the page cache."""
    return next(
        (
            other
            for other in measurement.results
            if other.direct and other.runs
            if (other.profile, other.tool, other.block_size, other.depth, other.engine)
            == (result.profile, result.tool, result.block_size, result.depth, result.engine)
        ),
        None,
    )


def _judge_result(
    result: DiskResult, direct: Optional[DiskResult], environment: Environment
) -> Optional[CacheFinding]:
    if environment.filesystem in _IN_MEMORY:
        words = f"{result.profile}, {result.mode}: the file system is {environment.filesystem}"
        sentence = f"{words}, so this was only memory; it says nothing about a disk."
        return CacheFinding(result.profile, sentence, only_memory=True)
    if result.profile == CACHE_READ:
        sentence = (
            f"{result.profile}: hdparm -T reads from the page cache, so this was only memory."
        )
        return CacheFinding(result.profile, sentence, only_memory=True)
    if result.direct or result.profile == DEVICE_READ:
        return None
    only_memory = _was_only_memory(result, direct, environment)
    sentence = " ".join(
        (
            _say_speed(result, direct),
            _say_size(result, environment),
            *(("This was only memory: it says nothing about the disk.",) if only_memory else ()),
        )
    )
    return CacheFinding(result.profile, sentence, only_memory)


def _was_only_memory(
    result: DiskResult, direct: Optional[DiskResult], environment: Environment
) -> bool:
    """Whether the page cache gave or took nearly all of it.

    What the kernel counted decides about reads. Where it counts nothing for direct reads either,
    and for writes, a file that fits into memory and a speed that the storage has not decide.
    """
    share = _find_storage_share(result, direct)
    if share is not None:
        return share < FEW_FROM_STORAGE
    fits = environment.memory is not None and result.size < environment.memory
    return fits and direct is not None and _compare_speed(result, direct) >= MUCH_FASTER


def _find_storage_share(result: DiskResult, direct: Optional[DiskResult]) -> Optional[float]:
    """Return which share of what was read came from the storage; None if that is not known."""
    runs = result.runs
    if any(run.write is not None or run.from_storage is None for run in runs):
        return None
    counted = sum(run.from_storage or 0 for run in runs)
    counts = direct is not None and any(run.from_storage for run in direct.runs)
    return counted / max(sum(run.total for run in runs), 1) if counted or counts else None


def _compare_speed(result: DiskResult, direct: DiskResult) -> float:
    slow = spread_of(direct, lambda run: run.bandwidth).mean
    return spread_of(result, lambda run: run.bandwidth).mean / slow if slow else 0.0


def _say_speed(result: DiskResult, direct: Optional[DiskResult]) -> str:
    speed = _show_speed(result)
    if direct is None:
        return f"{result.profile}: {speed} through the page cache."
    times = _compare_speed(result, direct)
    return (
        f"{result.profile}: {speed} through the page cache, {_show_speed(direct)} direct "
        f"({times:.1f} times the direct speed)."
    )


def _show_speed(result: DiskResult) -> str:
    return f"{format_roughly(round(spread_of(result, lambda run: run.bandwidth).mean))}/s"


def _say_size(result: DiskResult, environment: Environment) -> str:
    size = format_roughly(result.size)
    if environment.memory is None:
        return f"The file has {size}; how much memory there is is unknown."
    memory = format_roughly(environment.memory)
    if result.size < environment.memory:
        return f"The file has {size}, the memory {memory}: all of it fits into the cache."
    return f"The file has {size}, the memory {memory}: not all of it fits into the cache."
