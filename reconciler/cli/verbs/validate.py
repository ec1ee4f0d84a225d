"""`validate`: schema and meaning of manifests, without libvirt."""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.cli.parts import Parts
from reconciler.core.render.words import count
from reconciler.errors import InvalidManifestError


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Report every problem at once, or how much was found to be in order."""
    loaded = parts.load(options.paths)
    if loaded.problems:
        raise InvalidManifestError(loaded.problems)
    machines = count(len(loaded.desired.machines), "virtual machine")
    templates = count(len(loaded.desired.templates), "template")
    console.line(f"Valid: {machines}, {templates}.")
    return Exit.DONE
