"""`prune`: look at what the daemon does not delete without a person's word, and give it.

Deletes nothing: the daemon does, and weighs everything but the limits once more.
"""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.cli.settings import refuse_another_host, settings_to_order
from reconciler.control.pruning import plan_deletions
from reconciler.core.key import parse_key
from reconciler.core.kinds import list_kinds
from reconciler.core.records import SourceRecord
from reconciler.core.render.text import render_text
from reconciler.core.render.values import escape
from reconciler.errors import RefusedError

QUESTION = "Delete these machines?"
SHOWN = 12  # characters of a commit or digest


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Show what is held back, ask unless `--yes`, and write the confirmation."""
    refuse_another_host(options, services, console)
    settings = settings_to_order(options, services, console)
    orders = services.reach_memory(settings.state)
    source = orders.read_source()
    if not source.prune_blocked:
        console.line("Nothing is held back.")
        return Exit.DONE
    doomed = [parse_key(name, (), list_kinds()) for name in source.prune_held]
    plan = plan_deletions(services.connect(settings.connect), doomed)
    console.write(render_text(plan, console.style(), verbose=True))
    console.line(f"\n{escape(source.prune_blocked)}")
    identity = _refuse_unfit(source)
    if orders.confirmed_prune() == identity:
        console.line("Already confirmed; the daemon deletes them at its next pass.")
        return Exit.DONE
    if not options.yes and not console.confirm(QUESTION, "nothing was confirmed"):
        console.line("Nothing was confirmed.")
        return Exit.FAILED
    orders.confirm_prune(identity)
    which = (source.revision or identity.rpartition(":")[2])[:SHOWN]  # as `status` shows it
    console.line(f"Confirmed for the manifests at {escape(which)}, and for no others.")
    return Exit.DONE


def _refuse_unfit(source: SourceRecord) -> str:
    """Return the identity to confirm; refuse what no word of a person makes certain."""
    if source.problems:
        raise RefusedError(
            "this cannot be confirmed: the manifests have problems, so a missing one may "
            "exist; fix them first"
        )
    if not source.identity:
        raise RefusedError("this cannot be confirmed: no manifests are in force yet")
    return source.identity
