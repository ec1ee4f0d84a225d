"""A machine's history as text and JSON: a line for each change, or one change in full."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Sequence

from reconciler.core.history import DONE, UNFINISHED, ChangeRecord, as_action
from reconciler.core.key import Key, show_key
from reconciler.core.measurements.values import Measurement
from reconciler.core.plan import ActionKind, Effect, Plan
from reconciler.core.render.measurements import describe_setup, find_headline, say_headline
from reconciler.core.render.text import Page, Style, lay_columns, render_text
from reconciler.core.render.words import escape, escape_line, show_path
from reconciler.core.units import read_time, show_time

FORMAT_VERSION = 1
SHORT = 12  # characters of a commit
SHOWN = 3  # fields in a line
_DEEDS = {"create": "created", "adopt": "adopted", "delete": "deleted"}
HEADS = ("N", "WHEN", "BY", "REVISION", "OUTCOME", "WHAT")


def render_history(
    entries: Sequence[ChangeRecord], style: Style, measured: Sequence[Measurement] = ()
) -> str:
    """Return a line for each change, newest first, and between them what was measured when."""
    rows = [(entry.at, _row(entry)) for entry in entries]
    rows += [(read_time(each.taken_at), _measured_row(each)) for each in measured]
    if measured:
        rows.sort(key=lambda row: row[0], reverse=True)
    lines = lay_columns([HEADS, *(row for _, row in rows)], Page(style))
    return "\n".join(lines) + "\n"


def _measured_row(measurement: Measurement) -> Sequence[str]:
    result = find_headline(measurement.results)
    number = "" if result is None else f": {say_headline(result)}"
    what = f"measured {describe_setup(measurement.environment)}{number} ({measurement.id})"
    return "-", measurement.taken_at, "bench disk", "-", "-", escape(what)


def _row(past: ChangeRecord) -> Sequence[str]:
    revision = (past.cause.revision or "-")[:SHORT]
    when = show_time(past.at) or "-"
    what = escape(describe(past))
    return str(past.number), when, escape(say_who(past)), revision, past.outcome, what


def say_who(past: ChangeRecord) -> str:
    """Return who or what caused it: `daemon`, or `apply by alice`."""
    cause = past.cause
    return cause.who if cause.verb == "run" else f"{cause.verb} by {cause.who}"


def describe(past: ChangeRecord) -> str:
    """Return in a few words what was done."""
    words = [_DEEDS[past.action]] if past.action in _DEEDS else []
    if past.cause.back_to is not None:
        words = [f"back to before {past.cause.back_to}"]
    if past.action != ActionKind.CREATE.value:
        words += _fields(past)
    return ", ".join(words) or "only virt-reconciler's mark"


def _fields(past: ChangeRecord) -> List[str]:
    done = [change for change in past.changes if change.effect != Effect.WITHHELD.value]
    shown = [f"{show_path(change.path)} ({change.effect})" for change in done[:SHOWN]]
    more = len(done) - len(shown)
    return [*shown, f"{more} more"] if more else shown


def render_past(past: ChangeRecord, style: Style) -> str:
    """Return one change in full: its plan as it was, how it ended, the definition before it."""
    return "\n".join(_full(past, style)) + "\n"


def _full(past: ChangeRecord, style: Style) -> Iterator[str]:
    at = f", manifests at {past.cause.revision}" if past.cause.revision else ""
    by = f"change {past.number} of {show_key(past.key)}, {show_time(past.at)}, {say_who(past)}{at}"
    yield style.paint(escape(by), "bold")
    yield ""
    _, *blocks, _ = render_text(Plan("", "", (as_action(past),)), style, verbose=True).split("\n\n")
    yield "\n\n".join(blocks)
    yield ""
    yield escape(_say_end(past))
    if past.former is None:
        if past.action == ActionKind.CREATE.value:
            yield "Before it, the object did not exist."
        return
    power, autostart = (
        "running" if past.former.running else "off",
        "on" if past.former.autostart else "off",
    )
    yield f"Before it the guest was {power}, autostart was {autostart}, and its definition was:"
    yield ""
    yield from map(escape_line, past.former.xml.rstrip("\n").split("\n"))


def _say_end(past: ChangeRecord) -> str:
    if past.outcome == DONE:
        return "It succeeded."
    if past.outcome == UNFINISHED:
        return "Its end is not recorded: it is in progress, or was interrupted."
    return f"It failed: {past.error}"


def render_history_json(key: Key, entries: Sequence[ChangeRecord]) -> str:
    """Return the entries as an indented JSON document; keys are only ever added."""
    document = {
        "formatVersion": FORMAT_VERSION,
        "kind": key.kind,
        "name": key.name,
        "changes": [_entry(entry) for entry in entries],
    }
    return json.dumps(document, indent=2) + "\n"


def _entry(past: ChangeRecord) -> Dict[str, Any]:
    former = past.former
    return {
        "number": past.number,
        "at": show_time(past.at),
        "by": past.cause.who,
        "verb": past.cause.verb,
        "revision": past.cause.revision,
        "backTo": past.cause.back_to,
        "action": past.action,
        "outcome": past.outcome,
        "error": past.error,
        "kept": list(past.kept),
        "notes": list(past.notes),
        "changes": [
            {
                "path": show_path(change.path),
                "observed": change.observed,
                "desired": change.desired,
                "effect": change.effect,
                "reason": change.reason,
            }
            for change in past.changes
        ],
        "former": None
        if former is None
        else {
            "uuid": former.uuid,
            "running": former.running,
            "autostart": former.autostart,
            "definition": former.xml,
        },
    }
