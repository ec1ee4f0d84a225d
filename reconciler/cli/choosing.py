"""Find the domains that a command names, and say which are not there."""

from __future__ import annotations

from typing import List, Mapping, Sequence, Tuple, TypeVar

from reconciler.cli.console import Console
from reconciler.core.render.values import escape

T = TypeVar("T")

NOT_THERE = "no such domain on this host"


def choose(
    names: Sequence[str], found: Mapping[str, T], console: Console, why: str = NOT_THERE
) -> Tuple[List[Tuple[str, T]], int]:
    """Return the named ones in order, and how many are missing, each told on standard error."""
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if name not in found]
    for name in missing:
        console.error(f"{escape(name)}: {why}")
    return [(name, found[name]) for name in wanted if name in found], len(missing)
