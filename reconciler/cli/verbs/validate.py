"""`validate`: schema and meaning of manifests, without libvirt."""

from __future__ import annotations

import argparse
from typing import Iterator

from reconciler.cli.console import Console, Exit
from reconciler.cli.parts import Parts
from reconciler.core.manifest import Desired
from reconciler.core.render.values import escape
from reconciler.core.render.words import count
from reconciler.errors import InvalidManifestError
from reconciler.kinds.machine.guests import describe_unknown


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Report every problem at once, or how much was found to be in order; warnings besides."""
    loaded = parts.load(options.paths)
    if loaded.problems:
        raise InvalidManifestError(loaded.problems)
    for line in find_warnings(loaded.desired):
        console.complain(escape(line))
    machines = count(len(loaded.desired.machines), "virtual machine")
    templates = count(len(loaded.desired.templates), "template")
    console.line(f"Valid: {machines}, {templates}.")
    return Exit.DONE


def find_warnings(desired: Desired) -> Iterator[str]:
    """Yield what is valid and probably not what is meant, by file and line of the object."""
    for machine in desired.machines:
        text = describe_unknown(machine.machine.os)
        if text:
            yield f"{machine.place}: warning: {machine.name}: spec.{text}"
    for template in desired.templates:
        text = describe_unknown(template.os)
        if text:
            yield f"{template.place}: warning: {template.name}: spec.{text}"
