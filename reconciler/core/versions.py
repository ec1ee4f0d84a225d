"""Two versions of the manifests side by side: which files matter for what differs. Pure.

A repository of a thousand manifests, of which a branch changes ten, is compared by reading those
ten. A file that both versions have counts only where something in it is needed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterable, List, Sequence, Set, Tuple

from reconciler.core.files import ManifestFile
from reconciler.core.identity import IMAGES, volume_name
from reconciler.core.manifest import Desired, MachineManifest

# Whether the word stands for a kind is found out by reading the file; too many is no harm.
_SHARED_KINDS = re.compile(rb"\b(Template|Host)\b")


@dataclass(frozen=True)
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
    for one in files:
        if left[one.content] > 0:
            left[one.content] -= 1
        else:
            found.append(one)
    return tuple(found)


def _common(files: Sequence[ManifestFile], there: Dict[bytes, int]) -> Tuple[ManifestFile, ...]:
    missing = {id(one) for one in _missing(files, there)}
    return tuple(one for one in files if id(one) not in missing)


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
    words |= {one.name for one in desired.templates} | {one.name for one in desired.hosts}
    for manifest in desired.machines:
        machine = manifest.machine
        words |= {one.mac for one in machine.interfaces or () if one.mac}
        for disk in machine.disks or ():
            words |= {one for one in (disk.source, disk.volume) if one}
            words |= {volume_name(machine.name, disk.name, image) for image in IMAGES}
    return words


@dataclass(frozen=True)
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
    before = {one.name: one for one in base.machines}
    after = {one.name: one for one in head.machines}
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
