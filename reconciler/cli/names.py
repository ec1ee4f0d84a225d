"""The names that a command is given: which are known, and how several are written in a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Collection, List, Mapping, Optional, Sequence, Tuple, TypeVar

from reconciler.cli.console import Console
from reconciler.core.documents import suggest
from reconciler.core.frozen import regex
from reconciler.core.key import FORMER_KIND, Key, parse_key, show_key
from reconciler.core.kinds import list_kinds
from reconciler.core.render.words import escape
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


def parse_keys(names: Sequence[str], known: Collection[Key]) -> List[Key]:
    """Return the objects that are meant, each once. Raises UsageError."""
    if not all(names):
        raise UsageError("NAME is empty")
    return list(dict.fromkeys(parse_key(name, known, list_kinds()) for name in names))


def split_kinds(names: Sequence[str]) -> Tuple[List[Key], List[str]]:
    """Return the objects whose kind is given, like `note/first`, and the names of machines."""
    others: List[Key] = []
    machines: List[str] = []
    for name in names:
        key = parse_key(name, (), list_kinds())
        if key.kind == FORMER_KIND:
            machines.append(key.name)
        else:
            others.append(key)
    return others, machines


def find_entries(
    names: Sequence[str], overview: Overview, console: Console
) -> Optional[Mapping[Key, Optional[OverviewEntry]]]:
    """Return what is known of the named ones; None, each told, if one of them is not known.

    Where no daemon ever ran, every name may be right.
    """
    keys = parse_keys(names, overview.entries)
    unknown = [key for key in keys if key not in overview.entries]
    if unknown and overview.is_known:
        for key in unknown:
            console.error(describe_unknown_key(key, overview))
        return None
    if unknown:
        names = list_names([show_key(key) for key in unknown])
        console.note(f"no daemon has run here yet, so {names} may be misspelt")
    return {key: overview.entries.get(key) for key in keys}


def describe_unknown_key(key: Key, overview: Overview, advice: str = "") -> str:
    """Say that the daemon knows no such object, and what has a name like it."""
    import difflib  # noqa: PLC0415 - start-up time

    there = [show_key(known) for known in overview.entries]
    near = difflib.get_close_matches(show_key(key), there, cutoff=LIKENESS)
    hint = f"; did you mean {' or '.join(map(escape, near))}?" if near else ""
    what = "virtual machine" if key.kind == FORMER_KIND else key.kind
    return f"{escape(show_key(key))}: the daemon knows no {what} of this name{advice or hint}"


# What other tools have, and what to use here.
_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("start", "up"), "`virsh start NAME`, or power: running in its manifest"),
    **dict.fromkeys(
        ("stop", "shutdown", "destroy", "down"),
        "`virsh shutdown NAME`, or power: stopped in its manifest",
    ),
    **dict.fromkeys(
        ("delete", "undefine", "remove", "rm"),
        "lifecycle.deletion in its manifest, and remove that while the daemon runs",
    ),
    **dict.fromkeys(("list", "show", "get", "ls"), "`virt-reconciler status`"),
    **dict.fromkeys(("diff", "check", "--dry-run"), "`virt-reconciler plan PATH`"),
    **dict.fromkeys(("create", "define", "edit"), "a manifest, and `virt-reconciler apply PATH`"),
    **dict.fromkeys(("-o", "--output", "--json"), "--format json"),
}
_UNKNOWN = regex(
    r"argument VERB: invalid choice: '(.*)' \(choose from (.*)\)|unrecognized \w+: (\S+).*"
)


def suggest_usage(message: str) -> str:
    """Return what was meant by a verb or option that argparse does not know, or nothing."""
    found = _UNKNOWN.fullmatch(message)
    if found is None:
        return ""
    word = found[1] or found[3]
    verbs = [name.strip("' ") for name in (found[2] or "").split(",")]
    use = _ELSEWHERE.get(word.partition("=")[0])
    return f"; use {use}" if use else suggest(word, verbs)
