"""`host check` and `snapshot`: what this host is. They change nothing."""

from __future__ import annotations

import argparse
from typing import Optional

from reconciler import __version__
from reconciler.adapters.text_files import write_text
from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.cli.settings import names_another_host, settings_of, uri_of
from reconciler.core.host_snapshot import write_snapshot
from reconciler.core.kinds import has_planned
from reconciler.core.manifest import Desired
from reconciler.core.render.words import escape
from reconciler.core.units import show_time
from reconciler.core.world import Unknown
from reconciler.errors import InvalidManifestError, TransientError
from reconciler.kinds.host.execute import check_daemons
from reconciler.kinds.host.judgement import render_report, render_report_json
from reconciler.kinds.machine.survey import take_snapshot


def check_host(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print the table; the exit status says whether all is right."""
    desired = _load(options, console, services)
    report = check_daemons(services.units(uri_of(options, services, console)), desired or Desired())
    if isinstance(report, Unknown):
        raise TransientError(f"the daemons cannot be inspected: {report.reason}")
    if options.format == "json":
        console.write(render_report_json(report))
    else:
        console.write(render_report(report, console.style()))
    return Exit.DONE if report.is_right else Exit.FAILED


def _load(options: argparse.Namespace, console: Console, services: Services) -> Optional[Desired]:
    """Read the manifests, if any are given; what is wrong in some is told."""
    if not options.paths:
        return None
    loaded = services.load_manifests(options.paths)
    if loaded.problems and not has_planned(loaded.desired):
        raise InvalidManifestError(loaded.problems)
    for problem in sorted(loaded.problems):
        console.complain(escape(str(problem)))
    return loaded.desired


def record_snapshot(options: argparse.Namespace, console: Console, services: Services) -> int:
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
