"""`status` as a table and as JSON."""

from __future__ import annotations

import json

from reconciler.core.conditions import Condition, Status
from reconciler.core.render.json import render_statuses_json
from reconciler.core.render.status import render_statuses
from reconciler.core.render.text import Style

STATUSES = (
    Status(
        "web01",
        "running",
        (
            Condition("Ready", holds=True),
            Condition("Reconciling", holds=False),
            Condition("RestartRequired", holds=True, reason="tpm, guest_agent"),
        ),
        "0123456789abcdef0123",
    ),
    Status("db", "unknown", (Condition("Ready", holds=None, reason="timed out\x1b"),)),
)

TABLE = """\
NAME   STATE    READY    RESTART-REQUIRED  GENERATION    REASON
web01  running  True     True              0123456789ab  waits for a cold start: tpm, guestAgent
db     unknown  Unknown  Unknown           -             timed out\\x1b
"""


def test_table_is_aligned_and_says_why() -> None:
    assert render_statuses(STATUSES, Style()) == TABLE


def test_only_the_header_is_dressed() -> None:
    coloured = render_statuses(STATUSES, Style(colour=True)).splitlines()
    assert coloured[0].startswith("\033[1m")
    assert "\033" not in "".join(coloured[1:])


def test_json_has_every_condition_with_kubernetes_words() -> None:
    first, second = json.loads(render_statuses_json(STATUSES))["resources"]
    assert first["observedGeneration"] == "0123456789abcdef0123"
    assert [(one["type"], one["status"]) for one in first["conditions"]] == [
        ("Ready", "True"),
        ("Reconciling", "False"),
        ("RestartRequired", "True"),
    ]
    assert second["conditions"][0]["status"] == "Unknown"
