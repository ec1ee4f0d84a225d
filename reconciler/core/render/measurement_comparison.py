"""Measurements beside each other, as text and as JSON; words that the page shares."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, Optional, Sequence

from reconciler.core.measurements.comparison import (
    BYTES,
    MICROSECONDS,
    OPERATIONS,
    Cell,
    Comparison,
    Row,
)
from reconciler.core.measurements.judgement import CacheFinding, judge_cache
from reconciler.core.measurements.values import write_measurement
from reconciler.core.render.measurements import NONE, show_latency, show_operations
from reconciler.core.render.text import Page, lay_columns, lay_text
from reconciler.core.render.words import escape
from reconciler.core.units import format_roughly

NOISE = "noise"
NOISE_SENTENCE = (
    "noise: the runs of both overlap, or differ as much among themselves; it is no difference."
)
_PERCENT = 100
_VERSION = 1


def render_comparison(comparison: Comparison, page: Page) -> str:
    """Return a comparison for a terminal."""
    return "\n".join(_lay_comparison(comparison, page)) + "\n"


def _lay_comparison(comparison: Comparison, page: Page) -> Iterator[str]:
    columns = tuple(map(escape, comparison.columns))
    if comparison.differences:
        rows = [
            (name, *(escape(value) or NONE for value in values))
            for name, values in comparison.differences
        ]
        yield from lay_columns([("DIFFERS", *columns), *rows], page)
        yield ""
    rows = [
        (
            *(escape(row.name), escape(row.mode), row.what or NONE),
            *(f"{show_cell(row, cell)} {show_change(cell)}".rstrip() for cell in row.cells),
        )
        for row in comparison.rows
    ]
    yield from lay_columns([("PROFILE", "MODE", "WHAT", *columns), *rows], page, ("WHAT",))
    sentences = tuple(list_sentences(comparison))
    if sentences:
        yield ""
    for sentence in sentences:
        yield from lay_text(escape(sentence), page)


def list_sentences(comparison: Comparison) -> Iterator[str]:
    """Yield what has to be known beside the numbers."""
    if any(show_change(cell) == NOISE for row in comparison.rows for cell in row.cells):
        yield NOISE_SENTENCE
    found = [judge_cache(measurement) for measurement in comparison.measurements]
    if len(found) == 1:
        yield from (finding.sentence for finding in found[0])
    else:
        yield from _list_memory(comparison.columns, found)
    yield from comparison.doubts


def _list_memory(columns: Sequence[str], found: Sequence[Sequence[CacheFinding]]) -> Iterator[str]:
    """Say of which profiles only memory was measured; why is in the measurement itself."""
    for column, findings in zip(columns, found):
        names = dict.fromkeys(finding.profile for finding in findings if finding.only_memory)
        if names:
            yield (
                f"{column}: {', '.join(names)} through the page cache was only memory and says "
                f"nothing about the disk; see virt-reconciler bench list {column}"
            )


def show_cell(row: Row, cell: Optional[Cell]) -> str:
    """Return the mean of a cell, with its unit."""
    if cell is None:
        return NONE
    value = cell.spread.mean
    if row.unit == BYTES:
        return f"{format_roughly(round(value))}/s"
    if row.unit == MICROSECONDS:
        return show_latency(value)
    if row.unit == OPERATIONS:
        return show_operations(value)
    return f"{value:.0f} {row.unit}"


def show_change(cell: Optional[Cell]) -> str:
    """Return by how much it is higher than the first: `+23%`, or that this is noise."""
    if cell is None or cell.change is None:
        return ""
    if cell.change.is_noise:
        return NOISE
    change = cell.change.change
    if change >= _PERCENT / 10:
        return f"{change + 1:.0f} times"
    return f"{change * _PERCENT:+.0f}%"


def is_worse(row: Row, cell: Optional[Cell]) -> bool:
    """Whether it is worse than the first, and not by noise."""
    if cell is None or cell.change is None or cell.change.is_noise:
        return False
    return (cell.change.change < 0) == row.is_better_high


def write_comparison(comparison: Comparison) -> str:
    """Return a comparison as JSON: the measurements in full, and each row with its changes."""
    data = {
        "formatVersion": _VERSION,
        "measurements": [
            json.loads(write_measurement(measurement)) for measurement in comparison.measurements
        ],
        "rows": [_write_row(row) for row in comparison.rows],
        "differences": [
            {"name": name, "values": list(values)} for name, values in comparison.differences
        ],
        "doubts": list(comparison.doubts),
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _write_row(row: Row) -> Dict[str, Any]:
    return {
        "name": row.name,
        "mode": row.mode,
        "what": row.what,
        "unit": row.unit,
        "cells": [None if cell is None else _write_cell(cell) for cell in row.cells],
    }


def _write_cell(cell: Cell) -> Dict[str, Any]:
    spread, change = cell.spread, cell.change
    return {
        "mean": spread.mean,
        "low": spread.low,
        "high": spread.high,
        "runs": spread.count,
        "change": None if change is None else change.change,
        "isNoise": None if change is None else change.is_noise,
    }
