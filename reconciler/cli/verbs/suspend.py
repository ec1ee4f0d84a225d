"""`suspend`: have the daemon leave objects alone. Touches none itself."""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console, Exit, find_caller
from reconciler.cli.daemon_state import prepare_orders, say_when
from reconciler.cli.services import Services
from reconciler.core.key import show_key
from reconciler.core.records import Suspension
from reconciler.core.render.status import show_suspension
from reconciler.core.render.values import escape


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Write down a suspension for each that is named, or for none if one is not known."""
    orders = prepare_orders(options, console, services, "suspended")
    if orders is None:
        return Exit.FAILED
    memory, overview, entries = orders
    now, caller, is_new = services.clock.wall(), find_caller(console.environ), False
    for key, entry in entries.items():
        name = escape(show_key(key))
        former = entry.suspension if entry is not None else None
        if former is not None and options.reason in ("", former.why):
            told = show_suspension(former, now)
            console.line(f"{name}: is suspended already, {told}")
            continue
        # Another reason does not make it younger: how long it has been left alone is what counts.
        since = former.at if former is not None else now
        memory.suspend(Suspension(key.name, since, caller, options.reason, key.kind))
        console.line(f"{name}: suspended")
        is_new = True
    if is_new:
        console.line(say_when(overview.daemon, "leaves alone what is suspended"))
    return Exit.DONE
