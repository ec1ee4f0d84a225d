"""Lay out and colour text: columns that line up, paragraphs behind labels. Knows no meaning."""

from __future__ import annotations

import textwrap
from typing import Iterable, List, Mapping, Sequence

from reconciler.core.frozen import frozen
from reconciler.core.plan import ActionKind, Effect

_CODES: Mapping[str, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "cyan": "36",
}

EFFECT_COLOURS: Mapping[Effect, str] = {
    Effect.NEXT_BOOT: "yellow",
    Effect.RESTART: "red",
    Effect.DESTRUCTIVE: "red",
    Effect.WITHHELD: "magenta",
}

SYMBOLS: Mapping[ActionKind, str] = {
    ActionKind.CREATE: "+",
    ActionKind.UPDATE: "~",
    ActionKind.DELETE: "-",
    ActionKind.ADOPT: ">",
    ActionKind.NONE: "=",
    ActionKind.WITHHELD: "!",
    ActionKind.FAILED: "!",
}

SYMBOL_COLOURS: Mapping[str, str] = {
    "+": "green",
    "~": "yellow",
    "-": "red",
    ">": "cyan",
    "!": "magenta",
}


@frozen
class Style:
    """`colour`: ANSI colours may be used. `unicode`: `→` can be shown."""

    colour: bool = False
    unicode: bool = True

    @property
    def arrow(self) -> str:
        """What stands between an old and a new value."""
        return "→" if self.unicode else "->"

    def paint(self, text: str, *names: str) -> str:
        """Colour the text, if colours are wanted."""
        codes = ";".join(_CODES[name] for name in names if name)
        return f"\033[{codes}m{text}\033[0m" if self.colour and codes and text else text

    def paint_symbol(self, symbol: str) -> str:
        """Colour one of the signs at the start of a line."""
        return self.paint(symbol, SYMBOL_COLOURS.get(symbol, ""))


GAP = "  "
NARROWEST = 24  # columns; where less is left for a text, it is not broken


@frozen
class Page:
    """What is written on: `width` columns, 0 where lines may be as long as they like."""

    style: Style
    width: int = 0


@frozen
class Line:
    """A paragraph and its label; `colour` is the text's, empty for none."""

    label: str
    text: str
    colour: str = ""


def lay_lines(lines: Sequence[Line], page: Page, indent: int = 0) -> List[str]:
    """Return the paragraphs, labels flush right, later lines below the first one's text."""
    room = max((len(line.label) for line in lines), default=0)
    found: List[str] = []
    for line in lines:
        label = f"{line.label}:" if line.label else ""
        head = f"{' ' * indent}{label:>{room + 1}} "
        first, *rest = _wrap(line.text, page.width - len(head))
        found.append(head + page.style.paint(first, line.colour))
        found.extend(" " * len(head) + page.style.paint(each, line.colour) for each in rest)
    return found


def lay_text(text: str, page: Page) -> List[str]:
    """Return a paragraph."""
    return _wrap(text, page.width)


def _wrap(text: str, width: int) -> List[str]:
    if width < NARROWEST:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def lay_columns(
    rows: Sequence[Sequence[str]],
    page: Page,
    dispensable: Iterable[str] = (),
    colours: Mapping[str, str] = {},
) -> List[str]:
    """Return rows with columns aligned; the first row holds the headings.

    Columns with a heading in `dispensable` are left out, in that order, as long as a line would
    not fit. `colours` are those of cells by their text.
    """
    shown = [list(row) for row in rows]
    for heading in dispensable:
        if page.width and _width(shown) > page.width:
            index = shown[0].index(heading)
            for row in shown:
                del row[index]
    widths = _widths(shown)
    lines = [_lay_row(row, widths, page.style, colours) for row in shown[1:]]
    return [page.style.paint(_lay_row(shown[0], widths, Style(), {}), "bold"), *lines]


def _lay_row(
    row: Sequence[str], widths: Sequence[int], style: Style, colours: Mapping[str, str]
) -> str:
    cells = [
        style.paint(cell, colours.get(cell, "")) + " " * (width - len(cell))
        for cell, width in zip(row, widths)
    ]
    return GAP.join(cells).rstrip()


def _widths(rows: Sequence[Sequence[str]]) -> List[int]:
    return [max(map(len, column)) for column in zip(*rows)]


def _width(rows: Sequence[Sequence[str]]) -> int:
    widths = _widths(rows)
    return sum(widths) + len(GAP) * (len(widths) - 1)
