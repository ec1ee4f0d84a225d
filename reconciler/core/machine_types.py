"""What the name of a machine type says, and the error for one that a host does not have. Pure."""

from __future__ import annotations

import difflib
from typing import Sequence

from reconciler.errors import TerminalError

SHOWN = 12  # machine types; a host has some sixty


def chipset_of(machine: str) -> str:
    """Return the chipset of a machine type: `q35`, `pc` (i440FX), or the type itself.

    `q35` of `pc-q35-rhel9.6.0`, `pc` of `pc-i440fx-7.2` and of the old `pc-1.2`.
    """
    if "q35" in machine:
        return "q35"
    return "pc" if machine == "pc" or machine.startswith("pc-") else machine


def refuse_machine(machine: str, there: Sequence[str]) -> TerminalError:
    """Return the error for a machine type that is not among those that are there."""
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    names = ", ".join(there[:SHOWN]) + more
    near = difflib.get_close_matches(machine, there, n=3)
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    return TerminalError(
        f"machine type {machine!r} is not on offer on this host; on offer: {names}{nearest}"
    )
