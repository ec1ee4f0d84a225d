"""Several measurements beside each other: the same profile, measured the same way. Pure."""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.judgement import Spread, SpreadChange, compare_spreads
from reconciler.core.measurements.values import (
    DiskResult,
    DiskRun,
    DiskSetup,
    Environment,
    Figure,
    Flow,
    Measurement,
)
from reconciler.core.units import format_roughly

BYTES, OPERATIONS, MICROSECONDS = "B/s", "IOPS", "us"
_READ_SHARES = ("read", "write")


@frozen
class Cell:
    """What one measurement has for a row. `change` is beside the first that has it."""

    spread: Spread
    change: Optional[SpreadChange] = None


@frozen
class Row:
    """One number of all measurements; None where one was not measured so.

    `name` is the profile or the subject, `mode` how it was measured, `what` the number.
    """

    name: str
    mode: str
    what: str
    unit: str
    cells: Tuple[Optional[Cell], ...]

    @property
    def is_better_high(self) -> bool:
        """Whether more is better; of latencies less is."""
        return self.unit != MICROSECONDS


@frozen
class Comparison:
    """Measurements with their columns' names, their rows, and what else differs between them.

    `doubts` say why numbers may differ for another reason than the one that was to be measured.
    """

    measurements: Tuple[Measurement, ...]
    columns: Tuple[str, ...]
    rows: Tuple[Row, ...]
    differences: Tuple[Tuple[str, Tuple[str, ...]], ...]
    doubts: Tuple[str, ...]


def compare_measurements(measurements: Sequence[Measurement]) -> Comparison:
    """Return at least one measurement as a table."""
    found = tuple(measurements)
    return Comparison(
        measurements=found,
        columns=_name_columns(found),
        rows=(*_compare_results(found), *_compare_figures(found)),
        differences=_find_differences(found),
        doubts=tuple(_find_doubts(found)),
    )


def _name_columns(measurements: Sequence[Measurement]) -> Tuple[str, ...]:
    """Return the labels, where they tell the measurements apart, and the IDs otherwise."""
    labels = [measurement.label or "" for measurement in measurements]
    is_told = all(labels) and len(set(labels)) == len(labels)
    return tuple(labels if is_told else (measurement.id for measurement in measurements))


Key = Tuple[str, str, str]
Take = Callable[[Sequence[DiskRun]], Optional[Spread]]


def _compare_results(measurements: Sequence[Measurement]) -> Iterator[Row]:
    columns = [
        {_key(result): result for result in measurement.results if result.runs}
        for measurement in measurements
    ]
    for key in dict.fromkeys(key for column in columns for key in column):
        results = [column.get(key) for column in columns]
        name, mode, _ = key
        first = next(result for result in results if result is not None)
        ways = _find_ways(first)
        for way in ways:
            for what, unit, take in _list_numbers(first, way):
                spreads = [take(result.runs) if result is not None else None for result in results]
                if any(spreads):
                    full = f"{name} {way}" if len(ways) > 1 else name
                    cells = _make_cells(spreads)
                    yield Row(name=full, mode=mode, what=what, unit=unit, cells=cells)


def _key(result: DiskResult) -> Key:
    """Return what has to be the same for two results to be of the same."""
    how = f"{result.tool} {result.block_size} {result.depth} {result.engine}"
    words = [result.mode]
    if result.engine:
        words.append(f"depth {result.depth}")
        words += [result.engine] if result.engine != "libaio" else []
    return result.profile, ", ".join(words), how


def _find_ways(result: DiskResult) -> Tuple[str, ...]:
    return tuple(way for way in _READ_SHARES if getattr(result.runs[0], way) is not None)


def _list_numbers(result: DiskResult, way: str) -> Iterator[Tuple[str, str, Take]]:
    if result.counts_operations:
        yield "operations", OPERATIONS, lambda runs: _spread(runs, way, lambda flow: flow.iops)
    else:
        yield "bandwidth", BYTES, lambda runs: _spread(runs, way, lambda flow: flow.bandwidth)
    yield "p99 latency", MICROSECONDS, lambda runs: _spread(runs, way, _read_p99)


def _read_p99(flow: Flow) -> Optional[float]:
    return None if flow.latency is None else flow.latency.p99


def _spread(
    runs: Sequence[DiskRun], way: str, read: Callable[[Flow], Optional[float]]
) -> Optional[Spread]:
    flows: List[Optional[Flow]] = [getattr(run, way) for run in runs]
    values = [read(flow) for flow in flows if flow is not None]
    known = [value for value in values if value is not None]
    return Spread.from_values(known) if known else None


def _compare_figures(measurements: Sequence[Measurement]) -> Iterator[Row]:
    columns: List[Dict[Key, Figure]] = [
        {
            (figure.subject, figure.about, figure.unit): figure
            for figure in measurement.figures
            if figure.values
        }
        for measurement in measurements
    ]
    for key in dict.fromkeys(key for column in columns for key in column):
        found = [column.get(key) for column in columns]
        spreads = [Spread.from_values(figure.values) if figure else None for figure in found]
        subject, about, unit = key
        cells = _make_cells(spreads)
        yield Row(name=subject, mode=about, what="", unit=f"{unit}/s", cells=cells)


def _make_cells(spreads: Sequence[Optional[Spread]]) -> Tuple[Optional[Cell], ...]:
    first = next((index for index, spread in enumerate(spreads) if spread is not None), 0)
    base = spreads[first]
    return tuple(
        None
        if spread is None
        else Cell(spread, compare_spreads(base, spread) if base and index > first else None)
        for index, spread in enumerate(spreads)
    )


# How a guest gets its disk, without what says only which disk it is.
_SETUP = [name for name in DiskSetup.__annotations__ if name not in ("name", "target", "image")]


def _read_setup(name: str, found: Measurement) -> str:
    disk = found.environment.disk
    value = None if disk is None else getattr(disk, name)
    return "" if value is None else str(value)


# What a reader wants to see side by side, and how it is read.
_FACTS: Mapping[str, Callable[[Measurement], str]] = {
    "host": lambda found: found.environment.host,
    "kernel": lambda found: found.environment.guest_kernel or found.environment.kernel,
    "QEMU": lambda found: found.environment.qemu or "",
    "machine": lambda found: found.environment.machine or "",
    "generation": lambda found: (found.environment.generation or "")[:12],
    "machine type": lambda found: found.environment.machine_type or "",
    "memory": lambda found: _show_memory(found.environment),
    "pool": lambda found: found.environment.pool or "",
    "storage": lambda found: found.environment.storage or "",
    "file system": lambda found: found.environment.filesystem or "",
    **{name.replace("_", " "): partial(_read_setup, name) for name in _SETUP},
    "file size": lambda found: _list(format_roughly(each.size) for each in found.results),
    "run time": lambda found: _list(f"{each.seconds}s" for each in found.results if each.seconds),
    "tool": lambda found: _list(
        (
            *(result.tool_version for result in found.results),
            *(figure.tool_version for figure in found.figures),
        )
    ),
    "nice": lambda found: str(found.limits.nice),
    "ionice": lambda found: found.limits.io_class or "",
    "rate": lambda found: "" if found.limits.rate is None else format_roughly(found.limits.rate),
}
# These change a number without being what anyone wants to compare.
_DOUBTFUL = ("host", "kernel", "memory", "file size", "run time", "tool", "nice", "ionice", "rate")


def _show_memory(environment: Environment) -> str:
    return "" if environment.memory is None else format_roughly(environment.memory)


def _list(words: Iterable[str]) -> str:
    return ", ".join(word for word in dict.fromkeys(words) if word)


def list_facts(measurement: Measurement) -> Tuple[Tuple[str, str], ...]:
    """Return what is known of where and how it was measured, as (name, value)."""
    found = ((name, read(measurement)) for name, read in _FACTS.items())
    return tuple((name, value) for name, value in found if value and (name, value) != ("nice", "0"))


def _find_differences(
    measurements: Sequence[Measurement],
) -> Tuple[Tuple[str, Tuple[str, ...]], ...]:
    found = (
        (name, tuple(read(measurement) for measurement in measurements))
        for name, read in _FACTS.items()
    )
    return tuple((name, values) for name, values in found if len(set(values)) > 1)


def _find_doubts(measurements: Sequence[Measurement]) -> Iterator[str]:
    differing = [name for name, _ in _find_differences(measurements) if name in _DOUBTFUL]
    if differing:
        yield (
            f"These differ too, and each can change the numbers: {', '.join(differing)}. Measure "
            "again with the same, or compare with care."
        )
    disturbed = [
        name
        for name, measurement in zip(_name_columns(measurements), measurements)
        if measurement.warnings
    ]
    if disturbed:
        yield (
            f"{', '.join(disturbed)}: something may have disturbed it; see virt-reconciler bench "
            f"list {disturbed[0]}"
        )
