"""What is said of something that a host does not offer. Pure."""

from __future__ import annotations

import difflib
from typing import Sequence

from reconciler.errors import TerminalError

SHOWN = 12  # machine types; a host has some sixty


def refuse_machine(machine: str, there: Sequence[str]) -> TerminalError:
    """Return the error for a machine type that is not among those that are there."""
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    names = ", ".join(there[:SHOWN]) + more
    near = difflib.get_close_matches(machine, there, n=3)
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    return TerminalError(
        f"machine type {machine!r} is not on offer on this host; on offer: {names}{nearest}"
    )
