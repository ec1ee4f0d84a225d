"""A plan as text, in the reading order of Terraform's: what happens to whom, then the sum.

Every line of a change carries its effect word in one column, so that the eye and grep find what
would disturb a guest. Objects that stay as they are are counted, and listed only when asked for.
The last line is frozen by the public contract.
"""

from __future__ import annotations

from typing import Iterator, Mapping

from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.render.rows import Row, find_rows
from reconciler.core.render.style import EFFECT_COLOURS, SYMBOLS, Style
from reconciler.core.render.summary import summarise
from reconciler.core.render.values import escape
from reconciler.core.render.words import (
    headline,
    last_line,
    made_of,
    object_name,
    place,
    remarks,
    waiting,
)

# Signs at the start of a line of a unified diff.
_DIFF_COLOURS: Mapping[str, str] = {"+": "green", "-": "red", "@": "cyan"}


def render_text(plan: Plan, style: Style, *, verbose: bool = False) -> str:
    """Return the plan as lines; `verbose` also lists what stays unchanged."""
    effects = (change.effect for action in plan.actions for change in action.changes)
    width = max((len(one.value) for one in effects), default=0)
    blocks = [
        "\n".join(_block(one, width, style))
        for one in plan.actions
        if verbose or one.pending or one.notes or one.action is not ActionKind.NONE
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


def _line(row: Row, width: int, style: Style) -> str:
    colour = EFFECT_COLOURS.get(row.effect, "")
    effect = style.paint(f"{row.effect.value:<{width}}", colour)
    reason = style.paint(f"  # {row.reason}" if row.reason else "", "dim")
    return f"{style.paint_symbol(row.symbol)} {effect}  {row.say(style.arrow)}{reason}"


def _paint(line: str, style: Style) -> str:
    return style.paint(line, _DIFF_COLOURS.get(line[:1], ""))
