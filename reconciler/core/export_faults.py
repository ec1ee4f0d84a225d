"""Take out of an exported manifest what a manifest may not say: whatever validation refuses. Pure.

So an export is valid whatever a domain holds. What is taken out is told, and stays as it is in
the domain. Validation itself is the adapters'.
"""

from __future__ import annotations

import re
from typing import Any, Dict, NamedTuple, Optional

from reconciler.core.export_defaults import Path, without
from reconciler.core.model import Machine
from reconciler.errors import Problem

Spec = Dict[str, Any]

_LISTS = ("disks", "cdroms", "interfaces")
# Without one of these a device is not recognised any more, and a list is complete or not there.
_IDENTITY = frozenset({"name", "target", "mac", "network", "bridge"})
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_ELSEWHERE = re.compile(r":\d+:\d+$")  # where in the other manifest says nothing to a reader


class Lessened(NamedTuple):
    """A manifest without what was refused, and the remark about it."""

    manifest: Spec
    remark: str


def take_out(manifest: Spec, problem: Problem, machine: Machine) -> Optional[Lessened]:
    """Return the manifest without what the problem is about; None if it cannot be without."""
    where = _parse(problem.path)
    if where[:1] != ("spec",) or len(where) == 1:
        return None
    path = _find_part(where[1:])
    why = _ELSEWHERE.sub("", problem.message)
    less = without(manifest, path)
    if path[-1] == "source":
        less["spec"][path[0]][path[1]]["target"] = (machine.disks or ())[int(path[1])].target
    return Lessened(less, f"{_show(path, manifest)} left out, and kept as it is: {why}")


def _parse(text: str) -> Path:
    return tuple(name or int(index) for name, index in _STEP.findall(text))


def _find_part(path: Path) -> Path:
    """Return what has to go with the refused field."""
    if path[0] not in _LISTS:
        return path[:1]
    is_device = len(path) > 2  # noqa: PLR2004 - list, index, field
    return path[:1] if not is_device or path[2] in _IDENTITY else path[:3]


def _show(path: Path, manifest: Spec) -> str:
    kind, *rest = path
    if not rest:
        return f"{kind}:"
    return f"{kind}[{manifest['spec'][kind][rest[0]]['name']}].{rest[1]}:"
