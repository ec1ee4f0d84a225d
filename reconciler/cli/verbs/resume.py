"""`resume`: have the daemon take up suspended virtual machines again. Touches none itself."""

from __future__ import annotations

import argparse

from reconciler.cli.console import Console
from reconciler.cli.exits import Exit
from reconciler.cli.known import find_entries, look_into, say_when
from reconciler.cli.parts import Parts
from reconciler.cli.settings import settings_of
from reconciler.core.render.values import escape


def run(options: argparse.Namespace, console: Console, parts: Parts) -> int:
    """Remove the suspension of each that is named, or of none if one is not known."""
    memory = parts.reach_memory(settings_of(options, parts).state)
    overview = look_into(memory)
    entries = find_entries(options.names, overview, console)
    if entries is None:
        console.error("nothing was resumed")
        return Exit.FAILED
    resumed = [name for name in entries if _resume(name, memory.resume(name), console)]
    if resumed:
        console.line(say_when(overview.daemon, "takes up what is resumed"))
    return Exit.DONE


def _resume(name: str, was_suspended: bool, console: Console) -> bool:  # noqa: FBT001 - told
    console.line(f"{escape(name)}: {'resumed' if was_suspended else 'is not suspended'}")
    return was_suspended
