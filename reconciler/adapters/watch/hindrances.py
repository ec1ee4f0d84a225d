"""Why changes of files cannot be announced here, if they cannot: limits, and file systems.

The limits are tried before watchdog meets them: it does not give back what it got before it failed,
and so each try would leave less.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import Iterator, List, Sequence, Tuple

from reconciler.adapters.watch.places import Folder

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
    mounts = [(_unescape(one[4]), one[one.index("-") + 1]) for one in lines]
    return tuple(sorted(mounts, key=lambda one: len(one[0])))


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
        for one in opened:
            os.close(one)
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
