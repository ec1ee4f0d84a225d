"""`retry`: reconcile objects again now. Touches none itself."""

from __future__ import annotations

import argparse
import shlex

from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import prepare_orders, say_when
from reconciler.cli.services import Services
from reconciler.core.key import show_key
from reconciler.core.render.values import escape


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Order it for each that is named, or for none if one is not known or the daemon is down."""
    orders = prepare_orders(options, console, services, "retried")
    if orders is None:
        return Exit.FAILED
    memory, overview, entries = orders
    if overview.daemon is None:
        console.error(
            "nothing was retried: the daemon is not running; it tries everything when it starts: "
            "systemctl start virt-reconciler"
        )
        return Exit.FAILED
    status = Exit.DONE
    for key, entry in entries.items():
        name = show_key(key)
        if entry is not None and entry.suspension is not None:
            resume = f"virt-reconciler resume {shlex.quote(name)}"
            console.error(f"{name}: suspended, so it is not tried again; resume it: {resume}")
            status = Exit.FAILED
            continue
        memory.order_retry(key)
        console.line(f"{escape(name)}: is tried again")
    console.line(say_when(overview.daemon, "tries them again"))
    return status
