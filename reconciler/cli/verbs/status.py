"""`status`: the conditions of owned machines, from live state. Changes nothing."""

from __future__ import annotations

import argparse

from reconciler.cli.choosing import choose
from reconciler.cli.composition import Parts
from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.core.render.table import render_statuses, render_statuses_json
from reconciler.core.status import find_status, is_owned


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Print one line for each machine that is named, or owned if none is named."""
    readings = parts.read_domains(parts.connect(options.connect))
    names = options.names or sorted(name for name, one in readings.items() if is_owned(one))
    chosen, missing = choose(names, readings, console)
    statuses = [find_status(name, one) for name, one in chosen]
    if options.format == "json":
        console.write(render_statuses_json(statuses))
    elif statuses:
        console.write(render_statuses(statuses, console.style()))
    elif not missing:
        console.line("No virtual machine of this host is owned by virt-reconciler.")
    return Exit.FAILED if missing else Exit.DONE
