"""`export`: write manifests of existing domains, for a person to read, keep and commit."""

from __future__ import annotations

import argparse
from typing import List, Sequence, Tuple

from reconciler.cli.choosing import choose
from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.cli.exporting import Exported, make_valid
from reconciler.cli.parts import Parts
from reconciler.cli.settings import uri_of
from reconciler.core.export import export_machine
from reconciler.core.faults import isolate
from reconciler.core.files import show_name
from reconciler.core.render.values import escape
from reconciler.core.uncovered import find_remarks
from reconciler.core.world import Reading, Unknown
from reconciler.core.yaml_text import write_documents
from reconciler.errors import FaultError, TerminalError, UsageError


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Write one document for each domain; what cannot be read is told on standard error."""
    if bool(options.names) is options.all:
        raise UsageError("name the domains to export, or give --all")
    if options.force and not options.output_dir:
        raise UsageError("--force requires --output-dir")
    host = parts.connect(uri_of(options, parts, console))
    found = parts.read_domains(host)
    chosen, missing = choose(options.names or sorted(found), found, console)
    readings = [one for _, one in chosen if isinstance(one, Reading)]
    unread = [(name, one.reason) for name, one in chosen if isinstance(one, Unknown)]
    around = parts.look_around(host, readings)

    def export(reading: Reading) -> Exported:
        sizes = parts.read_sizes(host, reading)
        manifest = export_machine(reading, sizes, around, power=options.power)
        return Exported(reading, manifest, find_remarks(reading, around))

    exported: List[Exported] = []
    for one in readings:
        try:
            exported.append(isolate(export, one))
        except (FaultError, TerminalError) as error:  # it concerns this one
            unread.append((one.view.name, str(error)))
    valid, refused = make_valid(exported, parts)
    _complain(unread, "cannot be read", console)
    _complain(refused, "no manifest can say this", console)
    if options.output_dir:
        _write_files(valid, options, console, parts)
    else:
        console.write(write_documents([(one.manifest, one.remarks) for one in valid]))
    return Exit.FAILED if missing or unread or refused else Exit.DONE


def _write_files(
    exported: Sequence[Exported], options: argparse.Namespace, console: Console, parts: Parts
) -> None:
    """Write a file for each domain; none at all if one of them is there already."""
    texts = {f"{one.name}.yaml": write_documents([(one.manifest, one.remarks)]) for one in exported}
    for path in parts.write_folder(options.output_dir, texts, replace=options.force):
        console.line(show_name(path))


def _complain(reasons: Sequence[Tuple[str, str]], what: str, console: Console) -> None:
    lines: List[str] = [f"{escape(name)}: {what}: {reason}" for name, reason in reasons]
    for line in lines:
        console.error(line)
