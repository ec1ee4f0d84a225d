"""`status` as JSON: what libvirt says now, or what the daemon remembers. Pure.

Keys are only ever added. Times are UTC; what is not known, or is not there, is null.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, Sequence

from reconciler.core.loop.overview import Entry, Overview
from reconciler.core.loop.record import LastChange, SourceRecord, Suspension
from reconciler.core.render.times import show_time
from reconciler.core.secrets import hide_text
from reconciler.core.status import Condition, Status

FORMAT_VERSION = 1
KIND = "VirtualMachine"


def render_statuses_json(statuses: Sequence[Status]) -> str:
    """Return what was seen on the host."""
    items = [
        {
            "kind": KIND,
            "name": one.name,
            "state": one.state,
            "guest": one.guest or one.state,
            "observedGeneration": one.generation,
            "conditions": [_condition(each) for each in one.conditions],
        }
        for one in statuses
    ]
    return _write({"from": "libvirt", "resources": items})


def render_overview_json(overview: Overview, chosen: Sequence[Entry]) -> str:
    """Return what is remembered; `chosen` are the objects to show."""
    return _write(
        {
            "from": "daemon",
            "daemon": _daemon(overview),
            "source": _source(overview.source),
            "resources": [_entry(one) for one in chosen],
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


def _entry(entry: Entry) -> Dict[str, Any]:
    record = entry.record
    return {
        "kind": KIND,
        "name": entry.name,
        "status": entry.word,
        "state": record.state,
        "guest": record.guest or record.state,
        "generation": record.generation,
        "observedGeneration": record.observed_generation,
        "revision": record.revision,
        "conditions": [_condition(one) for one in entry.conditions],
        "suspended": _suspension(entry.suspension),
        "lastChange": _change(record.last_change),
        "lastError": record.last_error,
        "failures": record.failures,
        "nextTry": show_time(entry.next_try),
        "problem": record.problem,
        "command": entry.command,
    }


def _suspension(one: Optional[Suspension]) -> Optional[Dict[str, Any]]:
    return None if one is None else {"since": show_time(one.at), "by": one.by, "reason": one.why}


def _change(one: Optional[LastChange]) -> Optional[Dict[str, Any]]:
    return (
        None
        if one is None
        else {"at": show_time(one.at), "revision": one.revision, "what": one.what}
    )


def _condition(condition: Condition) -> Dict[str, str]:
    reason = hide_text(condition.reason)
    return {"type": condition.type, "status": condition.word, "reason": reason}
