"""Manifests as they were read: files, and which of them matter; sets, and what is in force. Pure.

`ManifestSet` is what the manifests said at one moment, `InForce` the newest valid manifest of each
object.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import field
from functools import cached_property
from typing import (
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from reconciler.core.frozen import frozen
from reconciler.core.key import Key
from reconciler.core.kinds import find_row, list_rows
from reconciler.core.manifest import Desired, Manifest
from reconciler.errors import Problem, RefusedError

SUFFIXES = (".yaml", ".yml")
MOST_BYTES = 2**20
MOST_TOTAL = 16 * 2**20  # bytes of all manifests together: some 10,000 machines
TOO_MUCH = f"all manifests together are larger than {MOST_TOTAL // 2**20} MiB"
TOO_LARGE = "is larger than 1 MiB, the limit for a manifest file; split it"


@frozen
class ManifestFile:
    """A file; `name` is what a person calls it in messages."""

    name: str
    content: bytes


@frozen
class FileSet:
    """All manifest files as they were at one moment.

    `identity` is equal for equal content, `revision` is the Git commit, None outside of Git.
    `problems` are of files that could not be read. `where` says to a person where all this is.
    """

    identity: str
    where: str
    files: Tuple[ManifestFile, ...]
    problems: Tuple[Problem, ...] = ()
    revision: Optional[str] = None


@frozen
class LoadedManifests:
    """What is valid in manifest files, and what is wrong with the rest, sorted by place.

    `warnings` are about what is valid and probably not what is meant.
    """

    desired: Desired
    problems: Tuple[Problem, ...] = ()
    warnings: Tuple[Problem, ...] = ()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to an editor, or to Git."""
    return name.startswith(".")


def is_manifest(name: str) -> bool:
    """Whether a file of this name is a manifest file; editors' backups and drafts are not."""
    return not is_hidden(name) and name.endswith(SUFFIXES)


def show_name(name: str) -> str:
    """Return a file's name as text that can be printed, whatever bytes it has."""
    return name.encode("utf-8", "backslashreplace").decode()


def check_not_empty(found: FileSet) -> FileSet:
    """Return the set as it is. Raises RefusedError if there is nothing at all in it."""
    if not found.files and not found.problems:
        raise refuse_empty(found.where)
    return found


def check_total(size: int, where: str) -> None:
    """Raise RefusedError if so many bytes of manifests are not read."""
    if size > MOST_TOTAL:
        raise RefusedError(
            f"{where}: {TOO_MUCH}, so none is read and the manifests in force stay; let each "
            "host follow a folder of its own (spec.source.git.path)"
        )


def refuse_empty(where: str) -> RefusedError:
    """Return the error that says that nothing is concluded from finding nothing."""
    return RefusedError(
        f"there are no manifests in {where}: the manifests in force stay unchanged; check the path"
    )


@frozen
class Split:
    """Files that only one version has, and those that both have, wherever they lie."""

    base: Tuple[ManifestFile, ...]
    head: Tuple[ManifestFile, ...]
    both: Tuple[ManifestFile, ...]


def split_files(base: Sequence[ManifestFile], head: Sequence[ManifestFile]) -> Split:
    """Sort the files of two versions by content: one that was moved is in both."""
    return Split(
        _missing(base, Counter(file.content for file in head)),
        _missing(head, Counter(file.content for file in base)),
        _common(head, Counter(file.content for file in base)),
    )


def _missing(files: Sequence[ManifestFile], there: Dict[bytes, int]) -> Tuple[ManifestFile, ...]:
    found = []
    left = Counter(there)
    for file in files:
        if left[file.content] > 0:
            left[file.content] -= 1
        else:
            found.append(file)
    return tuple(found)


def _common(files: Sequence[ManifestFile], there: Dict[bytes, int]) -> Tuple[ManifestFile, ...]:
    missing = {id(file) for file in _missing(files, there)}
    return tuple(file for file in files if id(file) not in missing)


def find_needed(both: Iterable[ManifestFile], changed: Sequence[Desired]) -> List[ManifestFile]:
    """Return the files that what differs may depend on, or may clash with."""
    words = {word.encode() for desired in changed for word in _words(desired)}
    # Whether the word stands for a kind is found out by reading the file; too many is no harm.
    shared = re.compile(rb"\b(%s)\b" % b"|".join(map(str.encode, _list_shared())))
    found = re.compile(b"|".join(re.escape(word) for word in sorted(words))) if words else None
    return [
        file
        for file in both
        if shared.search(file.content) or (found and found.search(file.content))
    ]


def _list_shared() -> Iterator[str]:
    """Yield the kinds whose objects others refer to without being named by them."""
    yield from (row.name for row in list_rows() if not row.is_placed)


def _words(desired: Desired) -> Set[str]:
    """Return what objects have for themselves alone: names, addresses, images."""
    words = {key.name for key in desired.objects}
    for key, manifest in desired.objects.items():
        words.update(find_row(key.kind).words(manifest))
    return words


@frozen
class Differing:
    """The objects that differ between two versions, by key.

    `renamed` maps an object that is gone to a new one that is the same but for its name.
    """

    changed: FrozenSet[Key]
    added: FrozenSet[Key]
    gone: FrozenSet[Key]
    renamed: Tuple[Tuple[Key, Key], ...] = ()


def find_differing(base: Desired, head: Desired) -> Differing:
    """Return which objects that are planned are new, gone, or described otherwise."""
    before, after = _list_reconciled(base), _list_reconciled(head)
    added, gone = after.keys() - before.keys(), before.keys() - after.keys()
    both = before.keys() & after.keys()
    return Differing(
        frozenset(key for key in both if _meaning(before[key]) != _meaning(after[key])),
        frozenset(added),
        frozenset(gone),
        tuple(_find_renamed([before[x] for x in sorted(gone)], [after[x] for x in sorted(added)])),
    )


def _list_reconciled(desired: Desired) -> Mapping[Key, Manifest]:
    found = desired.objects.items()
    return {key: manifest for key, manifest in found if find_row(key.kind).is_planned(manifest)}


def _meaning(manifest: Manifest) -> Tuple[object, ...]:
    return (manifest.key.kind, manifest.generation, manifest.host)


def _find_renamed(gone: Sequence[Manifest], added: Sequence[Manifest]) -> Iterator[Tuple[Key, Key]]:
    left = list(added)
    for manifest in gone:
        same = next((other for other in left if _meaning(other) == _meaning(manifest)), None)
        if same is not None:
            left.remove(same)
            yield manifest.key, same.key


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
