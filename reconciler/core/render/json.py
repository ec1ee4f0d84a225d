"""Plans and status as JSON, as the public contract has them; the same value is the same text."""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, Sequence

from reconciler.core.conditions import Condition, Status
from reconciler.core.guest import GuestReport
from reconciler.core.overview import Overview, OverviewEntry
from reconciler.core.plan import Action, ActionKind, Change, Plan
from reconciler.core.records import LastChange, SourceRecord, Suspension
from reconciler.core.render.words import Summary, show_path, summarise
from reconciler.core.secrets import hide_sides, hide_text
from reconciler.core.units import show_time

FORMAT_VERSION = 1


def render_json(plan: Plan) -> str:
    """Return the plan as an indented JSON document."""
    summary = summarise(plan)
    ordered = sorted(plan.actions, key=lambda action: (action.kind, action.name))
    document = {
        "formatVersion": FORMAT_VERSION,
        "host": plan.host,
        "uri": hide_text(plan.uri),
        "revision": plan.revision,
        "base": plan.base,
        "snapshot": plan.taken_at and {"takenAt": plan.taken_at},
        "summary": _summary(summary),
        "withheldChanges": summary.withheld_changes,
        "resources": [_resource(action) for action in ordered],
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
        "pending": [show_path(path) for path in action.pending],
        "notes": list(map(hide_text, action.notes)),
        "changes": [_change(change) for change in action.changes],
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


KIND = "VirtualMachine"


def render_statuses_json(statuses: Sequence[Status]) -> str:
    """Return what was seen on the host."""
    items = [
        {
            "kind": KIND,
            "name": status.name,
            "state": status.state,
            "guest": status.guest or status.state,
            "observedGeneration": status.generation,
            "conditions": [_condition(each) for each in status.conditions],
        }
        for status in statuses
    ]
    return _write({"from": "libvirt", "resources": items})


def render_overview_json(overview: Overview, chosen: Sequence[OverviewEntry]) -> str:
    """Return what is remembered; `chosen` are the objects to show."""
    return _write(
        {
            "from": "daemon",
            "daemon": _daemon(overview),
            "source": _source(overview.source),
            "resources": [_entry(entry) for entry in chosen],
        }
    )


def _write(document: Dict[str, Any]) -> str:
    return json.dumps({"formatVersion": FORMAT_VERSION, **document}, indent=2) + "\n"


def _daemon(overview: Overview) -> Dict[str, Any]:
    return {
        "running": overview.daemon is not None,
        "process": overview.daemon or None,
        "lastSign": show_time(overview.last_sign),
        "unusable": list(overview.broken),
        "notWritable": overview.hindrance,
    }


def _source(source: SourceRecord) -> Dict[str, Any]:
    return {
        "revision": source.revision,
        "identity": source.identity,
        "since": show_time(source.since),
        "error": source.error,
        "refused": source.refused,
        "problems": list(source.problems),
        "pruneBlocked": source.prune_blocked,
        "pruneHeld": list(source.prune_held),
        "watching": source.watching,
        "libvirt": source.libvirt,
        "configuration": source.configuration,
        "restartNeeded": list(source.restart_needed),
    }


def _entry(entry: OverviewEntry) -> Dict[str, Any]:
    record = entry.record
    return {
        "kind": record.kind,
        "name": entry.name,
        "status": entry.word,
        "state": record.state,
        "guest": record.guest or record.state,
        "generation": record.generation,
        "observedGeneration": record.observed_generation,
        "revision": record.revision,
        "conditions": [_condition(condition) for condition in entry.conditions],
        "suspended": _suspension(entry.suspension),
        "lastChange": _last_change(record.last_change),
        "lastError": record.last_error,
        "failures": record.failures,
        "nextTry": show_time(entry.next_try),
        "tryingSince": show_time(record.trying_since),
        "problem": record.problem,
        "command": entry.command,
        "inside": None if record.inside is None else _inside(record.inside.report),
    }


def _inside(report: GuestReport) -> Dict[str, Any]:
    """Return what was seen inside a guest; null where it does not tell."""
    return {
        "agent": report.agent.value,
        "agentVersion": report.version or None,
        "os": report.os or None,
        "system": report.system or None,
        "hostName": report.host_name or None,
        "interfaces": [
            {
                "name": card.name or None,
                "mac": card.mac,
                "addresses": list(card.addresses),
                "source": card.source.value,
            }
            for card in report.interfaces
        ],
        "disks": [
            {
                "device": disk.device,
                "bus": disk.bus or None,
                "serial": disk.serial or None,
                "pci": disk.pci or None,
            }
            for disk in report.disks
        ],
        "fileSystems": [
            {
                "mountpoint": mounted.mountpoint,
                "type": mounted.type or None,
                "device": mounted.device or None,
                "sizeBytes": mounted.size,
                "usedBytes": mounted.used,
            }
            for mounted in report.file_systems
        ],
        "cloudInit": {
            "state": report.cloud_init.state.value,
            "errors": list(map(hide_text, report.cloud_init.errors)),
            "stage": report.cloud_init.stage or None,
        },
        "unseen": [{"what": unseen.what, "why": unseen.why} for unseen in report.unseen],
    }


def _suspension(suspension: Optional[Suspension]) -> Optional[Dict[str, Any]]:
    return (
        None
        if suspension is None
        else {"since": show_time(suspension.at), "by": suspension.by, "reason": suspension.why}
    )


def _last_change(change: Optional[LastChange]) -> Optional[Dict[str, Any]]:
    return (
        None
        if change is None
        else {"at": show_time(change.at), "revision": change.revision, "what": change.what}
    )


def _condition(condition: Condition) -> Dict[str, str]:
    reason = hide_text(condition.reason)
    return {"type": condition.type, "status": condition.word, "reason": reason}
