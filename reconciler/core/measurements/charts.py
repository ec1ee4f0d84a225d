"""What is drawn of measurements: charts as values, which any library can draw. Pure."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.comparison import (
    BYTES,
    MICROSECONDS,
    OPERATIONS,
    Cell,
    Comparison,
    Row,
)

MOST_SERIES = 4  # bars of one group that can be told apart
_UNITS = {BYTES: (2.0**20, "MiB/s"), OPERATIONS: (1.0, "IOPS"), MICROSECONDS: (1000.0, "ms")}


@frozen
class Bar:
    """The mean of several runs, and the lowest and highest."""

    value: float
    low: float
    high: float


@frozen
class Chart:
    """Horizontal bars: `bars` of each series in the order of the groups; None where there is none.

    `name` can be part of the name of a file.
    """

    name: str
    title: str
    unit: str
    groups: Tuple[str, ...]
    series: Tuple[str, ...]
    bars: Tuple[Tuple[Optional[Bar], ...], ...]


def draw_charts(comparison: Comparison) -> Tuple[Chart, ...]:
    """Return the charts of a comparison, or of a single measurement."""
    kinds = dict.fromkeys((row.unit, _find_kind(row)) for row in comparison.rows)
    return tuple(chart for unit, kind in kinds for chart in _draw_kind(comparison, unit, kind))


def _find_kind(row: Row) -> str:
    """Return what has a chart of its own: on one scale the cache would hide the disk."""
    return f"{row.what}, {row.mode.split(',')[0]}" if row.what else row.name


def _draw_kind(comparison: Comparison, unit: str, kind: str) -> Iterator[Chart]:
    rows = [row for row in comparison.rows if (row.unit, _find_kind(row)) == (unit, kind)]
    scale, word = _UNITS.get(unit, (1.0, unit))
    title, stem = kind[0].upper() + kind[1:], kind.replace(", ", "-").replace(" ", "-")
    if len(comparison.columns) > MOST_SERIES:
        for row in rows:
            yield Chart(
                name=_make_name(stem, row),
                title=f"{title}: {_call(row)}",
                unit=word,
                groups=comparison.columns,
                series=("",),
                bars=(tuple(_make_bar(cell, scale) for cell in row.cells),),
            )
        return
    yield Chart(
        name=stem,
        title=title,
        unit=word,
        groups=tuple(map(_call, rows)),
        series=comparison.columns,
        bars=tuple(
            tuple(_make_bar(row.cells[index], scale) for row in rows)
            for index in range(len(comparison.columns))
        ),
    )


def _call(row: Row) -> str:
    return f"{row.name}, {row.mode}" if row.mode else row.name


def _make_name(stem: str, row: Row) -> str:
    words: List[str] = [stem, *row.name.split(), *row.mode.replace(",", "").split()]
    return "-".join(
        "".join(sign for sign in word if sign.isalnum() or sign in "_.") for word in words
    )


def _make_bar(cell: Optional[Cell], scale: float) -> Optional[Bar]:
    if cell is None:
        return None
    spread = cell.spread
    return Bar(spread.mean / scale, spread.low / scale, spread.high / scale)


def find_longest(labels: Sequence[str]) -> int:
    """Return how many signs the longest label has."""
    return max(map(len, labels), default=0)
