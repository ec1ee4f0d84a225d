"""What was seen on the host, as a table for people. Pure."""

from __future__ import annotations

from typing import Sequence, Tuple

from reconciler.core.loop.overview import LEFT_ALONE, SUSPENDED
from reconciler.core.loop.verdict import READY
from reconciler.core.render.layout import Page, lay_columns
from reconciler.core.render.style import Style
from reconciler.core.render.values import escape, show_path
from reconciler.core.status import Condition, Status

HEADER = ("NAME", "STATE", "READY", "RESTART-REQUIRED", "GENERATION", "REASON")
_GENERATION = 12  # characters of the digest, enough to tell two apart


def render_statuses(statuses: Sequence[Status], style: Style) -> str:
    """Return one line for each machine, columns aligned."""
    lines = lay_columns([HEADER, *(_row(one) for one in statuses)], Page(style))
    return "\n".join(lines) + "\n"


def _row(status: Status) -> Tuple[str, ...]:
    reasons = (_reason(one) for one in status.conditions)
    return (
        escape(status.name),
        status.guest or status.state,
        SUSPENDED if status.condition(SUSPENDED).holds else status.condition(READY).word,
        status.condition("RestartRequired").word,
        (status.generation or "")[:_GENERATION] or "-",
        "; ".join(one for one in reasons if one),
    )


def _reason(condition: Condition) -> str:
    if condition.type == SUSPENDED:
        return escape(f"suspended: {condition.reason}" if condition.reason else LEFT_ALONE)
    if condition.type == READY and condition.reason == LEFT_ALONE:
        return ""  # said already
    if condition.type != "RestartRequired":
        return escape(condition.reason)
    waiting = ", ".join(show_path(one) for one in condition.reason.split(", "))
    return f"waits for a cold start: {waiting}" if condition.holds else ""
