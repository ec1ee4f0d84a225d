"""What the manifests said at one moment: the desired side of the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from reconciler.core.manifest import Desired
from reconciler.errors import Problem


@dataclass(frozen=True)
class Snapshot:
    """One consistent reading of all manifests.

    `identity` is equal for equal content: the commit, else a digest of all files. `revision` is
    the Git commit, None outside of Git. `problems` are those of the manifests left out; while there
    are any, nothing may be concluded from an object's absence.
    """

    identity: str
    desired: Desired
    problems: Tuple[Problem, ...] = ()
    revision: Optional[str] = None

    @property
    def is_complete(self) -> bool:
        """Whether everything could be read, so that what is missing is really absent."""
        return not self.problems
