"""`snapshot`: write down the host as it is, for plans that are made elsewhere."""

from __future__ import annotations

import argparse
from typing import Optional

from reconciler.cli.console import Console, Exit
from reconciler.cli.parts import Parts
from reconciler.cli.settings import names_another_host, settings_of, uri_of
from reconciler.core.host_snapshot import write_snapshot
from reconciler.core.render.values import escape
from reconciler.errors import TransientError


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Write the snapshot to standard output, or to a file."""
    host = parts.connect(uri_of(options, parts, console))
    snapshot = parts.take_snapshot(host, _read_revision(options, parts, console))
    text = write_snapshot(snapshot)
    if options.out is None:
        console.write(text)
        return Exit.DONE
    parts.write_text(options.out, text)
    console.note(f"{escape(snapshot.host)}: state recorded in {escape(options.out)}")
    return Exit.DONE


def _read_revision(options: argparse.Namespace, parts: Parts, console: Console) -> Optional[str]:
    """Return the revision that the daemon here has in force; None if there is none to be seen."""
    if names_another_host(options, parts, console):
        return None
    try:
        return parts.reach_memory(settings_of(options, parts).state).read_source().revision
    except TransientError:  # no daemon, or this user may not look
        return None
