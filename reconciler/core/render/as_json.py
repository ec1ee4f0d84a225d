"""A plan as JSON, as the public contract has it; the same plan is always the same text.

Sizes are bytes, values as they are in the model, secrets hidden. Keys are only ever added.
"""

from __future__ import annotations

import json
from typing import Any, Dict

from reconciler.core.plan import Action, ActionKind, Change, Plan
from reconciler.core.render.summary import Summary, summarise
from reconciler.core.render.values import show_path
from reconciler.core.secrets import hide_sides, hide_text

FORMAT_VERSION = 1


def render_json(plan: Plan) -> str:
    """Return the plan as an indented JSON document."""
    summary = summarise(plan)
    ordered = sorted(plan.actions, key=lambda one: (one.kind, one.name))
    document = {
        "formatVersion": FORMAT_VERSION,
        "host": plan.host,
        "uri": hide_text(plan.uri),
        "revision": plan.revision,
        "base": plan.base,
        "snapshot": plan.taken_at and {"takenAt": plan.taken_at},
        "summary": _summary(summary),
        "withheldChanges": summary.withheld_changes,
        "resources": [_resource(one) for one in ordered],
    }
    return json.dumps(document, indent=2) + "\n"


def _summary(summary: Summary) -> Dict[str, int]:
    """Count the words under `action`.

    `volumes` are those deleted; `failed` counts those of the withheld that failed.
    """
    return {
        "create": summary.create,
        "update": summary.update,
        "adopt": summary.adopt + summary.foreign,
        "delete": summary.delete,
        "volumes": summary.volumes,
        "none": summary.none,
        "withheld": summary.withheld - summary.withheld_changes - summary.foreign,
        "failed": summary.failed,
    }


def _resource(action: Action) -> Dict[str, Any]:
    failed = action.action is ActionKind.FAILED
    return {
        "kind": action.kind,
        "name": action.name,
        "action": "withheld" if failed else action.action.value,
        "failed": failed,
        "reason": hide_text(action.reason),
        "pending": [show_path(one) for one in action.pending],
        "notes": list(map(hide_text, action.notes)),
        "changes": [_change(one) for one in action.changes],
    }


def _change(change: Change) -> Dict[str, Any]:
    observed, desired = hide_sides(change.path, change.observed, change.desired)
    return {
        "path": show_path(change.path),
        "observed": observed,
        "desired": desired,
        "effect": change.effect.value,
        "reason": hide_text(change.reason),
    }
