"""A plan as a comment on a pull request: the sum, what hurts, what is not done; details."""

from __future__ import annotations

import html
from typing import Callable, Iterable, Iterator, List, Mapping, Sequence, Tuple

from reconciler.core.frozen import regex
from reconciler.core.plan import Action, ActionKind, Effect, Plan
from reconciler.core.render.text import (
    SYMBOLS,
    ChangeRow,
    disturbing_rows,
    find_attention,
    find_rows,
    held_rows,
)
from reconciler.core.render.words import (
    count,
    count_volumes,
    deeds,
    disturbs,
    escape,
    is_idle,
    last_line,
    made_of,
    object_name,
    place,
    remarks,
    summarise,
    waiting,
)

_TICKS = regex("`+")
_FEWEST = 3  # backticks that open a fence


def code(text: str) -> str:
    """Return one line of text as code within a paragraph."""
    ticks = "`" * (_longest(text) + 1)
    # A space that is there on both sides is taken away again, so that ticks may stand at an end.
    pad = " " if text[:1] in ("`", " ", "") or text[-1:] in ("`", " ") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def code_in_html(text: str) -> str:
    """Return one line of text as code within a line of HTML."""
    return f"<code>{html.escape(text)}</code>"


def fence(lines: Iterable[str]) -> str:
    """Return lines as a block that is coloured by the sign that each begins with."""
    body = "\n".join(lines)
    ticks = "`" * max(_longest(body) + 1, _FEWEST)
    return f"{ticks}diff\n{body}\n{ticks}"


def fold(summary: str, body: str) -> str:
    """Return a block that is opened by a click; `summary` is one line of HTML."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def size(text: str) -> int:
    """Return how long a text is, in the unit in which it is longest.

    GitHub refuses a comment with "maximum is 65536 characters". What it counts is told differently:
    code points up to 65,536, or bytes up to 4 times as many
    (github.com/dead-claudia/github-limits/pull/13), and tools count UTF-16 units. A text has never
    more of any of these than it has bytes in UTF-8. GitLab takes 1,000,000 (its `Note` model).
    """
    return len(text.encode("utf-8"))


def _longest(text: str) -> int:
    runs: List[str] = _TICKS.findall(text)
    return max(map(len, runs), default=0)


# A heading, and the items below it, each with its lines.
Block = Tuple[str, List[List[str]]]
_MORE = 60  # characters of the line that says how many items more there are


def render_top(plan: Plan, marker: str, room: int) -> Tuple[str, bool]:
    """Return the top, and whether all of it is there.

    Where there is no room, first what is not done loses its fields, then every object, then objects
    go, the last first: a comment that is refused for its length would say nothing at all.
    """
    head = "\n\n".join(_head(plan, marker))
    blocks = _blocks(plan)
    for brief in ((), (2,), (0, 1, 2)):
        top = _join(
            head, [_shorten(block) if i in brief else block for i, block in enumerate(blocks)]
        )
        if size(top) <= room:
            return top, not brief
    return _join(head, _cut([_shorten(block) for block in blocks], room - size(head))), False


def _head(plan: Plan, marker: str) -> Iterator[str]:
    summary = summarise(plan)
    yield f"{marker}\n**{last_line(summary)}**"
    yield f"{place(plan, code)}{made_of(plan, code)}"
    said = " ".join(remarks(plan, summary))
    if said:
        yield said


def _blocks(plan: Plan) -> Tuple[Block, ...]:
    found = find_attention(plan)
    volumes = sum(map(count_volumes, found.deleted))
    return (
        (
            f"**⚠ Disturbs {count(len(found.disturbed), 'running guest')}:**",
            _items(found.disturbed, disturbing_rows),
        ),
        (
            f"**⚠ Deletes {count(len(found.deleted), 'machine')}, {count(volumes, 'volume')}:**",
            _items(found.deleted, find_rows),
        ),
        (
            f"**Not done, or not all of it: {count(len(found.held), 'object')}:**",
            _items(found.held, held_rows),
        ),
    )


def _items(
    actions: Sequence[Action], choose: Callable[[Action], Sequence[ChangeRow]]
) -> List[List[str]]:
    return [[_item(action), *map(_row, choose(action)), *_notes(action)] for action in actions]


def _item(action: Action) -> str:
    own = ", ".join(deeds(action))
    reason = code(escape(action.reason)) if action.reason else ""
    said = ", ".join(part for part in (own, reason) if part)
    return f"- **{code(object_name(action))}**: {said}"


def _row(row: ChangeRow) -> str:
    reason = f": {code(row.reason)}" if row.reason else ""
    return f"  - **{row.effect.value}** {code(row.say())}{reason}"


def _notes(action: Action) -> Iterator[str]:
    """Yield what else is to be known of what has no fold of its own."""
    if action.action is ActionKind.DELETE:
        yield from (f"  - {code(escape(note))}" for note in action.notes)


def _join(head: str, blocks: Sequence[Block]) -> str:
    shown = [f"{title}\n\n{_lines(items)}" for title, items in blocks if items]
    return "\n\n".join([head, *shown])


def _lines(items: Sequence[Sequence[str]]) -> str:
    return "\n".join(line for item in items for line in item)


def _shorten(block: Block) -> Block:
    title, items = block
    return title, [item[:1] for item in items]


def _cut(blocks: Sequence[Block], room: int) -> List[Block]:
    """Return the blocks with as many items as there is room for, the first ones first."""
    room -= sum(size(title) + _MORE for title, _ in blocks)
    found: List[Block] = []
    for title, items in blocks:
        kept: List[List[str]] = []
        for item in items:
            room -= size(_lines([item])) + 1
            if room < 0:
                kept.append([f"- and {len(items) - len(kept)} more, which `plan` shows"])
                break
            kept.append(item)
        found.append((title, kept))
    return found


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
    sections = [(action, _section(action)) for action in plan.actions if _is_shown(action)]
    top, is_full = render_top(plan, MARKER, limit)
    whole = _join_parts(top, [text for _, text in sections])
    if is_full and size(whole) <= limit:
        return whole
    top, is_full = render_top(plan, MARKER, limit - _LEFT_OUT)
    shown = _choose(sections, limit - _LEFT_OUT - size(top))
    lost = [action for action, _ in sections if action not in shown]
    if not is_full:
        lost += [action for action in plan.actions if action.action is ActionKind.DELETE]
    kept = [text for action, text in sections if action in shown]
    return _join_parts(top, [*kept, *([_left_out(lost)] if lost else [])])


def _join_parts(top: str, blocks: Sequence[str]) -> str:
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
    for action, text in sorted(sections, key=lambda section: _rank(section[0])):
        room -= size(text) + 2
        if room < 0:
            break
        shown.append(action)
    return shown


def _rank(action: Action) -> int:
    """Return how far down an object may be left out."""
    effects = {change.effect for change in action.changes}
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
    for number, action in enumerate(lost):
        name = f"{',' if number else ''} {code(object_name(action))}"
        if size(text + name) > _LEFT_OUT - 100:
            return f"{text} and {len(lost) - number} more."
        text += name
    return f"{text}."


def _section(action: Action) -> str:
    sign, name = (code_in_html(text) for text in (SYMBOLS[action.action], object_name(action)))
    # What waits for a restart is named by others, and stands in the fold.
    said = "restart required" if action.action is ActionKind.NONE else ", ".join(deeds(action))
    return fold(f"{sign} <b>{name}</b>{f': {said}' if said else ''}", fence(_object_lines(action)))


def _object_lines(action: Action) -> Iterator[str]:
    rows = find_rows(action)
    width = max((len(row.effect.value) for row in rows), default=0)
    for row in rows:
        yield _line(row, width)
        yield from map(_inset, row.lines)
    if action.pending:
        yield f"# {waiting(action)}"
    yield from (f"# note: {escape(note)}" for note in action.notes)


def _line(row: ChangeRow, width: int) -> str:
    reason = f"  # {row.reason}" if row.reason else ""
    return f"{_SIGNS.get(row.symbol, row.symbol)} {row.effect.value:<{width}}  {row.say()}{reason}"


def _inset(line: str) -> str:
    """Set a line of a value's own diff apart from the fields, its sign still the first."""
    return line if line.startswith("@@") else f"{line[:1]}     {line[1:]}"
