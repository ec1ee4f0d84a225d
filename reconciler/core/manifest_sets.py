"""What the manifests said at one moment, and the newest valid manifest of each object. Pure."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import Dict, FrozenSet, Mapping, Optional, Set, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import (
    Desired,
    Manifest,
)
from reconciler.errors import Problem


@frozen
class ManifestSet:
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


@frozen
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
    def reconciled(self) -> Mapping[Key, Manifest]:
        """Those that are planned; the others are only referred to."""
        found = self.objects.items()
        return {key: manifest for key, manifest in found if find_row(key.kind).is_planned(manifest)}

    @cached_property
    def _users(self) -> Mapping[Key, FrozenSet[Key]]:
        users: Dict[Key, Set[Key]] = {}
        for key, manifest in self.objects.items():
            for needed in find_row(key.kind).needs(manifest, self.desired):
                users.setdefault(needed, set()).add(key)
        return {needed: frozenset(keys) for needed, keys in users.items()}

    def find_users(self, *needed: Key) -> FrozenSet[Key]:
        """Return the planned objects that need one of these, by what they refer to as well.

        Not these themselves: what is tried in vain on one would have it tried again at once.
        """
        found: Set[Key] = set()
        todo = list(needed)
        while todo:
            for user in self._users.get(todo.pop(), frozenset()):
                if user not in found:
                    found.add(user)
                    todo += [] if user in self.reconciled else [user]
        return frozenset(found.intersection(self.reconciled).difference(needed))


def merge(former: InForce, new: ManifestSet) -> InForce:
    """Return what is in force once a new snapshot was read."""
    there = new.desired.objects
    missing = former.objects.keys() - there.keys()
    kept = frozenset() if new.is_complete else frozenset(missing)
    found = {**{key: former.objects[key] for key in kept}, **there}
    objects = {key: found[key] for key in sorted(found)}
    return InForce(
        identity=new.identity,
        revision=new.revision,
        objects=objects,
        problems={key: _explain(objects[key], new) for key in sorted(kept)},
        absent=frozenset(missing - kept),
        is_complete=new.is_complete,
    )


def _explain(manifest: Manifest, new: ManifestSet) -> str:
    """Return the problems of the file that the object was in; of all files if it has none."""
    mine = [str(problem) for problem in new.problems if problem.file == manifest.place.file]
    return "; ".join(mine or [str(problem) for problem in new.problems])
