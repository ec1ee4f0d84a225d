"""Our mark on a domain, as a value. How it is written in XML is `core.domain`'s."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import FrozenSet, Optional, Tuple

from reconciler.core.worker import Worker


@dataclass(frozen=True)
class Owner:
    """What the domain's metadata says of the manifest it follows.

    `name` is the manifest's; a domain of another name (a copy made by hand) is not ours.
    `generation` and `spec` are those last applied in full. `creating` are paths of volumes that
    were being made; they are unfinished if the mark is still there in a later pass. `revision` is
    the Git commit that was applied then, None where it was not known. `made` are paths of volumes
    that were made for the machine, there being none before: only those are ever deleted with it.
    `worker` is the run that makes or made the volumes in `creating`. `formerly` are the names that
    the machine had before it was renamed: its volumes may be called by them. `is_unfinished` says
    that the machine itself is being created: its definition lacks the disks whose volumes are not
    complete.
    """

    name: str
    generation: str
    spec: str = "{}"
    os: Optional[str] = None
    creating: Tuple[str, ...] = ()
    revision: Optional[str] = None
    made: Tuple[str, ...] = ()
    worker: Optional[Worker] = None
    formerly: Tuple[str, ...] = ()
    is_unfinished: bool = False

    @property
    def names(self) -> Tuple[str, ...]:
        """The machine's names, the present one first."""
        return (self.name, *self.formerly)

    @property
    def disks(self) -> FrozenSet[str]:
        """Names of the disks that the last applied spec gave the machine."""
        try:
            return frozenset(one["name"] for one in json.loads(self.spec).get("disks", ()))
        except (ValueError, TypeError, AttributeError, KeyError):
            return frozenset()  # somebody edited it: we know of none
