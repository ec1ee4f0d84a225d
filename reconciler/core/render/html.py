"""A plan as one page that needs nothing else: no script, no picture, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
from typing import Callable, Iterator, Sequence, Tuple

from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.render.text import (
    SYMBOLS,
    ChangeRow,
    disturbing_rows,
    find_attention,
    find_rows,
    held_rows,
)
from reconciler.core.render.words import (
    NO_HOST,
    count,
    count_volumes,
    escape,
    headline,
    is_foreign,
    last_line,
    made_of,
    object_name,
    place,
    remarks,
    summarise,
    waiting,
)

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --dim: #59636e; --page: #fff; --box: #f6f8fa;
  --line: #d1d9e0; --red: #b3211a; --redbox: #ffebe9; --amber: #7d4e00; --amberbox: #fff4d3;
  --green: #116329; --greenbox: #dafbe1; --violet: #6639ba; --violetbox: #f3ebff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #9aa4af; --page: #0d1117;
  --box: #161b22; --line: #3d444d; --red: #ff9b94; --redbox: #3c1618; --amber: #e8b64a;
  --amberbox: #33270a; --green: #7ee095; --greenbox: #10301b; --violet: #cfadff;
  --violetbox: #2b1c48; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
a { color: inherit; }
.of { color: var(--dim); margin: .25rem 0 1rem; }
.sum { font-weight: 600; font-size: 1.1rem; margin: 0; }
.alarm { border: 2px solid var(--red); border-left-width: .6rem; background: var(--redbox);
  padding: .25rem 1rem .75rem; margin: 1rem 0; border-radius: .3rem; }
.alarm h2 { color: var(--red); margin-top: .5rem; }
.held { border: 1px solid var(--violet); border-left-width: .6rem; padding: .25rem 1rem .75rem;
  margin: 1rem 0; border-radius: .3rem; }
.held h2 { margin-top: .5rem; }
ul { margin: 0; padding-left: 1.2rem; }
details { border: 1px solid var(--line); border-radius: .3rem; margin: .5rem 0; }
summary { cursor: pointer; padding: .4rem .75rem; background: var(--box); }
.sign { display: inline-block; min-width: 1.2rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th:nth-child(1) { width: 3rem; } th:nth-child(2) { width: 8.5rem; } th:nth-child(4) { width: 30%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem;
  border-top: 1px solid var(--line); }
th { font-weight: 600; color: var(--dim); font-size: .85rem; }
.why { color: var(--dim); }
.effect { display: inline-block; border: 1px solid currentColor; border-radius: .3rem;
  padding: 0 .4rem; font-size: .85rem; font-weight: 600; white-space: nowrap; }
.live, .offline { color: var(--green); background: var(--greenbox); }
.next-boot { color: var(--amber); background: var(--amberbox); }
.restart, .destructive { color: var(--red); background: var(--redbox); border-width: 2px; }
.withheld { color: var(--violet); background: var(--violetbox); border-style: dashed; }
pre { margin: .3rem 0 0; padding: .4rem .6rem; border: 1px solid var(--line); overflow-x: auto;
  background: var(--box); white-space: pre-wrap; }
ins, del { text-decoration: none; }
ins { color: var(--green); background: var(--greenbox); }
del { color: var(--red); background: var(--redbox); }
.note { margin: 0; padding: .3rem .75rem; border-top: 1px solid var(--line); color: var(--dim); }
@media (max-width: 40rem) { table, tbody, tr, td { display: block; }
  thead { position: absolute; clip-path: inset(50%); }
  tr { border-top: 1px solid var(--line); padding: .3rem 0; } td { border: 0; padding: 0 .75rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  details::details-content { content-visibility: visible; height: auto; }
  details, .alarm, .held, tr { break-inside: avoid; } summary { background: none; }
  .effect, .alarm, ins, del { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def policy(style: str = STYLE, *, has_pictures: bool = False) -> str:
    """Return what a browser may do with the page: show it in this style, and nothing else.

    `has_pictures` allows those that are in the page itself.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    pictures = "img-src data:; " if has_pictures else ""
    return (
        f"default-src 'none'; {pictures}style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


Choice = Callable[[Action], Sequence[ChangeRow]]
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
    return "".join(part if isinstance(part, Markup) else html.escape(part) for part in parts)


def lines(*parts: str) -> Markup:
    """Return parts that each begin a line of the page's source."""
    return Markup("\n" + "\n".join(_inside([part]) for part in parts if part) + "\n")


def render_html(plan: Plan) -> str:
    """Return the plan as a page."""
    title = f"Plan for {escape(plan.host or NO_HOST)}"
    page = tag("html", lines(head(title), tag("body", lines(*_body(plan)))), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def head(title: str, style: str = STYLE, *, has_pictures: bool = False) -> Markup:
    """Return the head of a page."""
    named = (("viewport", "width=device-width, initial-scale=1"), ("robots", "noindex"))
    allowed = policy(style, has_pictures=has_pictures)
    return tag(
        "head",
        lines(
            Markup('<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'),
            *(Markup(f'<meta name="{name}" content="{value}">') for name, value in named),
            tag("title", title),
            tag("style", Markup(style)),
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
    shown = [
        action for action in plan.actions if action.action is not ActionKind.NONE or action.pending
    ]
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
            items = lines(*(_item(action, choose(action)) for action in actions))
            yield tag("section", lines(tag("h2", title), tag("ul", items)), class_=class_)


def _item(action: Action, rows: Sequence[ChangeRow]) -> Markup:
    said = (tag("strong", object_name(action)), f": {headline(action)}")
    inner = lines(*(tag("li", *_row_inline(row)) for row in rows))
    return tag("li", *said, *([tag("ul", inner)] if rows else []))


def _row_inline(row: ChangeRow) -> Iterator[str]:
    yield from (_effect(row), " ", tag("code", row.say()))
    if row.reason:
        yield tag("span", f": {row.reason}", class_="why")


def _effect(row: ChangeRow) -> Markup:
    return tag("span", row.effect.value, class_=f"effect {row.effect.value}")


def _details(action: Action) -> Markup:
    sign = tag("code", SYMBOLS[action.action], class_="sign")
    summary = tag("summary", sign, " ", tag("strong", object_name(action)), f": {headline(action)}")
    # Open, so that paper and a search have it all; a fold is for the reader to close.
    return tag("details", lines(summary, *_below(action)), open="open")


def _below(action: Action) -> Iterator[Markup]:
    rows = find_rows(action)
    if rows:
        head = tag(
            "tr", *(tag("th", title, scope="col") for title in ("", "Effect", "Change", "Why"))
        )
        body = lines(*map(_row, rows))
        yield tag("table", lines(tag("thead", head), tag("tbody", body)))
    if action.pending and action.action is not ActionKind.NONE:
        yield tag("p", waiting(action), class_="note")
    for note in action.notes:
        yield tag("p", f"note: {escape(note)}", class_="note")
    if is_foreign(action) and not rows:
        yield tag("p", escape(action.reason), class_="note")


def _row(row: ChangeRow) -> Markup:
    sign = tag("td", tag("code", row.symbol, class_="sign"))
    change = tag("td", tag("code", row.say()), *([_diff(row)] if row.lines else []))
    return tag("tr", sign, tag("td", _effect(row)), change, tag("td", row.reason, class_="why"))


def _diff(row: ChangeRow) -> Markup:
    return tag("pre", *(tag(_MARKS.get(line[:1], "span"), f"{line}\n") for line in row.lines))


def _unchanged(plan: Plan) -> Iterator[Markup]:
    names = [
        tag("li", object_name(action))
        for action in plan.actions
        if action.action is ActionKind.NONE and not action.pending
    ]
    if names:
        summary = tag("summary", f"{count(len(names), 'object')} unchanged")
        yield tag("details", lines(summary, tag("ul", lines(*names))))
