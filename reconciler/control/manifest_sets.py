"""From manifest files to what is in force: looked up by the loop, replaced as a whole."""

from __future__ import annotations

from typing import Callable, FrozenSet, Optional, Protocol, Tuple

from reconciler.control.service_ports import FileSource, WorkTree
from reconciler.core.frozen import replace
from reconciler.core.key import Key
from reconciler.core.manifest import MACHINE, Desired
from reconciler.core.manifest_files import FileSet, ManifestFile, refuse_empty
from reconciler.core.manifest_sets import InForce, ManifestSet, merge
from reconciler.errors import Problem


class Parsed(Protocol):
    """What is in files: the valid manifests, and what is wrong with the others."""

    @property
    def desired(self) -> Desired:
        """The valid ones."""

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """What is wrong."""


Parse = Callable[[Tuple[ManifestFile, ...]], Parsed]


class LocalFiles:
    """A `FileSource` of a folder: of its commit where it lies in a Git work tree, else as it is.

    Which of both is decided at each read: a folder may become a repository.
    """

    def __init__(self, work_tree: WorkTree, folder: FileSource) -> None:
        """Both are of the same path."""
        self._work_tree = work_tree
        self._folder = folder

    def read(self) -> FileSet:
        """Read from the commit, else the files."""
        return self._now().read()

    def recall(self) -> Optional[FileSet]:
        """Return None: both are here or not at all."""
        return None

    def places(self) -> Tuple[str, ...]:
        """Return those of what would be read now."""
        return self._now().places()

    def _now(self) -> FileSource:
        return self._work_tree if self._work_tree.is_there() else self._folder


class ParsedFiles:
    """A `ManifestSource`: files, parsed once for each content."""

    def __init__(self, files: FileSource, parse: Parse) -> None:
        """`parse` raises nothing for bad input."""
        self._files = files
        self._parse = parse
        self._last: Optional[ManifestSet] = None

    def take(self) -> ManifestSet:
        """Read and parse what is wanted now."""
        return self._understand(self._files.read())

    def recall(self) -> Optional[ManifestSet]:
        """Parse what an earlier run has read last, if that is known."""
        found = self._files.recall()
        return None if found is None else self._understand(found)

    def places(self) -> Tuple[str, ...]:
        """Return what to watch."""
        return self._files.places()

    def _understand(self, found: FileSet) -> ManifestSet:
        if self._last is None or self._last.identity != found.identity:
            self._last = self._make(found)
        return self._last

    def _make(self, found: FileSet) -> ManifestSet:
        parsed = self._parse(found.files)
        problems = tuple(sorted({*found.problems, *parsed.problems}))
        wanted = parsed.desired
        if not (wanted.objects or problems):
            raise refuse_empty(found.where)
        marked = (replace(manifest, revision=found.revision) for manifest in wanted.machines)
        desired = wanted.with_kind(MACHINE, marked)
        return ManifestSet(found.identity, desired, problems, found.revision)


class ManifestsInForce:
    """What is wanted on this host. Replaced by one thread, read by many."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Begin with nothing known, which is not the same as nothing wanted."""
        self._now = now
        self._in_force: Optional[InForce] = None
        # The newest reading, valid in full or not; None before the first one.
        self.snapshot: Optional[ManifestSet] = None
        # Since when they say what they say, as far as this run has seen it; on the monotonic clock,
        # which no person and no time server sets.
        self.since = self._now()

    @property
    def in_force(self) -> InForce:
        """What is in force; empty before the first manifests."""
        return self._in_force or InForce()

    def replace(self, snapshot: ManifestSet) -> FrozenSet[Key]:
        """Take new manifests, and return the keys of objects that must be looked at."""
        former = self.in_force
        if self.snapshot is None or self.snapshot.identity != snapshot.identity:
            self.since = self._now()
        self._in_force = merge(former, snapshot)
        self.snapshot = snapshot
        keys = former.objects.keys() | self._in_force.objects.keys()
        return frozenset(key for key in keys if self._differs(former, key))

    def _differs(self, former: InForce, key: Key) -> bool:
        now = self.in_force
        then, there = former.objects.get(key), now.objects.get(key)
        if then is None or there is None or former.problems.get(key) != now.problems.get(key):
            return True
        return (then.generation, then.host) != (there.generation, there.host)
