"""Notice when somebody else keeps undoing what the loop does. Pure.

Two tools that each know better would otherwise change a guest for ever, a few times a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import FrozenSet, Optional, Tuple

WINDOW = 600.0  # seconds
MOST = 5  # corrections of one field within the window


@dataclass(frozen=True)
class Corrections:
    """When which fields of one object were brought back; the oldest first."""

    made: Tuple[Tuple[float, FrozenSet[str]], ...] = ()

    def plus(self, now: float, paths: FrozenSet[str]) -> Corrections:
        """Return these and one more, without those that are too old to matter."""
        recent = tuple(one for one in self.made if one[0] > now - WINDOW)
        return Corrections((*recent, (now, paths)))

    def find_fight(self, now: float, paths: FrozenSet[str]) -> Optional[str]:
        """Return the field that was brought back too often to do it once more, or None."""
        recent = [fields for at, fields in self.made if at > now - WINDOW]
        often = [one for one in sorted(paths) if sum(one in each for each in recent) >= MOST]
        return often[0] if often else None


def describe_fight(path: str) -> str:
    """Return what to tell a person."""
    return (
        f"{path} was brought back {MOST} times within {WINDOW / 60:.0f} minutes and changed again "
        "by somebody else; find out who, then change the manifest or restart the loop's work on it "
        "with `virt-reconciler resume`"
    )
