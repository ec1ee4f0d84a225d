"""Manifest files as values, and which of them matter for what differs between two sets. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import Dict, FrozenSet, Iterable, List, Optional, Sequence, Set, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import IMAGES, volume_name
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


# Whether the word stands for a kind is found out by reading the file; too many is no harm.
_SHARED_KINDS = re.compile(rb"\b(Template|Host)\b")


@frozen
class Split:
    """Files that only one version has, and those that both have, wherever they lie."""

    base: Tuple[ManifestFile, ...]
    head: Tuple[ManifestFile, ...]
    both: Tuple[ManifestFile, ...]


def split_files(base: Sequence[ManifestFile], head: Sequence[ManifestFile]) -> Split:
    """Sort the files of two versions by content: one that was moved is in both."""
    return Split(
        _missing(base, Counter(one.content for one in head)),
        _missing(head, Counter(one.content for one in base)),
        _common(head, Counter(one.content for one in base)),
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
    missing = {id(one) for one in _missing(files, there)}
    return tuple(file for file in files if id(file) not in missing)


def find_needed(both: Iterable[ManifestFile], changed: Sequence[Desired]) -> List[ManifestFile]:
    """Return the files that what differs may depend on, or may clash with."""
    words = {word.encode() for one in changed for word in _words(one)}
    found = re.compile(b"|".join(re.escape(word) for word in sorted(words))) if words else None
    return [
        one
        for one in both
        if _SHARED_KINDS.search(one.content) or (found and found.search(one.content))
    ]


def _words(desired: Desired) -> Set[str]:
    """Return what an object has for itself alone: names, addresses, images."""
    words = {one.name for one in desired.machines}
    words |= {template.name for template in desired.templates} | {
        host.name for host in desired.hosts
    }
    for manifest in desired.machines:
        machine = manifest.machine
        words |= {interface.mac for interface in machine.interfaces or () if interface.mac}
        for disk in machine.disks or ():
            words |= {one for one in (disk.source, disk.volume) if one}
            words |= {volume_name(machine.name, disk.name, image) for image in IMAGES}
    return words


@frozen
class Differing:
    """The machines that differ between two versions, by name.

    `renamed` maps a name that is gone to a new one whose machine is the same but for its name.
    """

    changed: FrozenSet[str]
    added: FrozenSet[str]
    gone: FrozenSet[str]
    renamed: Tuple[Tuple[str, str], ...] = ()


def find_differing(base: Desired, head: Desired) -> Differing:
    """Return which machines are new, gone, or wanted otherwise."""
    before = {machine.name: machine for machine in base.machines}
    after = {machine.name: machine for machine in head.machines}
    added, gone = frozenset(after) - frozenset(before), frozenset(before) - frozenset(after)
    both = frozenset(before) & frozenset(after)
    return Differing(
        frozenset(name for name in both if _meaning(before[name]) != _meaning(after[name])),
        added,
        gone,
        tuple(_find_renamed([before[x] for x in sorted(gone)], [after[x] for x in sorted(added)])),
    )


def _meaning(manifest: MachineManifest) -> Tuple[object, ...]:
    return (manifest.generation, manifest.host)


def _find_renamed(
    gone: Sequence[MachineManifest], added: Sequence[MachineManifest]
) -> Iterable[Tuple[str, str]]:
    left = list(added)
    for one in gone:
        same = next((x for x in left if _meaning(x) == _meaning(one)), None)
        if same is not None:
            left.remove(same)
            yield one.name, same.name
