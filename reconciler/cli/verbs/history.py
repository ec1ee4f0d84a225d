"""`history`: what was done to an object, by whom, and what was before. Changes nothing."""

from __future__ import annotations

import argparse
from typing import Optional

from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import Whereabouts, find_histories, find_history, find_last
from reconciler.cli.names import parse_keys
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.core.domain_secrets import fill_secrets
from reconciler.core.history import choose
from reconciler.core.render.history import render_history, render_history_json, render_past
from reconciler.core.render.values import escape
from reconciler.errors import UsageError

NOTHING = "<domain/>"  # where no secret is


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print a line for each change, newest first; the one that is asked for in full."""

    def ask() -> tuple[str, str]:
        host = services.connect(uri_of(options, services, console))
        return host.domains.host, host.domains.uri

    if options.definition:
        return _print_definition(options, console, services, ask)
    folder = find_history(options, console, services, ask)
    history = services.reach_history(folder)
    [key] = parse_keys([options.name], history.list_keys())
    entries = history.list(key)
    if options.number is not None:
        entries = (choose(entries, options.number, options.name),)
    if options.format == "json":
        console.write(render_history_json(key, entries))
    elif options.number is not None:
        console.write(render_past(entries[0], console.style()))
    elif entries:
        console.write(render_history(entries, console.style()))
    else:
        console.error(f"{escape(options.name)}: no change of it is recorded in {escape(folder)}")
        return Exit.FAILED
    return Exit.DONE


def _print_definition(
    options: argparse.Namespace, console: Console, services: Services, ask: Whereabouts
) -> int:
    """Print a former definition, or the last one that is known, as `virsh define` takes it."""
    if options.format == "json":
        raise UsageError("--definition prints XML; drop --format json")
    found: Optional[str] = None
    folders = find_histories(options, console, services, ask)
    known = frozenset().union(*(services.reach_history(each).list_keys() for each in folders))
    [key] = parse_keys([options.name], known)
    if options.number is None:
        last = find_last(key, folders, services)
        found = last.xml if last is not None else None
    else:
        folder = find_history(options, console, services, ask)
        entries = services.reach_history(folder).list(key)
        former = choose(entries, options.number, options.name).former
        found = former.xml if former is not None else None
    if found is None:
        what = f" before change {options.number}" if options.number is not None else ""
        where = ", ".join(map(escape, folders))
        console.error(f"{escape(options.name)}: no definition{what} is known in {where}")
        return Exit.FAILED
    xml, missing = fill_secrets(found, NOTHING)
    for place in missing:
        console.error(f"{place}: the former secret is not stored; set it again")
    console.write(xml if xml.endswith("\n") else f"{xml}\n")
    return Exit.DONE
