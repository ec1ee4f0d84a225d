"""`snapshot`: write down the host as it is, for plans that are made elsewhere."""

from __future__ import annotations

import argparse
from typing import Optional

from reconciler import __version__
from reconciler.adapters.text_files import write_text
from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.cli.settings import names_another_host, settings_of, uri_of
from reconciler.core.host_snapshot import write_snapshot
from reconciler.core.render.values import escape
from reconciler.core.times import show_time
from reconciler.errors import TransientError
from reconciler.kinds.machine.survey import take_snapshot


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Write the snapshot to standard output, or to a file."""
    host = services.connect(uri_of(options, services, console))
    snapshot = take_snapshot(
        host,
        show_time(services.clock.wall()) or "",
        __version__,
        _read_revision(options, services, console),
    )
    text = write_snapshot(snapshot)
    if options.out is None:
        console.write(text)
        return Exit.DONE
    write_text(options.out, text)
    console.note(f"{escape(snapshot.host)}: state recorded in {escape(options.out)}")
    return Exit.DONE


def _read_revision(
    options: argparse.Namespace, services: Services, console: Console
) -> Optional[str]:
    """Return the revision that the daemon here has in force; None if there is none to be seen."""
    if names_another_host(options, services, console):
        return None
    try:
        return services.reach_memory(settings_of(options, services).state).read_source().revision
    except TransientError:  # no daemon, or this user may not look
        return None
