"""Which files the paths of a command or a folder mean, and their bytes once they rest.

Every file is read whole or refused; a folder that cannot be listed is a problem, never empty.
Nothing here knows what is in the files.

A file may be half written, and a folder half copied: two readings that are some time apart must be
equal. What does not come to rest in `PATIENCE` counts as files with a problem, so that a file that
is written for ever holds up nobody but itself. Never takes a folder that cannot be read as empty.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.frozen import frozen
from reconciler.core.manifest_files import (
    MOST_BYTES,
    MOST_TOTAL,
    TOO_LARGE,
    TOO_MUCH,
    FileSet,
    ManifestFile,
    check_not_empty,
    is_hidden,
    is_manifest,
    show_name,
)
from reconciler.errors import Problem, TransientError

if TYPE_CHECKING:
    from reconciler.control.ports import Clock

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
        for part in iter(lambda: file.read(min(found.st_size, MOST_BYTES) + 1), b""):
            parts.append(part)
            if sum(map(len, parts)) > MOST_BYTES:
                return None
    return b"".join(parts)


class FileReading:
    """What has been found so far; a file that two paths lead to is read once.

    `read` gets the bytes of a file; `links` are the symbolic links that were met on the way.
    """

    def __init__(self, read: Read = read_bounded, files: Sequence[SourceFile] = ()) -> None:
        """Begin with files that were read already."""
        self.read = read
        self.files = list(files)
        self.problems: List[Problem] = []
        # By device and inode. `told` has each given path of which something was said already.
        self.seen: Set[_Identity] = set()
        self.told: Set[str] = set()
        self.links: List[str] = []
        self.total = 0  # bytes

    def refuse(self, given: str, name: str, message: str) -> None:
        """Note that a file or folder cannot be used."""
        self.told.add(given)
        self.problems.append(
            Problem(file=show_name(name), line=0, column=0, path="", message=message)
        )


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
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not is_hidden(entry.name) and entry.is_dir()
    except OSError:  # a link in circles, or to where one may not look
        return False


QUIET = 0.2  # seconds between two readings that must be equal
PATIENCE = 2.0  # seconds
# A file that was changed so short a time before it was read may change again within the same tick
# of the file system's clock, and look the same.
RACY = 2.0

_Stamp = Tuple[int, int, int, int, int]


@frozen
class _Scan:
    """One reading. `digests` has each file's, by name; `problems` are part of what is compared."""

    files: Tuple[ManifestFile, ...]
    digests: Mapping[str, bytes]
    problems: Tuple[Problem, ...]
    links: Tuple[str, ...]

    def lists(self, reading: FileReading) -> bool:
        """Whether that reading found the very same names, links and problems."""
        return (
            len(self.files) == len(reading.files)
            and all(file.name == other.name for file, other in zip(self.files, reading.files))
            and self.problems == tuple(sorted(reading.problems))
            and self.links == tuple(sorted(reading.links))
        )

    def is_same(self, other: _Scan) -> bool:
        """Whether nothing has changed between the two."""
        return self.digests == other.digests and self.problems == other.problems

    def restless(self, other: _Scan) -> Tuple[str, ...]:
        """Return the names of all that is not the same in the other."""
        changed = {name for name, _ in self.digests.items() ^ other.digests.items()}
        odd = set(self.problems) ^ set(other.problems)
        return tuple(sorted(changed | {problem.file for problem in odd}))


class FolderSource:
    """A `FileSource` of what is below a folder. Reads only what has changed since the last time."""

    def __init__(self, path: str, clock: Clock, quiet: float = QUIET) -> None:
        """`path` may be a symbolic link, and may come and go."""
        self._path = path
        self._clock = clock
        self._quiet = quiet
        self._known: Dict[str, Tuple[_Stamp, bytes]] = {}
        self._last: Optional[_Scan] = None
        self._set: Optional[FileSet] = None
        self._links: Tuple[str, ...] = ()
        self._has_read = False

    def read(self) -> FileSet:
        """Read the folder once it rests."""
        scan, restless = self._rest()
        if self._set is None or scan is not self._last:
            self._links = scan.links
            names = {file.name for file in scan.files}
            self._known = {
                name: stamped for name, stamped in self._known.items() if show_name(name) in names
            }
            self._set = self._make_set(scan, restless)
            self._last = None if restless else scan
        return check_not_empty(self._set)

    def recall(self) -> Optional[FileSet]:
        """Return None: a folder has no memory."""
        return None

    def places(self) -> Tuple[str, ...]:
        """Return the folder, and where links in it lead to."""
        return (self._path, *self._links)

    def _rest(self) -> Tuple[_Scan, Tuple[str, ...]]:
        """Return a reading, and the names of what was still changing when patience ended."""
        until = self._clock.now() + PATIENCE
        former, scan = self._last, self._scan()
        while former is None or not scan.is_same(former):
            if former is not None and self._clock.now() >= until:
                return scan, scan.restless(former)
            self._clock.sleep(self._quiet)
            former, scan = scan, self._scan()
        return scan, ()

    def _scan(self) -> _Scan:
        """Return a new reading, or the last one itself if it would be the same."""
        self._has_read = False
        reading = read_files([self._path], self._read)
        self._refuse_missing(reading)
        if self._last is not None and not self._has_read and self._last.lists(reading):
            return self._last
        files = tuple(ManifestFile(file.name, file.content) for file in reading.files)
        return _Scan(
            files,
            {file.name: hashlib.sha256(file.content).digest() for file in files},
            tuple(sorted(reading.problems)),
            tuple(sorted(reading.links)),
        )

    def _refuse_missing(self, reading: FileReading) -> None:
        name = show_name(self._path)
        for problem in reading.problems:
            if problem.file == name:
                raise TransientError(f"{name}: {problem.message}")
        if any(file.name == name for file in reading.files):
            raise TransientError(f"{name}: is a file; set the folder that it is in")

    def _read(self, name: str, found: os.stat_result) -> Optional[bytes]:
        """Return a file's bytes, from memory if it is as it was."""
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        self._has_read = True
        began = SYSTEM_CLOCK.wall()
        content = read_bounded(name, found)
        if content is not None and found.st_ctime < began - RACY:
            self._known[name] = (stamp, content)
        return content

    def _make_set(self, scan: _Scan, restless: Tuple[str, ...]) -> FileSet:
        files = tuple(file for file in scan.files if file.name not in restless)
        problems = {problem for problem in scan.problems if problem.file not in restless}
        problems.update(
            Problem(
                file=name,
                line=0,
                column=0,
                path="",
                message="changes all the time; it is read when it stops changing",
            )
            for name in restless
        )
        return self._identify(files, tuple(sorted(problems)), scan)

    def _identify(
        self, files: Tuple[ManifestFile, ...], problems: Tuple[Problem, ...], scan: _Scan
    ) -> FileSet:
        made = hashlib.sha256()
        start = len(show_name(self._path))
        for file in sorted(files, key=lambda file: file.name):
            made.update(file.name[start:].encode() + b"\0" + scan.digests[file.name])
        for problem in problems:
            made.update(f"\0{problem.file[start:]}\0{problem.message}".encode())
        return FileSet(f"sha256:{made.hexdigest()}", show_name(self._path), files, problems)
