"""`validate` and `schema`: manifests and their JSON Schema, without libvirt."""

from __future__ import annotations

import argparse
from typing import Iterator

from reconciler.adapters.manifests.schema_errors import read_schema
from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.core.key import show_key
from reconciler.core.kinds import count_objects, find_row
from reconciler.core.manifest import Desired
from reconciler.core.render.words import escape
from reconciler.errors import InvalidManifestError


def validate(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Report every problem at once, or how much was found to be in order; warnings besides."""
    loaded = services.load_manifests(options.paths)
    if loaded.problems:
        raise InvalidManifestError(loaded.problems)
    for warning in loaded.warnings:
        console.complain(escape(str(warning._replace(path=f"warning: {warning.path}"))))
    for line in find_warnings(loaded.desired):
        console.complain(escape(line))
    console.line(f"Valid: {count_objects(loaded.desired.objects)}.")
    return Exit.DONE


def find_warnings(desired: Desired) -> Iterator[str]:
    """Yield what is valid and probably not what is meant, by file and line of the object."""
    for key, manifest in desired.objects.items():
        for text in find_row(key.kind).find_warnings(manifest):
            yield f"{manifest.place}: warning: {show_key(key)}: {text}"


def print_schema(options: argparse.Namespace, console: Console, _services: Services) -> int:
    """Print the schema as it is installed."""
    text = read_schema(options.kind)
    console.write(text if text.endswith("\n") else f"{text}\n")
    return Exit.DONE
