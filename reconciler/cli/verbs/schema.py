"""`schema`: print the JSON Schema of a kind, for editors and other tools."""

from __future__ import annotations

import argparse

from reconciler.adapters.manifests.schema_errors import read_schema
from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services


def run(options: argparse.Namespace, console: Console, _services: Services) -> int:
    """Print the schema as it is installed."""
    text = read_schema(options.kind)
    console.write(text if text.endswith("\n") else f"{text}\n")
    return Exit.DONE
