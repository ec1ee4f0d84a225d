"""A plan as text for a terminal: columns that line up, paragraphs behind labels, colours."""

from __future__ import annotations

from typing import Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.plan import Action, ActionKind, Change, Effect, Plan, Value
from reconciler.core.render.words import (
    DISTURBING,
    count,
    disturbs,
    escape,
    escape_line,
    headline,
    is_foreign,
    is_idle,
    last_line,
    made_of,
    object_name,
    place,
    remarks,
    show_path,
    show_value,
    summarise,
    waiting,
)
from reconciler.core.secrets import hide_sides
from reconciler.core.xmltree import fragment, indent, parse
from reconciler.errors import TerminalError

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
    import textwrap  # noqa: PLC0415 - start-up time

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


CONTEXT = 3  # lines that stay, around those that change
Lines = Tuple[str, ...]


@frozen
class Diff:
    """How many lines each side has, and what becomes of them."""

    before: int = 0
    after: int = 0
    lines: Lines = ()


def unify(old: Value, new: Value) -> Diff:
    """Return the diff of two sides; it has no lines if each side is one line at most.

    Each line begins with `+`, `-`, a space or `@@`, and holds nothing that a terminal obeys.
    """
    sides = [side for side in (old, new) if side is not None]
    if all(str(side).endswith("\n") for side in sides):  # else the newline at the end is news
        old, new = _chop(old), _chop(new)
    before, after = _lay_out(old), _lay_out(new)
    if before == after:  # the layout is all that differs
        before, after = _split(old), _split(new)
    if max(len(before), len(after)) <= 1:
        return Diff()
    return Diff(len(before), len(after), tuple(_diff(before, after)))


def _diff(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    if not (before and after):
        yield from (f"-{line}" for line in before)
        yield from (f"+{line}" for line in after)
        return
    import difflib  # noqa: PLC0415 - start-up time

    lines = difflib.unified_diff(before, after, n=CONTEXT, lineterm="")
    yield from list(lines)[2:]  # without the names of files that are none


def _chop(value: Value) -> Value:
    return None if value is None else str(value)[:-1]


def _split(value: Value) -> Lines:
    return () if value is None else tuple(map(escape_line, str(value).split("\n")))


def _lay_out(value: Value) -> Lines:
    """Return the lines of a value, those of an XML element indented by depth."""
    if not isinstance(value, str) or not value.lstrip().startswith("<"):
        return _split(value)
    try:
        element = parse(value.strip())
    except TerminalError:
        return _split(value)
    indent(element, 0)
    return _split(fragment(element))


@frozen
class ChangeRow:
    """`old` is None where there was none, or the same that is made anew.

    `lines` is the diff of values of several lines. All is as it may be shown: one line each,
    nothing secret, nothing that a terminal obeys.
    """

    symbol: str
    effect: Effect
    path: str
    old: Optional[str]
    new: str
    reason: str
    lines: Tuple[str, ...] = ()

    def say(self, arrow: str = "→") -> str:
        """Return the change without its effect and reason."""
        values = self.new if self.old is None else f"{self.old} {arrow} {self.new}"
        return f"{self.path}: {values}"


def find_rows(action: Action) -> Tuple[ChangeRow, ...]:
    """Return the rows of an object; a reason that its headline gives is not repeated."""
    return tuple(_rows(action))


def _rows(action: Action) -> Iterator[ChangeRow]:
    for change in action.changes:
        old, new = hide_sides(change.path, change.observed, change.desired)
        diff = unify(old, new)
        is_new = change.observed is None or change.observed == change.desired
        yield ChangeRow(
            symbol=_symbol(change),
            effect=change.effect,
            path=show_path(change.path),
            old=None if is_new else _show(change.path, old, diff.before),
            new=_show(change.path, new, diff.after),
            reason="" if change.reason == action.reason else escape(change.reason),
            lines=diff.lines,
        )


def _symbol(change: Change) -> str:
    if change.effect is Effect.WITHHELD:
        return "!"
    if change.observed is None:
        return "+"
    return "-" if change.desired is None else "~"


def _show(path: str, value: Value, lines: int) -> str:
    return count(lines, "line") if lines > 1 else show_value(path, value)


_POWER = "power"


@frozen
class Attention:
    """Objects whose running guest is disturbed, those deleted, and those not done as asked.

    An object may be among the first and the last; what is deleted is among the second alone.
    """

    disturbed: Tuple[Action, ...]
    deleted: Tuple[Action, ...]
    held: Tuple[Action, ...]


def find_attention(plan: Plan) -> Attention:
    """Sort out the plan's actions, in its order."""
    deleted = tuple(action for action in plan.actions if action.action is ActionKind.DELETE)
    others = [action for action in plan.actions if action.action is not ActionKind.DELETE]
    return Attention(
        tuple(other for other in others if not is_idle(other) and disturbs(other)),
        deleted,
        tuple(other for other in others if _is_held(other)),
    )


def _is_held(action: Action) -> bool:
    kinds = (ActionKind.WITHHELD, ActionKind.FAILED)
    held = any(change.effect is Effect.WITHHELD for change in action.changes)
    return action.action in kinds or is_foreign(action) or held


def disturbing_rows(action: Action) -> Tuple[ChangeRow, ...]:
    """Return the changes that disturb the running guest, now or in its maintenance window."""
    later = {Effect.NEXT_BOOT} if action.awaits_window else set()
    effects = DISTURBING | later
    return tuple(row for row in find_rows(action) if row.effect in effects or row.path == _POWER)


def held_rows(action: Action) -> Tuple[ChangeRow, ...]:
    """Return the changes that are not done."""
    return tuple(row for row in find_rows(action) if row.effect is Effect.WITHHELD)


# Signs at the start of a line of a unified diff.
_DIFF_COLOURS: Mapping[str, str] = {"+": "green", "-": "red", "@": "cyan"}


def render_text(plan: Plan, style: Style, *, verbose: bool = False) -> str:
    """Return the plan as lines; `verbose` also lists what stays unchanged."""
    effects = (change.effect for action in plan.actions for change in action.changes)
    width = max((len(effect.value) for effect in effects), default=0)
    blocks = [
        "\n".join(_block(action, width, style))
        for action in plan.actions
        if verbose or action.pending or action.notes or action.action is not ActionKind.NONE
    ]
    summary = summarise(plan)
    title = style.paint(f"{place(plan)}{made_of(plan)}", "bold")
    end = [*remarks(plan, summary), style.paint(last_line(summary), "bold")]
    return "\n\n".join([title, *blocks, "\n".join(end)]) + "\n"


def _block(action: Action, width: int, style: Style) -> Iterator[str]:
    symbol = SYMBOLS[action.action]
    name = style.paint(object_name(action), "bold")
    yield f"{style.paint_symbol(symbol)} {name}: {headline(action)}"
    for row in find_rows(action):
        yield f"    {_line(row, width, style)}"
        yield from (f"        {_paint(line, style)}" for line in row.lines)
    if action.pending and action.action is not ActionKind.NONE:
        yield f"    {style.paint(waiting(action), 'yellow')}"
    for note in action.notes:
        yield f"    {style.paint(f'note: {escape(note)}', 'dim')}"


def _line(row: ChangeRow, width: int, style: Style) -> str:
    colour = EFFECT_COLOURS.get(row.effect, "")
    effect = style.paint(f"{row.effect.value:<{width}}", colour)
    reason = style.paint(f"  # {row.reason}" if row.reason else "", "dim")
    return f"{style.paint_symbol(row.symbol)} {effect}  {row.say(style.arrow)}{reason}"


def _paint(line: str, style: Style) -> str:
    return style.paint(line, _DIFF_COLOURS.get(line[:1], ""))
