"""`export`: write manifests of existing domains, for a person to read, keep and commit."""

from __future__ import annotations

import argparse

from reconciler.cli.choosing import choose
from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.cli.parts import Parts
from reconciler.core.export import export_machine
from reconciler.core.render.values import escape
from reconciler.core.uncovered import find_remarks
from reconciler.core.world import Unknown
from reconciler.core.yaml_text import write_documents
from reconciler.errors import UsageError


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Write one document for each domain; what cannot be read is told on standard error."""
    if bool(options.names) is options.all:
        raise UsageError("name the domains to export, or say --all")
    host = parts.connect(options.connect)
    found = parts.read_domains(host)
    chosen, failed = choose(options.names or sorted(found), found, console)
    documents = []
    for name, reading in chosen:
        if isinstance(reading, Unknown):
            console.error(f"{escape(name)}: cannot be read: {reading.reason}")
            failed += 1
        else:
            manifest = export_machine(reading, parts.read_sizes(host, reading))
            documents.append((manifest, find_remarks(reading)))
    console.write(write_documents(documents))
    return Exit.FAILED if failed else Exit.DONE
