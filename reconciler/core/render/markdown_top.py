"""The top of a plan's comment: what a reviewer sees without a click. Folds nothing."""

from __future__ import annotations

from typing import Callable, Iterator, List, Sequence, Tuple

from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.render.attention import disturbing_rows, find_attention, held_rows
from reconciler.core.render.markdown_parts import code, size
from reconciler.core.render.rows import Row, find_rows
from reconciler.core.render.summary import count_volumes, summarise
from reconciler.core.render.values import escape
from reconciler.core.render.words import (
    count,
    deeds,
    last_line,
    made_of,
    object_name,
    place,
    remarks,
)

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
        top = _join(head, [_shorten(one) if i in brief else one for i, one in enumerate(blocks)])
        if size(top) <= room:
            return top, not brief
    return _join(head, _cut([_shorten(one) for one in blocks], room - size(head))), False


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


def _items(actions: Sequence[Action], choose: Callable[[Action], Sequence[Row]]) -> List[List[str]]:
    return [[_item(one), *map(_row, choose(one)), *_notes(one)] for one in actions]


def _item(action: Action) -> str:
    own = ", ".join(deeds(action))
    reason = code(escape(action.reason)) if action.reason else ""
    said = ", ".join(one for one in (own, reason) if one)
    return f"- **{code(object_name(action))}**: {said}"


def _row(row: Row) -> str:
    reason = f": {code(row.reason)}" if row.reason else ""
    return f"  - **{row.effect.value}** {code(row.say())}{reason}"


def _notes(action: Action) -> Iterator[str]:
    """Yield what else is to be known of what has no fold of its own."""
    if action.action is ActionKind.DELETE:
        yield from (f"  - {code(escape(one))}" for one in action.notes)


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
