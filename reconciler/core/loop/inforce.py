"""What is in force: the newest valid manifest of each object. Pure.

An invalid manifest keeps the last valid one of its object in force; that an object is absent is
only believed when everything could be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import FrozenSet, Mapping, Optional, Tuple

from reconciler.core.key import Key
from reconciler.core.loop.snapshot import Snapshot
from reconciler.core.manifest import (
    Desired,
    HostManifest,
    MachineManifest,
    Manifest,
    TemplateManifest,
)


@dataclass(frozen=True)
class InForce:
    """All objects in force, by key.

    `problems` says of an object why its newest manifest is not in force. `absent` are objects
    that were in force and are in a complete snapshot no more; `is_complete` says that it was one.
    """

    identity: str = ""
    revision: Optional[str] = None
    objects: Mapping[Key, Manifest] = field(default_factory=dict)
    problems: Mapping[Key, str] = field(default_factory=dict)
    absent: FrozenSet[Key] = frozenset()
    is_complete: bool = False

    @cached_property
    def desired(self) -> Desired:
        """The same as what a plan is made of."""
        return Desired(self.objects)

    @cached_property
    def machines(self) -> Mapping[str, MachineManifest]:
        """The virtual machines, by name."""
        return {manifest.name: manifest for manifest in self.desired.machines}

    @property
    def templates(self) -> Tuple[TemplateManifest, ...]:
        """The templates, sorted by name."""
        return self.desired.templates

    @property
    def hosts(self) -> Tuple[HostManifest, ...]:
        """The hosts, sorted by name."""
        return self.desired.hosts


def merge(former: InForce, new: Snapshot) -> InForce:
    """Return what is in force once a new snapshot was read."""
    there = new.desired.objects
    missing = former.objects.keys() - there.keys()
    kept = frozenset() if new.is_complete else frozenset(missing)
    found = {**{key: former.objects[key] for key in kept}, **there}
    objects = {key: found[key] for key in sorted(found)}
    return InForce(
        new.identity,
        new.revision,
        objects,
        {key: _explain(objects[key], new) for key in sorted(kept)},
        frozenset(missing - kept),
        new.is_complete,
    )


def _explain(manifest: Manifest, new: Snapshot) -> str:
    """Return the problems of the file that the object was in; of all files if it has none."""
    mine = [str(problem) for problem in new.problems if problem.file == manifest.place.file]
    return "; ".join(mine or [str(problem) for problem in new.problems])
