"""Statuses as a table for people or JSON for programs. Pure."""

from __future__ import annotations

import json
from typing import Sequence, Tuple

from reconciler.core.render.style import Style
from reconciler.core.render.values import escape, show_path
from reconciler.core.status import Condition, Status

HEADER = ("NAME", "STATE", "READY", "RESTART-REQUIRED", "GENERATION", "REASON")
_GENERATION = 12  # characters of the digest, enough to tell two apart
_GAP = "  "


def render_statuses(statuses: Sequence[Status], style: Style) -> str:
    """Return one line for each machine, columns aligned."""
    rows = [HEADER, *(_row(one) for one in statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [_GAP.join(f"{cell:<{w}}" for cell, w in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([style.paint(lines[0], "bold"), *lines[1:]]) + "\n"


def render_statuses_json(statuses: Sequence[Status]) -> str:
    """Return the statuses as an indented JSON document."""
    items = [
        {
            "kind": "VirtualMachine",
            "name": one.name,
            "state": one.state,
            "observedGeneration": one.generation,
            "conditions": [_condition(each) for each in one.conditions],
        }
        for one in statuses
    ]
    return json.dumps({"formatVersion": 1, "resources": items}, indent=2) + "\n"


def _row(status: Status) -> Tuple[str, ...]:
    reasons = (_reason(one) for one in status.conditions)
    return (
        escape(status.name),
        status.state,
        status.condition("Ready").word,
        status.condition("RestartRequired").word,
        (status.generation or "")[:_GENERATION] or "-",
        "; ".join(one for one in reasons if one),
    )


def _reason(condition: Condition) -> str:
    if condition.type != "RestartRequired":
        return escape(condition.reason)
    waiting = ", ".join(show_path(one) for one in condition.reason.split(", "))
    return f"waits for a cold start: {waiting}" if condition.holds else ""


def _condition(condition: Condition) -> dict[str, str]:
    return {"type": condition.type, "status": condition.word, "reason": condition.reason}
