"""What the last applied spec, kept in a domain's mark, says of the machine's end. Pure.

A mark that somebody edited, and that makes no sense any more, allows nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from reconciler.core.document.build import build_lifecycle
from reconciler.core.manifest import Lifecycle
from reconciler.core.owner import Owner
from reconciler.core.planning.images import DEFAULT_POOL
from reconciler.core.units import parse_duration

ORPHAN, UNDEFINE, DELETE_DISKS = "orphan", "undefine", "deleteDisks"
_PLAIN = Lifecycle()


@dataclass(frozen=True)
class AppliedDisk:
    """A disk that the spec gives the machine, in which pool, and how it came to be.

    `is_made`: the spec names no image that was there, so that its volume was made for the machine.
    """

    name: str
    pool: str
    is_made: bool


@dataclass(frozen=True)
class Applied:
    """`deletion` is the word of the spec; `shutdown_timeout` seconds."""

    deletion: str = ORPHAN
    shutdown_timeout: int = _PLAIN.shutdown_timeout
    force_off: bool = False
    disks: Tuple[AppliedDisk, ...] = ()


def read_applied(owner: Owner) -> Applied:
    """Return what the mark's spec says; what it does not say has its default."""
    try:
        spec = json.loads(owner.spec)
        lifecycle = spec.get("lifecycle", {})
        deletion = lifecycle.get("deletion", ORPHAN)
        return Applied(
            deletion if deletion in (UNDEFINE, DELETE_DISKS) else ORPHAN,
            parse_duration(lifecycle.get("shutdownTimeout", f"{_PLAIN.shutdown_timeout}s")),
            lifecycle.get("forceOff") is True,
            tuple(_read_disk(one) for one in spec.get("disks") or ()),
        )
    except (ValueError, TypeError, AttributeError, KeyError):
        return Applied()


def read_lifecycle(owner: Optional[Owner]) -> Lifecycle:
    """Return the lifecycle of the mark's spec; the default where there is none to be had."""
    try:
        return build_lifecycle(json.loads(owner.spec).get("lifecycle", {}) if owner else {})
    except (ValueError, TypeError, AttributeError, KeyError):
        return _PLAIN


def _read_disk(data: Dict[str, Any]) -> AppliedDisk:
    source = data.get("source", {})
    return AppliedDisk(
        data["name"],
        data.get("pool", DEFAULT_POOL),
        "path" not in source and "volume" not in source,
    )
