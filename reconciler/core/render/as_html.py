"""A plan as one page that needs nothing else: no script, no picture, nothing from elsewhere.

Each effect is a word in a box, so that nothing is told by colour alone. All text goes through
`tag`, which escapes it.
"""

from __future__ import annotations

import html
from typing import Callable, Iterator, Sequence, Tuple

from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.render.attention import disturbing_rows, find_attention, held_rows
from reconciler.core.render.html_style import STYLE, policy
from reconciler.core.render.rows import Row, find_rows
from reconciler.core.render.style import SYMBOLS
from reconciler.core.render.summary import count_volumes, is_foreign, summarise
from reconciler.core.render.values import escape
from reconciler.core.render.words import (
    NO_HOST,
    count,
    headline,
    last_line,
    made_of,
    object_name,
    place,
    remarks,
    waiting,
)

Choice = Callable[[Action], Sequence[Row]]
# By their first signs: what a line of a diff is to a reader, or to a voice that reads it out.
_MARKS = {"+": "ins", "-": "del"}


class Markup(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def tag(name: str, *inside: str, **attributes: str) -> Markup:
    """Return an element; what is not `Markup` is text. `class_` is `class`, empty ones go."""
    given = "".join(
        f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items() if value
    )
    return Markup(f"<{name}{given}>{_inside(inside)}</{name}>")


def _inside(parts: Sequence[str]) -> str:
    return "".join(one if isinstance(one, Markup) else html.escape(one) for one in parts)


def lines(*parts: str) -> Markup:
    """Return parts that each begin a line of the page's source."""
    return Markup("\n" + "\n".join(_inside([one]) for one in parts if one) + "\n")


def render_html(plan: Plan) -> str:
    """Return the plan as a page."""
    page = tag("html", lines(_head(plan), tag("body", lines(*_body(plan)))), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _head(plan: Plan) -> Markup:
    named = (("viewport", "width=device-width, initial-scale=1"), ("robots", "noindex"))
    return tag(
        "head",
        lines(
            Markup('<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'),
            *(Markup(f'<meta name="{name}" content="{value}">') for name, value in named),
            tag("title", f"Plan for {escape(plan.host or NO_HOST)}"),
            tag("style", Markup(STYLE)),
        ),
    )


def _body(plan: Plan) -> Iterator[Markup]:
    summary = summarise(plan)
    yield tag("h1", "Plan for ", tag("code", escape(plan.host or NO_HOST)))
    where = tag("code", escape(plan.uri)) if plan.host else place(plan)
    yield tag("p", where, made_of(plan), class_="of")
    yield tag("p", last_line(summary), class_="sum")
    said = " ".join(remarks(plan, summary))
    if said:
        yield tag("p", said)
    yield from _attention(plan)
    shown = [one for one in plan.actions if one.action is not ActionKind.NONE or one.pending]
    if shown:
        yield tag("h2", "In detail")
    yield from map(_details, shown)
    yield from _unchanged(plan)


def _attention(plan: Plan) -> Iterator[Markup]:
    found = find_attention(plan)
    volumes = count(sum(map(count_volumes, found.deleted)), "volume")
    disturbed = f"⚠ Disturbs {count(len(found.disturbed), 'running guest')}"
    deleted = f"⚠ Deletes {count(len(found.deleted), 'machine')}, {volumes}"
    held = f"Not done, or not all of it: {count(len(found.held), 'object')}"
    blocks: Tuple[Tuple[str, str, Sequence[Action], Choice], ...] = (
        ("alarm", disturbed, found.disturbed, disturbing_rows),
        ("alarm", deleted, found.deleted, find_rows),
        ("held", held, found.held, held_rows),
    )
    for class_, title, actions, choose in blocks:
        if actions:
            items = lines(*(_item(one, choose(one)) for one in actions))
            yield tag("section", lines(tag("h2", title), tag("ul", items)), class_=class_)


def _item(action: Action, rows: Sequence[Row]) -> Markup:
    said = (tag("strong", object_name(action)), f": {headline(action)}")
    inner = lines(*(tag("li", *_row_inline(one)) for one in rows))
    return tag("li", *said, *([tag("ul", inner)] if rows else []))


def _row_inline(row: Row) -> Iterator[str]:
    yield from (_effect(row), " ", tag("code", row.say()))
    if row.reason:
        yield tag("span", f": {row.reason}", class_="why")


def _effect(row: Row) -> Markup:
    return tag("span", row.effect.value, class_=f"effect {row.effect.value}")


def _details(action: Action) -> Markup:
    sign = tag("code", SYMBOLS[action.action], class_="sign")
    summary = tag("summary", sign, " ", tag("strong", object_name(action)), f": {headline(action)}")
    # Open, so that paper and a search have it all; a fold is for the reader to close.
    return tag("details", lines(summary, *_below(action)), open="open")


def _below(action: Action) -> Iterator[Markup]:
    rows = find_rows(action)
    if rows:
        head = tag("tr", *(tag("th", one, scope="col") for one in ("", "Effect", "Change", "Why")))
        body = lines(*map(_row, rows))
        yield tag("table", lines(tag("thead", head), tag("tbody", body)))
    if action.pending and action.action is not ActionKind.NONE:
        yield tag("p", waiting(action), class_="note")
    for note in action.notes:
        yield tag("p", f"note: {escape(note)}", class_="note")
    if is_foreign(action) and not rows:
        yield tag("p", escape(action.reason), class_="note")


def _row(row: Row) -> Markup:
    sign = tag("td", tag("code", row.symbol, class_="sign"))
    change = tag("td", tag("code", row.say()), *([_diff(row)] if row.lines else []))
    return tag("tr", sign, tag("td", _effect(row)), change, tag("td", row.reason, class_="why"))


def _diff(row: Row) -> Markup:
    return tag("pre", *(tag(_MARKS.get(one[:1], "span"), f"{one}\n") for one in row.lines))


def _unchanged(plan: Plan) -> Iterator[Markup]:
    names = [
        tag("li", object_name(one))
        for one in plan.actions
        if one.action is ActionKind.NONE and not one.pending
    ]
    if names:
        summary = tag("summary", f"{count(len(names), 'object')} unchanged")
        yield tag("details", lines(summary, tag("ul", lines(*names))))
