"""From manifest files to what is in force: looked up by the loop, replaced as a whole."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Callable, FrozenSet, Optional, Protocol, Tuple

from reconciler.control.service_ports import FileSource, WorkTree
from reconciler.core.key import Key
from reconciler.core.manifest import MACHINE, Desired, MachineManifest
from reconciler.core.manifest_files import FileSet, ManifestFile, refuse_empty
from reconciler.core.manifest_sets import InForce, ManifestSet, merge
from reconciler.errors import Problem
from reconciler.kinds.machine.planner import is_placed_here


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

    def __init__(self) -> None:
        """Begin with nothing known, which is not the same as nothing wanted."""
        self._in_force: Optional[InForce] = None
        # The newest reading, valid in full or not; None before the first one.
        self.snapshot: Optional[ManifestSet] = None
        # Since when they say what they say, as far as this run has seen it; on the monotonic clock,
        # which no person and no time server sets.
        self.since = time.monotonic()

    @property
    def in_force(self) -> InForce:
        """What is in force; empty before the first manifests."""
        return self._in_force or InForce()

    def replace(self, snapshot: ManifestSet) -> FrozenSet[str]:
        """Take new manifests, and return the names of machines that must be looked at."""
        former = self.in_force
        if self.snapshot is None or self.snapshot.identity != snapshot.identity:
            self.since = time.monotonic()
        self._in_force = merge(former, snapshot)
        self.snapshot = snapshot
        names = former.machines.keys() | self._in_force.machines.keys()
        return frozenset(name for name in names if self._differs(former, name))

    def _differs(self, former: InForce, name: str) -> bool:
        now = self.in_force
        then, there = former.machines.get(name), now.machines.get(name)
        key = Key(MACHINE, name)
        if then is None or there is None or former.problems.get(key) != now.problems.get(key):
            return True
        return (then.generation, then.host) != (there.generation, there.host)

    def users_of(self, kind: str, *names: str) -> FrozenSet[str]:
        """Return the machines that name one of these networks, pools or bridges."""
        return frozenset(
            machine.name
            for machine in self.in_force.machines.values()
            if not _named(machine, kind).isdisjoint(names)
        )

    def made_from(self, domain: str) -> FrozenSet[str]:
        """Return the machines with disks of a template that is that domain's.

        Not the domain itself: what is tried in vain on it would have it tried again at once.
        """
        templates = {
            template.name for template in self.in_force.templates if template.domain == domain
        }
        if not templates:
            return frozenset()
        return frozenset(
            machine.name
            for machine in self.in_force.machines.values()
            if machine.name != domain
            and any(disk.template in templates for disk in machine.machine.disks or ())
        )


def find_machine(in_force: InForce, name: str, host: str) -> Optional[MachineManifest]:
    """Return a machine's manifest with its commit, None if it is not for this host."""
    found = in_force.machines.get(name)
    if found is None or not is_placed_here(found, host):
        return None
    return replace(found, revision=in_force.revision)


def find_alone(in_force: InForce, manifest: MachineManifest) -> Desired:
    """Return the machine with the templates that its disks name, and nothing else."""
    names = {disk.template for disk in manifest.machine.disks or ()}
    return Desired.of(
        manifest, *(template for template in in_force.templates if template.name in names)
    )


def _named(manifest: MachineManifest, kind: str) -> FrozenSet[str]:
    machine = manifest.machine
    if kind == "network":
        return frozenset(
            interface.network for interface in machine.interfaces or () if interface.network
        )
    if kind == "bridge":
        return frozenset(
            interface.bridge for interface in machine.interfaces or () if interface.bridge
        )
    return frozenset(disk.pool or "default" for disk in machine.disks or ())
