"""What is to be said of one object beside its row in the table. Pure."""

from __future__ import annotations

from typing import Iterator, List, Mapping

from reconciler.core.loop.overview import NOT_READY, SUSPENDED, Entry
from reconciler.core.loop.record import Suspension
from reconciler.core.loop.verdict import READY, RECONCILING, RESTART_REQUIRED, STALLED
from reconciler.core.render.layout import Line
from reconciler.core.render.times import show_ago, show_ahead
from reconciler.core.render.values import escape, show_path
from reconciler.core.render.words import count
from reconciler.core.status import Condition

SHORT = 12  # characters of a commit or a digest, enough to tell two apart


def describe_trouble(entry: Entry, now: float) -> List[Line]:
    """Return what is not as it should be; nothing if all is well. No text is said twice."""
    lines: List[Line] = []
    for one in _find_trouble(entry, now):
        if one.text and not any(each.text in one.text for each in lines):
            lines.append(one)
    return lines


def describe_fully(entry: Entry, now: float) -> List[Line]:
    """Return all that is known."""
    record, ready = entry.record, entry.condition(READY)
    return [
        *_find_suspension(entry, now),
        *(Line(one, _show_condition(entry.condition(one))) for one in _TYPES),
        *_find_rest(entry, now, error="" if record.last_error == ready.reason else "Last error"),
        *_find_command(entry),
        Line("Guest", escape(record.guest or record.state)),
        Line("Generation", _show_generation(entry)),
        Line("Revision", escape(record.revision or "unknown: not from Git")),
        Line("Last change", _show_change(entry, now)),
    ]


def show_suspension(suspension: Suspension, now: float) -> str:
    """Return since when, by whom and why."""
    by = f" by {suspension.by}" if suspension.by else ""
    why = f": {suspension.why}" if suspension.why else ""
    return escape(f"{show_ago(suspension.at, now)}{by}{why}")


_TYPES = (READY, RECONCILING, STALLED, RESTART_REQUIRED)


def _find_trouble(entry: Entry, now: float) -> Iterator[Line]:
    yield from _find_suspension(entry, now)
    ready = entry.condition(READY)
    yield Line(STALLED, _reason(entry, STALLED), "red")
    if entry.suspension is None and not ready.holds:
        label = "Unknown" if ready.holds is None else "Not ready"
        yield Line(label, escape(ready.reason), "yellow")
    yield Line(RECONCILING, _reason(entry, RECONCILING))
    yield Line("Cold start", _reason(entry, RESTART_REQUIRED))
    yield from _find_rest(entry, now, error="Last error")
    yield from _find_command(entry)


def _find_suspension(entry: Entry, now: float) -> Iterator[Line]:
    if entry.suspension is not None:
        yield Line(SUSPENDED, show_suspension(entry.suspension, now), "magenta")


def _find_rest(entry: Entry, now: float, *, error: str) -> Iterator[Line]:
    record = entry.record
    if record.problem:
        yield Line("Manifest", f"the newest is not in force: {escape(record.problem)}", "red")
    if record.last_error and error:
        yield Line(error, escape(record.last_error))
    if entry.next_try is not None:
        failures = count(record.failures, "failure")
        yield Line("Next try", f"{show_ahead(entry.next_try, now)}, after {failures}")


_TO_DO: Mapping[str, str] = {
    STALLED: "change its manifest or the domain; to try again at once: ",
    RECONCILING: "to try again at once: ",
    NOT_READY: "once the cause is gone: ",
    SUSPENDED: "",
}


def _find_command(entry: Entry) -> Iterator[Line]:
    if entry.command:
        yield Line("To do", escape(f"{_TO_DO[entry.word]}{entry.command}"))


def _reason(entry: Entry, type_: str) -> str:
    condition = entry.condition(type_)
    return _explain(condition) if condition.holds else ""


def _show_condition(condition: Condition) -> str:
    reason = _explain(condition)
    return f"{condition.word}: {reason}" if reason else condition.word


def _explain(condition: Condition) -> str:
    if condition.type != RESTART_REQUIRED or not condition.reason:
        return escape(condition.reason)
    waiting = ", ".join(show_path(one) for one in condition.reason.split(", "))
    return f"needed for {waiting}"


def _show_generation(entry: Entry) -> str:
    record = entry.record
    wanted, observed = ((one or "none")[:SHORT] for one in _generations(entry))
    if record.generation == record.observed_generation:
        return escape(wanted)
    return escape(f"{wanted}; the last one a look came to an end with is {observed}")


def _generations(entry: Entry) -> Iterator[str]:
    yield entry.record.generation or ""
    yield entry.record.observed_generation or ""


def _show_change(entry: Entry, now: float) -> str:
    change = entry.record.last_change
    if change is None:
        return "none by the daemon"
    at = f" at {change.revision[:SHORT]}" if change.revision else ""
    return escape(f"{show_ago(change.at, now)}{at}: {change.what}")
