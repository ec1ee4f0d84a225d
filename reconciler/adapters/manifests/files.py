"""Which files are meant by the paths on a command line, and their bytes.

Every file is read whole or refused; a folder that cannot be listed is a problem, never empty.
Nothing here knows what is in the files.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Callable, List, Optional, Sequence, Set, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.manifest_files import (
    MOST_BYTES,
    MOST_TOTAL,
    TOO_LARGE,
    TOO_MUCH,
    ManifestFile,
    is_hidden,
    is_manifest,
    show_name,
)
from reconciler.errors import Problem

_Identity = Tuple[int, int]
Read = Callable[[str, os.stat_result], Optional[bytes]]


@frozen
class SourceFile:
    """A file that was read. `given` is the path that led to it."""

    given: str
    name: str
    content: bytes


def read_bounded(name: str, found: os.stat_result) -> Optional[bytes]:
    """Return the bytes, or None if there are too many; a pipe has no size beforehand."""
    if found.st_size > MOST_BYTES:
        return None
    with open(name, "rb", buffering=0) as file:
        parts = [b""]
        for part in iter(lambda: file.read(MOST_BYTES + 1), b""):
            parts.append(part)
            if sum(map(len, parts)) > MOST_BYTES:
                return None
    return b"".join(parts)


@dataclass
class FileReading:
    """What has been found so far; a file that two paths lead to is read once.

    `read` gets the bytes of a file; `links` are the symbolic links that were met on the way.
    """

    read: Read = read_bounded
    files: List[SourceFile] = field(default_factory=list)
    problems: List[Problem] = field(default_factory=list)
    # By device and inode. `told` has each given path of which something was said already.
    seen: Set[_Identity] = field(default_factory=set)
    told: Set[str] = field(default_factory=set)
    links: List[str] = field(default_factory=list)
    total: int = 0  # bytes

    def refuse(self, given: str, name: str, message: str) -> None:
        """Note that a file or folder cannot be used."""
        self.told.add(given)
        self.problems.append(Problem(show_name(name), 0, 0, "", message))


def read_files(paths: Sequence[str], read: Read = read_bounded) -> FileReading:
    """Read the given files, and the manifest files below the given folders, in order of name."""
    reading = FileReading(read)
    for path in paths:
        _visit(path, path, reading)
    return reading


def read_manifest_files(
    paths: Sequence[str],
) -> Tuple[Tuple[ManifestFile, ...], Tuple[Problem, ...]]:
    """Return the files as values, and what is wrong with those that could not be read."""
    reading = read_files(paths)
    files = tuple(ManifestFile(file.name, file.content) for file in reading.files)
    return files, tuple(reading.problems)


def _visit(given: str, name: str, reading: FileReading) -> None:
    try:
        found = os.stat(name)
        if _is_new(given, found, reading):
            _read(given, name, found, reading)
    except OSError as error:
        reading.refuse(given, name, f"cannot be read: {error.strerror or error}")
    except ValueError:  # a NUL in the name
        reading.refuse(given, name, "cannot be read: it is not a valid file name")


def _is_new(given: str, found: os.stat_result, reading: FileReading) -> bool:
    identity = (found.st_dev, found.st_ino)
    if identity in reading.seen:
        reading.told.add(given)
        return False
    reading.seen.add(identity)
    return True


def _read(given: str, name: str, found: os.stat_result, reading: FileReading) -> None:
    if stat.S_ISDIR(found.st_mode):
        for entry in _manifest_entries(name):
            if entry.is_symlink():
                reading.links.append(entry.path)
            _visit(given, entry.path, reading)
    elif given != name and not stat.S_ISREG(found.st_mode):
        reading.refuse(given, name, "cannot be read: it is not a regular file")
    else:
        content = reading.read(name, found)
        reading.total += len(content or b"")
        if content is None:
            reading.refuse(given, name, TOO_LARGE)
        elif reading.total > MOST_TOTAL:
            reading.refuse(given, name, f"is not read: {TOO_MUCH}")
        else:
            reading.files.append(SourceFile(given, show_name(name), content))


def _manifest_entries(folder: str) -> List[os.DirEntry[str]]:
    """Return folders and manifest files; hidden ones are editors' and Git's."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if is_manifest(entry.name) or _is_folder(entry)]
    return sorted(found, key=lambda one: one.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not is_hidden(entry.name) and entry.is_dir()
    except OSError:  # a link in circles, or to where one may not look
        return False
