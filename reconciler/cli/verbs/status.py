"""`status`: how the machines are. Changes nothing.

What the daemon remembers, where it ever ran for the host that is meant; else what libvirt says.
"""

from __future__ import annotations

import argparse
from typing import Mapping, Optional

from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import look_into
from reconciler.cli.names import choose, describe_unknown_key, parse_keys
from reconciler.cli.services import Services
from reconciler.cli.settings import names_another_host, settings_to_order, uri_of
from reconciler.core.key import FORMER_KIND
from reconciler.core.overview import Overview, mark_suspended
from reconciler.core.records import Suspension
from reconciler.core.render.json import render_overview_json, render_statuses_json
from reconciler.core.render.status import render_overview, render_statuses
from reconciler.core.render.text import Page
from reconciler.errors import TransientError
from reconciler.kinds.machine.status import find_renamed, find_status, is_owned
from reconciler.kinds.machine.survey import read_domains

ASK_LIBVIRT = " (--live asks libvirt)"


def show_status(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print one line for each machine that is named, or for all if none is named."""
    if names_another_host(options, services, console):
        return _show_live(options, console, services, {})
    overview = _look(options, console, services)
    if overview.is_known and not options.live:
        return _show_remembered(overview, options, console, services)
    suspended = {
        key.name: entry.suspension
        for key, entry in overview.entries.items()
        if entry.suspension is not None and key.kind == FORMER_KIND
    }
    return _show_live(options, console, services, suspended)


def _look(options: argparse.Namespace, console: Console, services: Services) -> Overview:
    """Return what is remembered; nothing, which is told, if this user may not read it."""
    try:
        return look_into(services.reach_memory(settings_to_order(options, services, console).state))
    except TransientError as error:
        console.note(f"{error}; so this is read from libvirt, not from the daemon")
        return Overview({})


def _show_remembered(
    overview: Overview, options: argparse.Namespace, console: Console, services: Services
) -> int:
    keys = parse_keys(options.names, overview.entries) or list(overview.entries)
    missing = [key for key in keys if key not in overview.entries]
    for key in missing:
        console.error(describe_unknown_key(key, overview, ASK_LIBVIRT))
    chosen = [overview.entries[key] for key in keys if key in overview.entries]
    if options.format == "json":
        console.write(render_overview_json(overview, chosen))
    elif chosen or not missing:
        page = Page(console.style(), console.width())
        full, verbose = bool(options.names) or options.verbose, options.verbose
        text = render_overview(
            overview, chosen, page, services.clock.wall(), full=full, verbose=verbose
        )
        console.write(text)
    return Exit.FAILED if missing else Exit.DONE


def _show_live(
    options: argparse.Namespace,
    console: Console,
    services: Services,
    suspended: Mapping[str, Optional[Suspension]],
) -> int:
    readings = read_domains(services.connect(uri_of(options, services, console)))
    renamed = find_renamed(readings)
    names = options.names or sorted(
        name for name, reading in readings.items() if is_owned(reading) or name in renamed
    )
    chosen, missing = choose(names, readings, console)
    statuses = [
        mark_suspended(
            find_status(name, reading, renamed.get(name), is_taken=renamed.get(name) in readings),
            suspended.get(name),
        )
        for name, reading in chosen
    ]
    if options.format == "json":
        console.write(render_statuses_json(statuses))
    elif statuses:
        console.write(render_statuses(statuses, console.style()))
    elif not missing:
        console.line("virt-reconciler manages no virtual machine of this host.")
    return Exit.FAILED if missing else Exit.DONE
