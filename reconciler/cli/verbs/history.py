"""`history`: what was done to a virtual machine, by whom, and what was before. Changes nothing."""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.cli.parts import Parts
from reconciler.cli.remembering import find_history
from reconciler.core.history import choose
from reconciler.core.render.history import render_history, render_history_json, render_past
from reconciler.core.render.values import escape


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Print a line for each change, newest first; the one that is asked for in full."""

    def ask() -> tuple[str, str]:
        host = parts.connect(options.connect)
        return host.domains.host, host.domains.uri

    folder = find_history(options, console, parts, ask)
    entries = parts.reach_history(folder).list(options.name)
    if options.number is not None:
        entries = (choose(entries, options.number, options.name),)
    if options.format == "json":
        console.write(render_history_json(options.name, entries))
    elif options.number is not None:
        console.write(render_past(entries[0], console.style()))
    elif entries:
        console.write(render_history(entries, console.style()))
    else:
        console.error(f"{options.name}: nothing is known of it in {escape(folder)}")
        return Exit.FAILED
    return Exit.DONE
