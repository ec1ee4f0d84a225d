"""Secrets in YAML, as cloud-init's user data is: by their keys, with all that stands below them.

Works line by line and parses nothing, so what is not quite YAML is hidden as well.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import List, Sequence

from reconciler.core.secrets.mask import Mask
from reconciler.core.secrets.names import is_secret_name
from reconciler.core.secrets.phrases import cover

_ENTRY = re.compile(
    r"""(?P<head>(?P<indent>[ \t]*(?:-[ \t]+)*)(?P<q>["']?)(?P<key>[\w.-]+)(?P=q)[ \t]*:(?=\s|$))"""
)


def hide_lines(text: str, mask: Mask) -> str:
    """Hide the values of secret keys."""
    lines = text.split("\n")
    found: List[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        entry = _ENTRY.match(line)
        if entry is None or not is_secret_name(entry["key"]):
            found.append(line)
            continue
        below = _count_below(lines, number, len(entry["indent"].expandtabs()))
        block = [line[entry.end() :], *lines[number : number + below]]
        number += below
        found.append(f"{entry['head']} {cover(_join(block), mask)}")
    return "\n".join(found)


def _count_below(lines: Sequence[str], first: int, indent: int) -> int:
    """Return how many lines belong to an entry that is indented like this; lists may be as far."""
    count = 0
    for number, line in enumerate(islice(lines, first, None), 1):
        text = line.expandtabs()
        depth = len(text) - len(text.lstrip())
        if text.strip() and not (depth > indent or (depth == indent and text[depth:][:2] == "- ")):
            break
        if text.strip():
            count = number
    return count


def _join(block: Sequence[str]) -> str:
    return "\n".join(one.strip() for one in block).strip()
