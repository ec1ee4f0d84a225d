"""Measurements as one page that needs nothing else: tables, what they say, and their charts."""

from __future__ import annotations

import base64
from typing import Iterator, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.comparison import Cell, Comparison, Row, list_facts
from reconciler.core.render.html import STYLE, Markup, head, lines, tag
from reconciler.core.render.measurement_comparison import (
    NOISE,
    is_worse,
    list_sentences,
    show_cell,
    show_change,
)
from reconciler.core.render.measurements import NONE
from reconciler.core.render.words import escape

WIDE, NARROW = 860, 360  # points: of a chart on a wide and on a narrow page
_FEW = 3  # times that are listed
_STYLE = f"""{STYLE}
.scroll {{ overflow-x: auto; margin: .5rem 0; }}
.scroll table {{ table-layout: auto; width: auto; min-width: 100%; }}
.scroll th:nth-child(n) {{ width: auto; }}
.scroll td, .scroll th {{ white-space: nowrap; text-align: right; overflow-wrap: normal; }}
.scroll th:first-child {{ text-align: left; }}
.apart {{ color: var(--dim); font-size: .85rem; font-weight: 400; }}
.change {{ font-weight: 600; }} .better {{ color: var(--green); }} .worse {{ color: var(--red); }}
figure {{ margin: 1rem 0; }} img {{ width: 100%; max-width: {WIDE}px; height: auto; }}
@media (max-width: 40rem) {{ .scroll table {{ display: table; }}
  .scroll tbody {{ display: table-row-group; }} .scroll tr {{ display: table-row; }}
  .scroll thead {{ position: static; clip-path: none; display: table-header-group; }}
  .scroll td {{ display: table-cell; }} .scroll td, .scroll th {{ padding: .3rem .5rem;
  border-top: 1px solid var(--line); }} }}
"""


@frozen
class Picture:
    """A chart as two SVG documents, for wide and for narrow pages."""

    title: str
    wide: str
    narrow: str


def render_page(
    comparison: Comparison, pictures: Sequence[Picture], missing: Optional[str] = None
) -> str:
    """Return the page. `missing` says why there are no pictures."""
    title = f"Measured: {', '.join(map(escape, comparison.columns))}"
    body = tag("body", lines(*_body(comparison, pictures, missing)))
    page = tag("html", lines(head(title, _STYLE, has_pictures=True), body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _body(
    comparison: Comparison, pictures: Sequence[Picture], missing: Optional[str]
) -> Iterator[Markup]:
    hosts = dict.fromkeys(found.environment.host for found in comparison.measurements)
    yield tag("h1", "Measured on ", tag("code", escape(", ".join(hosts))))
    yield tag("p", _show_times([found.taken_at for found in comparison.measurements]), class_="of")
    sentences = tuple(map(escape, list_sentences(comparison)))
    if sentences:
        yield tag("ul", lines(*(tag("li", sentence) for sentence in sentences)))
    yield tag("h2", "Numbers")
    yield _number_table(comparison)
    for picture in pictures:
        yield _figure(picture)
    if missing is not None:
        yield tag("p", f"No charts: {missing}", class_="note")
    yield tag("h2", "Where and how")
    yield _fact_table(comparison)
    warnings = [
        tag("li", tag("strong", column), f": {escape(warning)}")
        for column, found in zip(comparison.columns, comparison.measurements)
        for warning in found.warnings
    ]
    if warnings:
        yield tag("h2", "What may have disturbed it")
        yield tag("ul", lines(*warnings))


def _show_times(times: Sequence[str]) -> str:
    """Return the times; of many, as of a matrix, the first and the last."""
    if len(times) <= _FEW:
        return ", ".join(times)
    return f"{len(times)} results, {min(times)} to {max(times)}"


def _number_table(comparison: Comparison) -> Markup:
    heads = ("Profile", *comparison.columns)
    return _table(heads, [_number_row(row) for row in comparison.rows])


def _number_row(row: Row) -> Markup:
    how = tag("span", ", ".join(filter(None, (row.what, row.mode))), class_="apart")
    return tag("tr", tag("th", row.name, Markup("<br>"), how, scope="row"), *_cells(row))


def _cells(row: Row) -> Iterator[Markup]:
    for cell in row.cells:
        change = show_change(cell)
        parts = [show_cell(row, cell)]
        if change:
            parts += [" ", tag("span", change, class_=_name_class(row, cell, change))]
        if cell is not None and cell.spread.count > 1:
            apart = f"{cell.spread.count} runs, {cell.spread.share:.0%} apart"
            parts += [Markup("<br>"), tag("span", apart, class_="apart")]
        yield tag("td", *parts)


def _name_class(row: Row, cell: Optional[Cell], change: str) -> str:
    if change == NOISE:
        return "apart"
    return f"change {'worse' if is_worse(row, cell) else 'better'}"


def _fact_table(comparison: Comparison) -> Markup:
    columns = [dict(list_facts(found)) for found in comparison.measurements]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(tag("td", escape(column.get(name, NONE))) for column in columns),
        )
        for name in names
    ]
    return _table(("", *comparison.columns), rows)


def _table(heads: Tuple[str, ...], rows: Sequence[Markup]) -> Markup:
    top = tag("tr", *(tag("th", escape(title), scope="col") for title in heads))
    table = tag("table", lines(tag("thead", top), tag("tbody", lines(*rows))))
    return tag("div", table, class_="scroll", tabindex="0")


def _figure(picture: Picture) -> Markup:
    narrow = Markup(f'<source media="(max-width: 40rem)" srcset="{_embed(picture.narrow)}">')
    wide = Markup(f'<img src="{_embed(picture.wide)}" alt="Chart: {escape(picture.title)}">')
    return tag("figure", tag("picture", narrow, wide))


def _embed(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode('utf-8')).decode('ascii')}"
