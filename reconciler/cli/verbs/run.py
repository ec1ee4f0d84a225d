"""`run`: the daemon, until it is told to stop."""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console
from reconciler.cli.parts import Parts
from reconciler.cli.settings import settings_of
from reconciler.core.settings import Settings


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Keep the host as the manifests say; settings are read anew on SIGHUP."""

    def read() -> Settings:
        return settings_of(options, parts, is_required=True)

    return parts.serve(read(), read, console.err, console.environ)
