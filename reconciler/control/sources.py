"""From manifest files to the snapshot that the loop works with.

Knows the order: which files, what is in them, whether anything may be concluded. Reads nothing
itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Optional, Protocol, Tuple

from reconciler.control.ports.service import FileSource, WorkTree
from reconciler.core.files import FileSet, ManifestFile, refuse_empty
from reconciler.core.loop.snapshot import Snapshot
from reconciler.core.manifest import MACHINE, Desired
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
        self._last: Optional[Snapshot] = None

    def take(self) -> Snapshot:
        """Read and parse what is wanted now."""
        return self._understand(self._files.read())

    def recall(self) -> Optional[Snapshot]:
        """Parse what an earlier run has read last, if that is known."""
        found = self._files.recall()
        return None if found is None else self._understand(found)

    def places(self) -> Tuple[str, ...]:
        """Return what to watch."""
        return self._files.places()

    def _understand(self, found: FileSet) -> Snapshot:
        if self._last is None or self._last.identity != found.identity:
            self._last = self._make(found)
        return self._last

    def _make(self, found: FileSet) -> Snapshot:
        parsed = self._parse(found.files)
        problems = tuple(sorted({*found.problems, *parsed.problems}))
        wanted = parsed.desired
        if not (wanted.objects or problems):
            raise refuse_empty(found.where)
        marked = (replace(manifest, revision=found.revision) for manifest in wanted.machines)
        desired = wanted.with_kind(MACHINE, marked)
        return Snapshot(found.identity, desired, problems, found.revision)
