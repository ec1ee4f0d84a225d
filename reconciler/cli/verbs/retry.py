"""`retry`: reconcile virtual machines again now. Touches no machine itself."""

from __future__ import annotations

import argparse
import shlex

from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import look_into, say_when
from reconciler.cli.names import find_entries
from reconciler.cli.parts import Parts
from reconciler.cli.settings import refuse_another_host, settings_to_order
from reconciler.core.render.values import escape


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Order it for each that is named, or for none if one is not known or the daemon is down."""
    refuse_another_host(options, parts, console)
    memory = parts.reach_memory(settings_to_order(options, parts, console).state)
    overview = look_into(memory)
    entries = find_entries(options.names, overview, console)
    if entries is None:
        console.error("nothing was retried")
        return Exit.FAILED
    if overview.daemon is None:
        console.error(
            "nothing was retried: the daemon is not running; it tries everything when it starts: "
            "systemctl start virt-reconciler"
        )
        return Exit.FAILED
    status = Exit.DONE
    for name, entry in entries.items():
        if entry is not None and entry.suspension is not None:
            resume = f"virt-reconciler resume {shlex.quote(name)}"
            console.error(f"{name}: suspended, so it is not tried again; resume it: {resume}")
            status = Exit.FAILED
            continue
        memory.order_retry(name)
        console.line(f"{escape(name)}: is tried again")
    console.line(say_when(overview.daemon, "tries them again"))
    return status
