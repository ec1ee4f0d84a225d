"""What is left of a document when the parts that its schema refuses are taken away. Pure.

So that meaning can be checked in the same go. What is found near a part that is gone may be for no
other reason than that, and is dropped.
"""

from __future__ import annotations

import copy
from typing import Any, FrozenSet, Iterable, List

from reconciler.core.document.finding import Finding, Path


def prune(data: Any, findings: Iterable[Finding]) -> Any:
    """Return a copy without the fields that the findings are about.

    Positions in lists are kept: where an entry as a whole is refused, its list goes.
    """
    rest = copy.deepcopy(data)
    for finding in findings:
        _remove(rest, finding.path)
    return rest


def _remove(data: Any, path: Path) -> None:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    try:
        for step in path[:-1]:
            data = data[step]
    except (KeyError, IndexError, TypeError):  # gone already, with a part around it
        return
    if path and isinstance(data, dict):
        data.pop(path[-1], None)


def drop_near(more: Iterable[Finding], findings: Iterable[Finding]) -> List[Finding]:
    """Return those of `more` that are about other fields, or other entries of lists."""
    taken: FrozenSet[Path] = frozenset(_neighbourhood(one.path) for one in findings)
    return [one for one in more if _neighbourhood(one.path) not in taken]


def _neighbourhood(path: Path) -> Path:
    """Return the field of `spec`, and the entry if it is a list."""
    return path[:3] if len(path) > len(("spec", "field")) and isinstance(path[2], int) else path[:2]
