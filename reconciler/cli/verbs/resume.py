"""`resume`: lift a suspension, and have what is stalled tried again. Touches no object itself."""

from __future__ import annotations

import argparse
from typing import Optional

from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import prepare_orders, say_when
from reconciler.cli.services import Services
from reconciler.control.service_ports import DaemonMemory
from reconciler.core.conditions import READY
from reconciler.core.key import Key, show_key
from reconciler.core.overview import OverviewEntry
from reconciler.core.records import new_record
from reconciler.core.render.values import escape


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Order it for each that is named, or for none if one is not known."""
    orders = prepare_orders(options, console, services, "resumed")
    if orders is None:
        return Exit.FAILED
    memory, overview, entries = orders
    resumed = [key for key, entry in entries.items() if _resume(key, entry, memory, console)]
    if resumed:
        console.line(say_when(overview.daemon, "reconciles what is resumed"))
    return Exit.DONE


def _resume(
    key: Key, entry: Optional[OverviewEntry], memory: DaemonMemory, console: Console
) -> bool:
    """Return whether there was anything to resume: a suspension, or a state that is not Ready."""
    was_suspended = memory.resume(key)
    name = escape(show_key(key))
    record = new_record(key) if entry is None else entry.record
    is_held = bool(record.conditions) and not record.condition(READY).holds
    if is_held:
        memory.order_retry(key)
    if was_suspended:
        console.line(f"{name}: resumed")
    else:
        what = "is tried again" if is_held else "nothing to do"
        console.line(f"{name}: not suspended; {what}")
    return was_suspended or is_held
