"""Which virtual machines the daemon knows, for the verbs that leave one alone or take it up."""

from __future__ import annotations

import difflib
from typing import Mapping, Optional, Sequence

from reconciler.cli.console import Console
from reconciler.cli.preparing import list_names
from reconciler.control.ports.service import Memory
from reconciler.core.loop.overview import Entry, Overview, make_entries
from reconciler.core.render.values import escape
from reconciler.errors import UsageError

LIKENESS = 0.5  # of 1; below that a name is no near one


def look_into(memory: Memory) -> Overview:
    """Return everything that is remembered. Raises TransientError."""
    return Overview(
        make_entries(memory.load_records(), memory.suspended()),
        memory.load_source(),
        memory.find_daemon(),
        memory.find_last_sign(),
        tuple(memory.find_broken()),
        memory.find_hindrance(),
    )


def find_entries(
    names: Sequence[str], overview: Overview, console: Console
) -> Optional[Mapping[str, Optional[Entry]]]:
    """Return what is known of the named ones; None, each told, if one of them is not known.

    Where no daemon ever ran, every name may be right.
    """
    if not all(names):
        raise UsageError("an empty NAME is no virtual machine's")
    wanted = dict.fromkeys(names)
    unknown = [one for one in wanted if one not in overview.entries]
    if unknown and overview.is_known:
        for name in unknown:
            console.error(_describe_unknown(name, overview))
        return None
    if unknown:
        console.note(f"no daemon has run here yet, so {list_names(unknown)} may be misspelt")
    return {name: overview.entries.get(name) for name in wanted}


def say_when(daemon: Optional[int], what: str) -> str:
    """Return when the daemon will heed it; `what` it will do then."""
    if daemon is None:
        return f"The daemon does not run; once it does, it {what}."
    return f"Within seconds the daemon {what}; what is under way already is finished."


def _describe_unknown(name: str, overview: Overview) -> str:
    near = difflib.get_close_matches(name, list(overview.entries), cutoff=LIKENESS)
    hint = f"; did you mean {' or '.join(map(escape, near))}?" if near else ""
    return f"{escape(name)}: the daemon knows no such virtual machine{hint}"
