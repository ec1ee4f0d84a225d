"""The names that a command is given: which are known, and how several are written in a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, Optional, Sequence, Tuple, TypeVar

from reconciler.cli.console import Console
from reconciler.core.render.values import escape
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.core.overview import Overview, OverviewEntry

T = TypeVar("T")

NOT_THERE = "no such domain on this host"
NAMES_SHOWN = 5
LIKENESS = 0.5  # of 1; below that a name is no near one


def choose(
    names: Sequence[str], found: Mapping[str, T], console: Console, why: str = NOT_THERE
) -> Tuple[List[Tuple[str, T]], int]:
    """Return the named ones in order, and how many are missing, each told on standard error."""
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if name not in found]
    for name in missing:
        console.error(f"{escape(name)}: {why}")
    return [(name, found[name]) for name in wanted if name in found], len(missing)


def list_names(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(escape(name) for name in names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def find_entries(
    names: Sequence[str], overview: Overview, console: Console
) -> Optional[Mapping[str, Optional[OverviewEntry]]]:
    """Return what is known of the named ones; None, each told, if one of them is not known.

    Where no daemon ever ran, every name may be right.
    """
    if not all(names):
        raise UsageError("NAME is empty")
    wanted = dict.fromkeys(names)
    unknown = [one for one in wanted if one not in overview.entries]
    if unknown and overview.is_known:
        for name in unknown:
            console.error(_describe_unknown(name, overview))
        return None
    if unknown:
        console.note(f"no daemon has run here yet, so {list_names(unknown)} may be misspelt")
    return {name: overview.entries.get(name) for name in wanted}


def _describe_unknown(name: str, overview: Overview) -> str:
    import difflib  # noqa: PLC0415 - start-up time

    near = difflib.get_close_matches(name, list(overview.entries), cutoff=LIKENESS)
    hint = f"; did you mean {' or '.join(map(escape, near))}?" if near else ""
    return f"{escape(name)}: the daemon knows no virtual machine of this name{hint}"
