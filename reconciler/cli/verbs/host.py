"""`host check`: libvirt's daemons on this host, and which one a client reaches. Changes nothing."""

from __future__ import annotations

import argparse
from typing import Optional

from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.core.manifest import Desired
from reconciler.core.render.values import escape
from reconciler.core.world import Unknown
from reconciler.errors import InvalidManifestError, TransientError
from reconciler.kinds.host.execute import check_daemons
from reconciler.kinds.host.render import render_report, render_report_json


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
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
    if loaded.problems and not (loaded.desired.machines or loaded.desired.hosts):
        raise InvalidManifestError(loaded.problems)
    for problem in sorted(loaded.problems):
        console.complain(escape(str(problem)))
    return loaded.desired
