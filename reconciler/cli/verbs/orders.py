"""`suspend`, `resume`, `retry`, `prune`: what a person tells the daemon. They touch no object.

`prune` deletes nothing either: the daemon does, and weighs everything but the limits once more.
"""

from __future__ import annotations

import argparse
import shlex
from typing import Optional

from reconciler.cli.console import Console, Exit, find_caller
from reconciler.cli.daemon_state import prepare_orders, say_when
from reconciler.cli.services import Services
from reconciler.cli.settings import refuse_another_host, settings_to_order
from reconciler.control.prune import plan_deletions
from reconciler.control.service_ports import DaemonMemory
from reconciler.core.conditions import READY
from reconciler.core.key import Key, parse_key, show_key
from reconciler.core.kinds import list_kinds
from reconciler.core.overview import OverviewEntry
from reconciler.core.records import SourceRecord, Suspension, new_record
from reconciler.core.render.status import show_suspension
from reconciler.core.render.text import render_text
from reconciler.core.render.words import escape
from reconciler.errors import RefusedError


def suspend(options: argparse.Namespace, console: Console, services: Services) -> int:
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
        memory.suspend(
            Suspension(name=key.name, at=since, by=caller, why=options.reason, kind=key.kind)
        )
        console.line(f"{name}: suspended")
        is_new = True
    if is_new:
        console.line(say_when(overview.daemon, "leaves alone what is suspended"))
    return Exit.DONE


def resume(options: argparse.Namespace, console: Console, services: Services) -> int:
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


def retry(options: argparse.Namespace, console: Console, services: Services) -> int:
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


QUESTION = "Delete these machines?"
SHOWN = 12  # characters of a commit or digest


def prune(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Show what is held back, ask unless `--yes`, and write the confirmation."""
    if options.images:
        from reconciler.cli.verbs.host import prune_images  # noqa: PLC0415 - start-up time

        return prune_images(options, console, services)
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
