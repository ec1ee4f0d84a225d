"""How a pass over one object can end: these and nothing else, so that no object is ever dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Done:
    """As wanted, or nothing that could be done now; the next event or resync looks again."""


@dataclass(frozen=True)
class Again:
    """Something may pass by itself: try again after so many seconds."""

    reason: str
    after: float


@dataclass(frozen=True)
class Stalled:
    """Trying again cannot help until the manifest or the domain changes."""

    reason: str


Result = Union[Done, Again, Stalled]
