"""A plan as JSON, as the public contract has it; the same plan is always the same text.

Sizes are bytes, values as they are in the model, secrets blanked out. Keys are only ever added.
"""

from __future__ import annotations

import json
from typing import Any, Dict

from reconciler.core.plan import Action, ActionKind, Change, Plan
from reconciler.core.render.summary import Summary, summarise
from reconciler.core.render.values import hide_secrets, show_path

FORMAT_VERSION = 1


def render_json(plan: Plan) -> str:
    """Return the plan as an indented JSON document."""
    ordered = sorted(plan.actions, key=lambda one: (one.kind, one.name))
    document = {
        "formatVersion": FORMAT_VERSION,
        "host": plan.host,
        "uri": plan.uri,
        "revision": plan.revision,
        "summary": _summary(summarise(plan)),
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
        "withheld": summary.withheld - summary.foreign,
        "failed": summary.failed,
    }


def _resource(action: Action) -> Dict[str, Any]:
    failed = action.action is ActionKind.FAILED
    return {
        "kind": action.kind,
        "name": action.name,
        "action": "withheld" if failed else action.action.value,
        "failed": failed,
        "reason": action.reason,
        "pending": [show_path(one) for one in action.pending],
        "notes": list(action.notes),
        "changes": [_change(one) for one in action.changes],
    }


def _change(change: Change) -> Dict[str, Any]:
    return {
        "path": show_path(change.path),
        "observed": hide_secrets(change.observed),
        "desired": hide_secrets(change.desired),
        "effect": change.effect.value,
        "reason": change.reason,
    }
