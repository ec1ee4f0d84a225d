"""`status` from the daemon's memory, as text for a tired reader. Pure; `now` is told.

The manifests' side first, then a table, what is wrong with whom below it, and a count.
"""

from __future__ import annotations

from collections import Counter
from typing import Iterator, List, Mapping, Sequence, Tuple

from reconciler.core.loop.overview import (
    NOT_READY,
    SUSPENDED,
    UNKNOWN,
    WORDS,
    Entry,
    Overview,
)
from reconciler.core.loop.record import SourceRecord
from reconciler.core.loop.verdict import READY, RECONCILING, RESTART_REQUIRED, STALLED
from reconciler.core.render.details import SHORT, describe_fully, describe_trouble
from reconciler.core.render.layout import Line, Page, lay_columns, lay_lines, lay_text
from reconciler.core.render.times import show_ago, show_span
from reconciler.core.render.values import escape
from reconciler.core.render.words import count

HEADER = ("NAME", "STATUS", "GUEST", "COLD-START", "CHANGED", "OBSERVED", "REVISION")
DISPENSABLE = ("OBSERVED", "REVISION", "CHANGED")  # the first one goes first
COLOURS: Mapping[str, str] = {
    READY: "green",
    NOT_READY: "yellow",
    UNKNOWN: "yellow",
    STALLED: "red",
    RECONCILING: "cyan",
    SUSPENDED: "magenta",
}
PROBLEMS_SHOWN = 5
POLLING = "polling"
INDENT = 2


def render_overview(
    overview: Overview,
    chosen: Sequence[Entry],
    page: Page,
    now: float,
    *,
    full: bool = False,
    verbose: bool = False,
) -> str:
    """Return the page; `chosen` are the objects to show, `full` with all that is known of them.

    `verbose` shows every problem of the manifests.
    """
    lines = lay_lines(list(_describe_head(overview, now, verbose=verbose)), page)
    lines += ["", *_lay_objects(chosen, page, now, full=full)]
    return "\n".join(lines) + "\n"


def _describe_head(overview: Overview, now: float, *, verbose: bool) -> Iterator[Line]:
    yield _describe_daemon(overview, now)
    if overview.hindrance:
        text = f"{overview.hindrance}; the daemon works without it, and what follows is old; ask "
        yield from _line("Memory", f"{text}libvirt itself: virt-reconciler status --live")
    source = overview.source
    yield Line("Manifests", _describe_manifests(source, now))
    if source.watching:
        polling = source.watching.startswith(POLLING)
        yield Line("Watched by", escape(source.watching), "yellow" if polling else "")
    yield from _describe_trouble(source, verbose=verbose)
    for each in overview.broken:
        yield Line("Not used", escape(each), "yellow")


def _describe_daemon(overview: Overview, now: float) -> Line:
    if overview.daemon is not None:
        process = f", process {overview.daemon}" if overview.daemon else ""
        return Line("Daemon", f"running{process}", "green")
    when = f" {show_ago(overview.last_sign, now)}" if overview.last_sign else " before"
    text = f"not running; this is how it was{when} (--live asks libvirt itself)"
    return Line("Daemon", text, "red")


def _describe_manifests(source: SourceRecord, now: float) -> str:
    if source.identity is None:
        return "none in force yet"
    digest = source.identity.rpartition(":")[2][:SHORT]
    which = source.revision or f"{digest} (a digest of the files)"
    since = f", in force for {show_span(now - source.since)}" if source.since else ""
    return escape(f"{which}{since}")


def _describe_trouble(source: SourceRecord, *, verbose: bool) -> Iterator[Line]:
    """Say what keeps newer manifests, a prune or anything at all from being done."""
    yield from _line("Not read", source.error)
    yield from _line("Refused", source.refused)
    if source.problems:
        text = f"{count(len(source.problems), 'problem')}; what was valid last stays in force:"
        yield Line("Invalid", text, "red")
        shown = _shorten(source.problems, verbose=verbose)
        yield from (Line("", escape(one), "red") for one in shown)
    yield from _line("Prune", source.prune_blocked)
    yield from _line("libvirt", source.libvirt)
    if source.configuration:
        text = f"not reloaded: {source.configuration}; see: virt-reconciler config check"
        yield from _line("Settings", text)
    if source.restart_needed:
        names = ", ".join(source.restart_needed)
        text = f"restart needed for: {names} (systemctl restart virt-reconciler)"
        yield Line("Settings", escape(text), "yellow")


def _line(label: str, text: str) -> Iterator[Line]:
    if text:
        yield Line(label, escape(text), "red")


def _shorten(problems: Sequence[str], *, verbose: bool) -> Sequence[str]:
    more = len(problems) - PROBLEMS_SHOWN
    if verbose or more <= 0:
        return problems
    return [*problems[:PROBLEMS_SHOWN], f"and {more} more (-v shows all)"]


def _lay_objects(chosen: Sequence[Entry], page: Page, now: float, *, full: bool) -> List[str]:
    if not chosen:
        return ["No virtual machine has been looked at yet."]
    lines = lay_columns([HEADER, *(_row(one, now) for one in chosen)], page, DISPENSABLE, COLOURS)
    describe = describe_fully if full else describe_trouble
    for one in chosen:
        described = describe(one, now)
        if described:
            name = page.style.paint(escape(one.name), "bold")
            lines += ["", f"{name}: {one.word}", *lay_lines(described, page, INDENT)]
    return [*lines, "", *lay_text(_count(chosen), page)]


def _row(entry: Entry, now: float) -> Tuple[str, ...]:
    record, change = entry.record, entry.record.last_change
    restart = {True: "needed", False: "-", None: "?"}[entry.condition(RESTART_REQUIRED).holds]
    return (
        escape(entry.name),
        entry.word,
        escape(record.guest or record.state),
        restart,
        show_ago(change.at, now) if change else "-",
        escape((record.observed_generation or "-")[:SHORT]),
        escape((record.revision or "-")[:SHORT]),
    )


def _count(chosen: Sequence[Entry]) -> str:
    found = Counter(one.word for one in chosen)
    words = ", ".join(f"{found[one]} {one}" for one in WORDS if found[one])
    return f"{count(len(chosen), 'virtual machine')}: {words}."
