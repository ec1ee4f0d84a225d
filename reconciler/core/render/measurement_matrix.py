"""A matrix of measurements for a terminal: one table, what is noise, what differs, what failed."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sequence, Tuple

from reconciler.core.frozen import replace
from reconciler.core.measurements.judgement import UNSTEADY
from reconciler.core.measurements.matrix import (
    Combination,
    Matrix,
    MatrixCell,
    MatrixColumn,
    list_factors,
    read_combination,
)
from reconciler.core.measurements.values import Measurement
from reconciler.core.render.measurement_comparison import NOISE
from reconciler.core.render.measurements import (
    NONE,
    describe_environment,
    describe_tools,
    show_operations,
)
from reconciler.core.render.text import Page, lay_columns, lay_text
from reconciler.core.render.words import count, escape
from reconciler.core.units import format_roughly

BEST = "best"
_HEADS = ("BUS", "CACHE", "IO")
_PERCENT = 100
_SHOWN = 3  # names in a sentence
_GAP = 2

NOISE_SENTENCE = (
    f"{BEST}: the highest of its column. {NOISE}: no difference to it, because the runs overlap or "
    "differ as much among themselves. A percentage is a difference to it."
)


def render_matrix(matrix: Matrix, page: Page) -> str:
    """Return the table with its sentences."""
    return "\n".join(_lay_matrix(matrix, page)) + "\n"


def _lay_matrix(matrix: Matrix, page: Page) -> Iterator[str]:
    measured = [found for found in matrix.measurements if found.results]
    title = f"{_name_group(matrix)}, {count(len(matrix.measurements), 'combination')}"
    yield page.style.paint(escape(title), "bold")
    if measured:
        place = replace(measured[0].environment, disk=None, device=None)
        yield from lay_text(escape(describe_environment(place)), page)
        yield from lay_text(escape(describe_tools(measured[0])), page)
        yield ""
        yield from _lay_tables(matrix, page)
        yield ""
    for sentence in list_matrix_sentences(matrix):
        yield from lay_text(escape(sentence), page)


def _name_group(matrix: Matrix) -> str:
    return next((found.group for found in matrix.measurements if found.group), "matrix")


def _lay_tables(matrix: Matrix, page: Page) -> Iterator[str]:
    """Yield one table; several below each other where one is wider than the terminal."""
    heads = name_columns(matrix.columns)
    left: List[Tuple[str, ...]] = [_HEADS]
    left += [_name_row(found) for found in matrix.measurements]
    columns = [
        (head, *(_show_cell(column, cell) for cell in column.cells))
        for head, column in zip(heads, matrix.columns)
    ]
    for number, part in enumerate(_split(left, columns, page.width)):
        if number:
            yield ""
        rows = [(*row, *(column[index] for column in part)) for index, row in enumerate(left)]
        yield from lay_columns(rows, page)


def _split(
    left: Sequence[Sequence[str]], columns: Sequence[Sequence[str]], width: int
) -> Iterator[Sequence[Sequence[str]]]:
    """Yield the columns in groups, each of which fits beside the first ones."""
    begin = sum(max(map(len, column)) + _GAP for column in zip(*left))
    group: List[Sequence[str]] = []
    used = begin
    for column in columns:
        needs = max(map(len, column)) + _GAP
        if group and width and used + needs - _GAP > width:
            yield group
            group, used = [], begin
        group.append(column)
        used += needs
    if group:
        yield group


def name_columns(columns: Sequence[MatrixColumn]) -> Tuple[str, ...]:
    """Return the headings; the depth only where a profile was measured with several."""
    short = [f"{column.name} {column.mode.split()[0]}" for column in columns]
    return tuple(
        (name if short.count(name) == 1 else column.title).upper()
        for name, column in zip(short, columns)
    )


def _name_row(found: Measurement) -> Tuple[str, ...]:
    combination = read_combination(found.environment.disk)
    return combination.bus, combination.cache, combination.io


def _show_cell(column: MatrixColumn, cell: Optional[MatrixCell]) -> str:
    if cell is None:
        return NONE
    return f"{_show_value(column, cell)} {_show_change(cell)}"


def _show_value(column: MatrixColumn, cell: MatrixCell) -> str:
    if column.unit == "B/s":
        return f"{format_roughly(round(cell.spread.mean))}/s"
    return show_operations(cell.spread.mean)


def _show_change(cell: MatrixCell) -> str:
    if cell.is_best:
        return BEST
    return NOISE if cell.is_noise else f"{cell.change * _PERCENT:+.0f}%"


def list_matrix_sentences(matrix: Matrix) -> Iterator[str]:
    """Yield what the numbers say: what differs, what does not, what was not measured."""
    if any(cell is not None for column in matrix.columns for cell in column.cells):
        yield NOISE_SENTENCE
    combinations = [read_combination(found.environment.disk) for found in matrix.measurements]
    for head, column in zip(name_columns(matrix.columns), matrix.columns):
        yield _say_column(head.lower(), column, combinations)
    for name, reached in list_factors(matrix):
        best = sorted(reached.items(), key=lambda item: -item[1])
        words = ", ".join(f"{value} {share * _PERCENT:.0f}%" for value, share in best)
        yield f"By {name}, as a share of the best of each column, on average: {words}."
    yield from _say_unsteady(matrix)
    for combination, reason in matrix.failures:
        yield f"Not measured: {combination.words}: {reason}"


def _say_column(head: str, column: MatrixColumn, combinations: Sequence[Combination]) -> str:
    found = [(combination, cell) for combination, cell in zip(combinations, column.cells) if cell]
    best = next(combination for combination, cell in found if cell.is_best)
    same = [combination for combination, cell in found if cell.is_noise and not cell.is_best]
    slow = [(cell.change, combination) for combination, cell in found if not cell.is_noise]
    if len(found) == 1:
        return f"{head}: only {best.label} was measured."
    if not slow:
        return f"{head}: no difference beyond noise."
    change, slowest = min(slow, key=lambda each: each[0])
    equal = f"; no difference to {_list_names(same)}" if same else ""
    return (
        f"{head}: {best.label} is the fastest{equal}; {count(len(slow), 'combination')} slower, "
        f"{slowest.label} most of all ({change * _PERCENT:+.0f}%)."
    )


def _list_names(combinations: Sequence[Combination]) -> str:
    names = ", ".join(combination.label for combination in combinations[:_SHOWN])
    more = len(combinations) - _SHOWN
    return f"{names} and {more} more" if more > 0 else names


def _say_unsteady(matrix: Matrix) -> Iterator[str]:
    """Say where runs of the same differ so much that a difference may hide in them."""
    cells = [cell for column in matrix.columns for cell in column.cells if cell is not None]
    unsteady = sum(cell.spread.is_unsteady for cell in cells)
    if unsteady:
        yield (
            f"In {unsteady} of {len(cells)} cells the runs differ by more than "
            f"{UNSTEADY * _PERCENT:.0f}%: measure longer (--runtime, --runs), on a quiet host."
        )
    if any(cell.spread.count == 1 for cell in cells):
        yield "Some cells have one run only, so noise is only guessed: give --runs 4 or more."
