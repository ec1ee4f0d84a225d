"""What a running daemon would undo, because it follows other manifests than a command is given.

Such a change is withheld before anybody is asked: a success that is undone in the same second is
none. A person who means it suspends the machine first.
"""

from __future__ import annotations

import argparse
import shlex
from typing import Dict, Mapping, Optional, Tuple

from reconciler.cli.console import Console
from reconciler.cli.daemon_state import read_state
from reconciler.cli.plans import Prepared
from reconciler.cli.services import Services
from reconciler.control.service_ports import DaemonMemory
from reconciler.core.frozen import replace
from reconciler.core.key import Key, show_key
from reconciler.core.manifest import Manifest
from reconciler.core.plan import Action, ActionKind, Effect
from reconciler.core.prune import is_followed
from reconciler.core.records import SourceRecord
from reconciler.errors import TransientError

SHORT = 12  # characters of a commit


def withhold_conflicts(
    prepared: Prepared, options: argparse.Namespace, console: Console, services: Services
) -> Tuple[Prepared, Tuple[str, ...]]:
    """Return the plan without what the daemon here would undo, and the objects concerned."""
    if not any(action.steps for action in prepared.plan.actions):
        return prepared, ()
    reasons = _find_reasons(prepared, options, console, services)
    actions = tuple(
        _withhold(action, reasons[action.key]) if action.steps and action.key in reasons else action
        for action in prepared.plan.actions
    )
    names = tuple(one.name for one, now in zip(prepared.plan.actions, actions) if one != now)
    return replace(prepared, plan=replace(prepared.plan, actions=actions)), names


def _find_reasons(
    prepared: Prepared, options: argparse.Namespace, console: Console, services: Services
) -> Mapping[Key, str]:
    """Return why objects are left to the daemon; none where it does not run."""
    state = read_state(options, console, services)
    if state is None:
        return {}
    memory = services.reach_memory(state)
    try:
        daemon = memory.find_daemon()
        return {} if daemon is None else _compare(prepared, memory, daemon)
    except TransientError as error:
        console.note(f"cannot find out whether a daemon would undo this: {error}")
        return {}


def _compare(prepared: Prepared, memory: DaemonMemory, daemon: int) -> Mapping[Key, str]:
    records, suspended = memory.load_records(), memory.suspended()
    who = f"the daemon{f' (process {daemon})' if daemon else ''}"
    follows = f"{who} follows {_describe(memory.load_source())}"
    found: Dict[Key, str] = {}
    for key, manifest in prepared.desired.objects.items():
        record = records.get(key)
        if record is None or key in suspended or not is_followed(record):
            continue
        if _differs(manifest, record.generation):
            suspend = f"virt-reconciler suspend {shlex.quote(show_key(key))}"
            found[key] = (
                f"{follows} and would undo this: change the manifest there, or first: {suspend}"
            )
    return found


def _differs(manifest: Manifest, generation: Optional[str]) -> bool:
    return generation is not None and generation != manifest.generation


def _describe(source: SourceRecord) -> str:
    return f"commit {source.revision[:SHORT]}" if source.revision else "other manifests"


def _withhold(action: Action, reason: str) -> Action:
    changes = tuple(replace(change, effect=Effect.WITHHELD, reason="") for change in action.changes)
    return replace(action, action=ActionKind.WITHHELD, changes=changes, steps=(), reason=reason)
