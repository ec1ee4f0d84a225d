"""`config check`: what is wrong in the daemon's configuration, every problem at once."""

from __future__ import annotations

import argparse

from reconciler.cli.arguments import CONFIG_FILE
from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.core.render.values import escape


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Read the file as the daemon does; problems go to standard error, with status 65."""
    path = options.file or options.config or CONFIG_FILE
    services.read_settings(path)
    console.line(f"{escape(path)}: valid")
    return Exit.DONE
