"""Which folders to watch so that no change of a place goes unseen, and which they are now.

A path can come to mean another folder without that folder changing: a link on the way is
exchanged, or the folder is renamed away. So the folders that hold those names are watched too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Dict, FrozenSet, Iterator, List, Optional, Sequence, Set, Tuple

_MOST_LINKS = 40  # as many as the kernel follows
_ALONE = "/."

Names = Optional[FrozenSet[str]]


@dataclass(frozen=True)
class Folder:
    """A folder to watch. `names` in it matter; None: all, and with `is_deep` all that is below."""

    path: str
    is_deep: bool
    names: Names = None


@dataclass(frozen=True)
class Survey:
    """The folders to watch, and what each of them is: path, device, inode."""

    folders: Tuple[Folder, ...]
    identities: FrozenSet[Tuple[str, int, int]]


@dataclass
class _Finding:
    deep: Set[str] = field(default_factory=set)
    whole: Set[str] = field(default_factory=set)
    names: Dict[str, Set[str]] = field(default_factory=dict)

    def note(self, path: str) -> None:
        """Note that the name at a path matters."""
        folder, name = os.path.split(path)
        if name:
            self.names.setdefault(folder, set()).add(name)

    def is_below_deep(self, path: str) -> bool:
        """Whether a folder is watched with one above it."""
        return any(path != one and _is_within(path, one) for one in self.deep)


def survey(places: Sequence[str]) -> Survey:
    """Find out what to watch for these places, as they are now."""
    found = _Finding()
    for place in places:
        _add(place, found)
    folders = tuple(_list_folders(found))
    return Survey(folders, frozenset(_identify(folders)))


def _add(place: str, found: _Finding) -> None:
    is_alone = place.endswith(_ALONE)
    links, real = _follow(place[: -len(_ALONE)] if is_alone else place)
    for one in (*links, real):
        found.note(one)
    if os.path.isdir(real):
        (found.whole if is_alone else found.deep).add(real)
        return
    while real != os.path.dirname(real) and not os.path.isdir(os.path.dirname(real)):
        real = os.path.dirname(real)
    found.note(real)


def _follow(path: str) -> Tuple[List[str], str]:
    """Return the links on the way of a path, each by its real path, and where it leads."""
    links: List[str] = []
    done, todo = "/", os.path.abspath(path).split("/")
    while todo:
        part = todo.pop(0)
        step = os.path.normpath(os.path.join(done, part))
        if len(links) < _MOST_LINKS and part not in ("", ".", "..") and os.path.islink(step):
            links.append(step)
            target = _read_link(step)
            done = "/" if target.startswith("/") else done
            todo = target.split("/") + todo
        else:
            done = step
    return links, done


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:  # exchanged just now: whoever compares later sees it
        return ""


def _list_folders(found: _Finding) -> Iterator[Folder]:
    for path in sorted(found.deep | found.whole | set(found.names)):
        if os.path.isdir(path) and not found.is_below_deep(path):
            is_whole = path in found.deep or path in found.whole
            names = None if is_whole else frozenset(found.names[path])
            yield Folder(path, path in found.deep, names)


def _identify(folders: Sequence[Folder]) -> Iterator[Tuple[str, int, int]]:
    """Yield each folder and those below deep ones, hidden ones not: nothing is read in them."""
    for folder in folders:
        yield from _stat(folder.path)
        for place, names, _ in os.walk(folder.path) if folder.is_deep else ():
            names[:] = [one for one in names if not one.startswith(".")]
            for one in names:
                yield from _stat(os.path.join(place, one))


def _stat(path: str) -> Iterator[Tuple[str, int, int]]:
    try:
        found = os.lstat(path)
    except OSError:  # gone meanwhile, so the next comparison differs
        return
    yield path, found.st_dev, found.st_ino


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
