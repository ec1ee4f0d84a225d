"""Notice when someone else keeps changing back what the loop does. Pure.

Two tools that each know better would otherwise change a guest for ever, a few times a minute. Such
a field is left alone until a person says to go on, or the manifest changes; no other field is.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import FrozenSet, Mapping, Tuple

WINDOW = 600.0  # seconds
MOST = 5  # corrections of one field within the window


@dataclass(frozen=True)
class Corrections:
    """When which fields of one object were brought back, the oldest first.

    `left` are the fields that are left alone. All of it is about one `generation` of the manifest.
    """

    generation: str = ""
    made: Tuple[Tuple[float, FrozenSet[str]], ...] = ()
    left: FrozenSet[str] = frozenset()

    def plus(self, now: float, paths: FrozenSet[str]) -> Corrections:
        """Return these and one more, without those that are too old to matter."""
        recent = tuple(one for one in self.made if one[0] > now - WINDOW)
        return replace(self, made=(*recent, (now, paths)))

    def leave(self, now: float, paths: FrozenSet[str]) -> Corrections:
        """Return these, with those of the fields left alone that were brought back too often."""
        recent = [fields for at, fields in self.made if at > now - WINDOW]
        often = {one for one in paths if sum(one in each for each in recent) >= MOST}
        return replace(self, left=self.left | often)


def describe_left(name: str, corrections: Corrections) -> Mapping[str, str]:
    """Return what to say of each field that is left alone, and what to do."""
    return {
        path: f"{path} was changed back by someone {MOST} times in {WINDOW / 60:.0f} min; left "
        f"alone. Find out who, then: virt-reconciler resume {shlex.quote(name)}"
        for path in sorted(corrections.left)
    }
