"""A plan as a comment on a pull request: the sum, what hurts, what is not done; then the details.

The top is never folded and never cut for the details' sake. Details are one fold an object; where
the comment would be too long, whole ones are left out, and a line says which.
"""

from __future__ import annotations

from typing import Iterator, List, Mapping, Sequence, Tuple

from reconciler.core.plan import Action, ActionKind, Effect, Plan
from reconciler.core.render.markdown_parts import code, code_in_html, fence, fold, size
from reconciler.core.render.markdown_top import render_top
from reconciler.core.render.rows import Row, find_rows
from reconciler.core.render.style import SYMBOLS
from reconciler.core.render.summary import disturbs, is_idle
from reconciler.core.render.values import escape
from reconciler.core.render.words import count, deeds, object_name, waiting

# By this a script finds the comment that it wrote before.
MARKER = "<!-- virt-reconciler plan -->"
LIMIT = 65_536
# Kept for the line about what is left out; so long a list of names is not read anyway.
_LEFT_OUT = 1_500
# Signs that are coloured at the start of a line: what changes, and what stays as it is.
_SIGNS: Mapping[str, str] = {"~": "!", "!": "#"}

Section = Tuple[Action, str]


def render_markdown(plan: Plan, limit: int = LIMIT) -> str:
    """Return the plan as Markdown of at most `limit` characters."""
    sections = [(one, _section(one)) for one in plan.actions if _is_shown(one)]
    top, is_full = render_top(plan, MARKER, limit)
    whole = _join(top, [text for _, text in sections])
    if is_full and size(whole) <= limit:
        return whole
    top, is_full = render_top(plan, MARKER, limit - _LEFT_OUT)
    shown = _choose(sections, limit - _LEFT_OUT - size(top))
    lost = [one for one, _ in sections if one not in shown]
    if not is_full:
        lost += [one for one in plan.actions if one.action is ActionKind.DELETE]
    kept = [text for one, text in sections if one in shown]
    return _join(top, [*kept, *([_left_out(lost)] if lost else [])])


def _join(top: str, blocks: Sequence[str]) -> str:
    return "\n\n".join([top, *blocks]) + "\n"


def _is_shown(action: Action) -> bool:
    """Whether there is more to say of the object; what is deleted stands at the top in full."""
    if action.action is ActionKind.NONE:
        return bool(action.pending)
    is_said = action.action is ActionKind.DELETE
    return not is_said and bool(action.changes or action.pending or action.notes)


def _choose(sections: Sequence[Section], room: int) -> List[Action]:
    """Return the objects whose sections there is room for, the most important first."""
    shown = []
    for action, text in sorted(sections, key=lambda one: _rank(one[0])):
        room -= size(text) + 2
        if room < 0:
            break
        shown.append(action)
    return shown


def _rank(action: Action) -> int:
    """Return how far down an object may be left out."""
    effects = {one.effect for one in action.changes}
    ranks = (
        disturbs(action),
        Effect.NEXT_BOOT in effects,
        Effect.WITHHELD in effects and not is_idle(action),
        Effect.LIVE in effects,
        is_idle(action) and bool(action.changes),
        action.action is not ActionKind.CREATE and bool(action.changes),
        action.action is ActionKind.CREATE,
    )
    return next((rank for rank, holds in enumerate(ranks) if holds), len(ranks))


def _left_out(lost: Sequence[Action]) -> str:
    """Say which objects are not shown in detail, as many of them by name as there is room for."""
    text = f"**Not shown in detail, as a comment holds no more: {count(len(lost), 'object')}:**"
    for number, one in enumerate(lost):
        name = f"{',' if number else ''} {code(object_name(one))}"
        if size(text + name) > _LEFT_OUT - 100:
            return f"{text} and {len(lost) - number} more."
        text += name
    return f"{text}."


def _section(action: Action) -> str:
    sign, name = (code_in_html(one) for one in (SYMBOLS[action.action], object_name(action)))
    # What waits for a restart is named by others, and stands in the fold.
    said = "restart required" if action.action is ActionKind.NONE else ", ".join(deeds(action))
    return fold(f"{sign} <b>{name}</b>{f': {said}' if said else ''}", fence(_lines(action)))


def _lines(action: Action) -> Iterator[str]:
    rows = find_rows(action)
    width = max((len(one.effect.value) for one in rows), default=0)
    for row in rows:
        yield _line(row, width)
        yield from map(_inset, row.lines)
    if action.pending:
        yield f"# {waiting(action)}"
    yield from (f"# note: {escape(one)}" for one in action.notes)


def _line(row: Row, width: int) -> str:
    reason = f"  # {row.reason}" if row.reason else ""
    return f"{_SIGNS.get(row.symbol, row.symbol)} {row.effect.value:<{width}}  {row.say()}{reason}"


def _inset(line: str) -> str:
    """Set a line of a value's own diff apart from the fields, its sign still the first."""
    return line if line.startswith("@@") else f"{line[:1]}     {line[1:]}"
