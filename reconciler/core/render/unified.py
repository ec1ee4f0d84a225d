"""Values of several lines as unified diffs, for every format that people read. Pure.

XML is laid out anew for showing, an element a line, so that a fragment that was written on one line
can be read and compared; a plan holds it as it was. Knows of no secrets: whoever asks hides them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Iterator, Sequence, Tuple

from reconciler.core.plan import Value
from reconciler.core.render.values import escape_line
from reconciler.core.xmltree import fragment, indent, parse
from reconciler.errors import TerminalError

CONTEXT = 3  # lines that stay, around those that change
Lines = Tuple[str, ...]


@dataclass(frozen=True)
class Diff:
    """How many lines each side has, and what becomes of them."""

    before: int = 0
    after: int = 0
    lines: Lines = ()


def unify(old: Value, new: Value) -> Diff:
    """Return the diff of two sides; it has no lines if each side is one line at most.

    Each line begins with `+`, `-`, a space or `@@`, and holds nothing that a terminal obeys.
    """
    sides = [one for one in (old, new) if one is not None]
    if all(str(one).endswith("\n") for one in sides):  # else the newline at the end is news
        old, new = _chop(old), _chop(new)
    before, after = _lay_out(old), _lay_out(new)
    if before == after:  # the layout is all that differs
        before, after = _split(old), _split(new)
    if max(len(before), len(after)) <= 1:
        return Diff()
    return Diff(len(before), len(after), tuple(_diff(before, after)))


def _diff(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    if not (before and after):
        yield from (f"-{line}" for line in before)
        yield from (f"+{line}" for line in after)
        return
    lines = difflib.unified_diff(before, after, n=CONTEXT, lineterm="")
    yield from list(lines)[2:]  # without the names of files that are none


def _chop(value: Value) -> Value:
    return None if value is None else str(value)[:-1]


def _split(value: Value) -> Lines:
    return () if value is None else tuple(map(escape_line, str(value).split("\n")))


def _lay_out(value: Value) -> Lines:
    """Return the lines of a value, those of an XML element indented by depth."""
    if not isinstance(value, str) or not value.lstrip().startswith("<"):
        return _split(value)
    try:
        element = parse(value.strip())
    except TerminalError:
        return _split(value)
    indent(element, 0)
    return _split(fragment(element))
