"""Watch folders: which have changed, by the system's announcements where it has them.

An event is looked into only to see whether it is one at all; what has changed is found out by
reading.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Callable, Dict, FrozenSet, Iterator, List, Optional, Sequence, Set, Tuple, Type

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver
from watchdog.utils import BaseThread

from reconciler.control.service_ports import INOTIFY, HostSigns
from reconciler.core.frozen import frozen

_MOST_LINKS = 40  # as many as the kernel follows
_ALONE = "/."

Names = Optional[FrozenSet[str]]


@frozen
class Folder:
    """A folder to watch. `names` in it matter; None: all, and with `is_deep` all that is below."""

    path: str
    is_deep: bool
    names: Names = None


@frozen
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
        return any(path != folder and _is_within(path, folder) for folder in self.deep)


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
    for link in (*links, real):
        found.note(link)
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
            names[:] = [name for name in names if not name.startswith(".")]
            for name in names:
                yield from _stat(os.path.join(place, name))


def _stat(path: str) -> Iterator[Tuple[str, int, int]]:
    try:
        found = os.lstat(path)
    except OSError:  # gone meanwhile, so the next comparison differs
        return
    yield path, found.st_dev, found.st_ino


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


MOUNTS = "/proc/self/mountinfo"
# What other hosts, or a program, change in these is announced to nobody here.
REMOTE = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "nfs"}
    | {"nfs4", "ocfs2", "smb3", "vboxsf", "virtiofs"}
)

_CLOSE_ON_EXEC = 0o2000000
_CREATE = 0x100  # any event will do for a try
_WATCHES = "the limit of inotify watches is reached; raise it: sysctl fs.inotify.max_user_watches"
_INSTANCES = (
    "the limit of inotify instances or of open files is reached; raise it: "
    "sysctl fs.inotify.max_user_instances, or LimitNOFILE= of the service"
)
_LIBC = ctypes.CDLL(None, use_errno=True)


def find_hindrance(folders: Sequence[Folder]) -> str:
    """Return why these folders cannot be watched, or nothing."""
    return find_remote(folders, read_mounts()) or _try_limits(folders)


def explain(error: OSError) -> str:
    """Return what a failed call of inotify means, and what to do."""
    if error.errno == errno.ENOSPC:
        return _WATCHES
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _INSTANCES
    return f"inotify does not work here: {error.strerror or error}"


def find_remote(folders: Sequence[Folder], mounts: Sequence[Tuple[str, str]]) -> str:
    """Return what to say if a folder whose content matters is on a file system that others change.

    `mounts` are the points and types of all file systems, the later over the earlier.
    """
    for folder in folders:
        kinds = [kind for point, kind in mounts if _is_below(folder.path, point)]
        kind = kinds[-1] if kinds else ""
        if folder.names is None and kind.split(".")[0] in REMOTE:
            return f"{folder.path} is on {kind}, which does not announce what others change in it"
    return ""


def read_mounts() -> Tuple[Tuple[str, str], ...]:
    """Return point and type of each file system, by increasing length of the point."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" ") for line in file]
    except OSError:
        return ()
    mounts = [(_unescape(line[4]), line[line.index("-") + 1]) for line in lines]
    return tuple(sorted(mounts, key=lambda mount: len(mount[0])))


def _unescape(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text


def _is_below(path: str, point: str) -> bool:
    return point in ("/", path) or path.startswith(f"{point}/")


def _try_limits(folders: Sequence[Folder]) -> str:
    """Take all that watching will take, and give it back."""
    opened: List[int] = []
    try:
        for folder in folders:
            opened.append(_call("inotify_init1", _CLOSE_ON_EXEC))
            for path in _paths(folder):
                _add_watch(opened[-1], path)
    except OSError as error:
        return explain(error)
    finally:
        for handle in opened:
            os.close(handle)
    return ""


def _paths(folder: Folder) -> Iterator[str]:
    if not folder.is_deep:
        yield folder.path
        return
    for place, _, _ in os.walk(folder.path):
        yield place


def _add_watch(descriptor: int, path: str) -> None:
    # Gone, or not to be read: whoever reads it says so.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        _call("inotify_add_watch", descriptor, os.fsencode(path), _CREATE)


def _call(name: str, *arguments: object) -> int:
    result = int(getattr(_LIBC, name)(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


_EVENTS: List[Type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
# Reading a file is none of our business; our own reads would wake us for ever.
_READS = frozenset({"opened", "closed_no_write"})


class _Announcer(FileSystemEventHandler):
    """Passes a hint on and does nothing else: watchdog calls it in its thread, under its lock."""

    def __init__(self, names: Names, hint: Callable[[], None]) -> None:
        self._names = names
        self._hint = hint

    def dispatch(self, event: FileSystemEvent) -> None:
        """Give a hint."""
        # An exception here would end watchdog's thread, which nobody would notice.
        with contextlib.suppress(Exception):
            if event.event_type not in _READS and self._matters(event):
                self._hint()

    def _matters(self, event: FileSystemEvent) -> bool:
        if self._names is None:
            return True
        paths = (os.fsdecode(path) for path in (event.src_path, event.dest_path) if path)
        return any(os.path.basename(path) in self._names for path in paths)


class Observation:
    """Folders under watch, from its making until `stop`."""

    def __init__(self, folders: Sequence[Folder], hint: Callable[[], None]) -> None:
        """Watch. Raises OSError when a limit is met, or a folder is gone."""
        before = _readers()
        self._observer = InotifyObserver()
        for folder in folders:
            handler = _Announcer(folder.names, hint)
            self._observer.schedule(
                handler, folder.path, recursive=folder.is_deep, event_filter=_EVENTS
            )
        try:
            self._observer.start()
        except OSError:
            self._observer.stop()  # it has a thread and descriptors already, by its version
            raise
        self._threads = [self._observer, *self._observer.emitters, *(_readers() - before)]

    def is_alive(self) -> bool:
        """Whether all of watchdog's threads are there; the observer alone says so too readily."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Watch no more."""
        self._observer.stop()
        self._observer.join()


def _readers() -> FrozenSet[threading.Thread]:
    return frozenset(thread for thread in threading.enumerate() if isinstance(thread, BaseThread))


_TRIES = 3  # a folder may be exchanged while it is being armed


class FileWatcher:
    """Implements `Watcher`. Used by one thread; hints come from others."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._places: Tuple[str, ...] = ()
        self._survey: Optional[Survey] = None
        self._observation: Optional[Observation] = None

    def watch(self, places: Tuple[str, ...], hint: Callable[[], None]) -> str:
        """Watch these places in place of former ones; return how."""
        self.stop()
        self._places, why = places, ""
        for _ in range(_TRIES):
            self._survey = survey(places)
            hindrance = find_hindrance(self._survey.folders)
            if hindrance:
                return f"polling: {hindrance}"
            why = self._arm(self._survey, hint)
            if not why:
                return INOTIFY
        return f"polling: {why}"

    def is_armed(self) -> bool:
        """Whether what is watched is still what stands there; never while polling."""
        observation = self._observation
        if observation is None or not observation.is_alive():
            return False
        return survey(self._places) == self._survey

    def stop(self) -> None:
        """Watch nothing any more."""
        if self._observation is not None:
            self._observation.stop()
            self._observation = None

    def _arm(self, found: Survey, hint: Callable[[], None]) -> str:
        """Return why it is not possible, or nothing."""
        try:
            self._observation = Observation(found.folders, hint)
        except OSError as error:
            return explain(error)
        except RuntimeError as error:
            return f"no thread can be started: {error}"
        return ""


LINKS = "/sys/class/net"


def read_signs() -> HostSigns:
    """Return the network interfaces and the mounts; what cannot be read is left out."""
    links: FrozenSet[str] = frozenset()
    mounts = ""
    with suppress(OSError):
        links = frozenset(os.listdir(LINKS))
    with suppress(OSError), open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        mounts = file.read()
    return HostSigns(links, mounts)
