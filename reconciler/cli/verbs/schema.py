"""`schema`: print the JSON Schema of a kind, for editors and other tools."""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console, Exit
from reconciler.cli.parts import Parts


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Print the schema as it is installed."""
    text = parts.read_schema(options.kind)
    console.write(text if text.endswith("\n") else f"{text}\n")
    return Exit.DONE
