"""The file that is measured: made for it, in a folder that is given, and nothing else is written.

The file has no name (O_TMPFILE), so that the kernel frees it as soon as no process has it open,
however this one ends. Where a file system cannot do that, the file is made with O_EXCL under a
name that is recognised, locked, marked, and loses its name at once; what a kill leaves between two
of these steps is found and removed by the next run.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EEXIST, EINVAL, EISDIR, ENOSPC, ENOTSUP, EPERM, EROFS
from typing import Iterator, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.units import format_roughly
from reconciler.errors import BusyError, FullError, RefusedError, TransientError

PREFIX = ".virt-reconciler-bench-"
MARK = b"virt-reconciler bench: this file can be deleted\n"
CHUNK = 2**20
KEPT_FREE = 0.05  # share of the file system that stays free
_NO_UNNAMED = frozenset({ENOTSUP, EISDIR, EINVAL})
_TRIES = 10


@frozen
class ScratchFile:
    """An open file of its own. Programs that inherit it open it again by `path`."""

    folder: str
    descriptor: int
    size: int

    @property
    def path(self) -> str:
        """Its path for a program that has inherited the descriptor."""
        return f"/proc/self/fd/{self.descriptor}"

    def has_direct(self) -> bool:
        """Whether the file system can read and write past the page cache."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC))
        except OSError as error:
            if error.errno != EINVAL:
                raise
            return False
        return True


@contextmanager
def make_scratch_file(
    folder: str, size: int, *, may_be_root: bool = False
) -> Iterator[ScratchFile]:
    """Make a file of that size in the folder, full of random bytes; it is freed at the end.

    The folder is not the root of a mounted file system, unless it `may_be_root`. Raises
    RefusedError for what is no place for it, FullError where it does not fit.
    """
    place = open_folder(folder)
    try:
        if not may_be_root:
            refuse_root(place, folder)
        lock_folder(place, folder)
        remove_leftovers(place)
        check_space(place, folder, size)
        descriptor = _make_file(place, folder)
        try:
            _fill(descriptor, folder, size)
            yield ScratchFile(folder, descriptor, size)
        finally:
            os.close(descriptor)
    finally:
        os.close(place)


def open_folder(folder: str) -> int:
    """Open a folder that is reached through no link. Raises RefusedError for anything else."""
    path = os.path.normpath(folder)
    if not os.path.isabs(path):
        raise RefusedError(
            f"{folder}: is not an absolute path; give --path {os.path.abspath(path)}"
        )
    try:
        place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _explain_folder(path, error) from error
    real = os.readlink(f"/proc/self/fd/{place}")
    if real != path:
        os.close(place)
        raise _refuse_link(path, real)
    return place


def _refuse_link(path: str, real: str) -> RefusedError:
    return RefusedError(
        f"{path}: leads through a link to {real}, and nothing is written through a link; "
        f"if that is where to measure: virt-reconciler bench disk --path {real}"
    )


def _explain_folder(path: str, error: OSError) -> Exception:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return RefusedError(f"{path}: there is no such folder; make it: mkdir -p {path}")
    except OSError:
        return TransientError(f"{path}: cannot be opened: {error.strerror}")
    if stat.S_ISLNK(found.st_mode):
        return _refuse_link(path, os.path.realpath(path))
    if stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode):
        return RefusedError(
            f"{path}: is a device, and a device is never written; to read it: "
            f"virt-reconciler bench disk --device {path}"
        )
    if not stat.S_ISDIR(found.st_mode):
        folder = os.path.dirname(path)
        return RefusedError(
            f"{path}: exists and is never written; a file of its own is measured in a folder: "
            f"virt-reconciler bench disk --path {folder}"
        )
    return TransientError(f"{path}: cannot be opened: {error.strerror}")


def refuse_root(place: int, folder: str) -> None:
    """Raise RefusedError if an open folder is the root of a mounted file system."""
    here, above = os.fstat(place), os.stat("..", dir_fd=place)
    if here.st_dev != above.st_dev or here.st_ino == above.st_ino:
        below = os.path.join(folder, "bench")
        raise RefusedError(
            f"{folder}: is the root of a mounted file system; measure in a folder of its own: "
            f"mkdir {below}, then virt-reconciler bench disk --path {below}"
        )


def lock_folder(place: int, folder: str) -> None:
    """Keep other measurements out of the folder until it is closed. Raises BusyError."""
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"{folder}: another measurement runs there, and each would measure the other; "
            "try again when it has ended"
        ) from error
    except OSError:  # a file system without locks
        return


def remove_leftovers(place: int) -> Tuple[str, ...]:
    """Remove what a killed run has left in the folder, which is locked; return the names.

    Only a file that has our name, belongs to this user, has no other name, is not in use, and is
    empty or begins with the mark.
    """
    names = [name for name in os.listdir(place) if name.startswith(PREFIX)]
    return tuple(name for name in names if _remove_leftover(place, name))


def _remove_leftover(place: int, name: str) -> bool:
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=place)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
        if not ours or os.pread(descriptor, len(MARK), 0) not in (b"", MARK):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=place)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def check_space(place: int, folder: str, size: int) -> None:
    """Raise FullError if a file of that size would leave too little free."""
    found = os.fstatvfs(place)
    if found.f_flag & os.ST_RDONLY:
        raise _refuse_readonly(folder)
    free = found.f_bavail * found.f_frsize
    kept = round(found.f_blocks * found.f_frsize * KEPT_FREE)
    if found.f_blocks and size + kept > free:  # ramfs has no size
        fits = max(free - kept, 0) // CHUNK
        advice = (
            f"give --size {fits}MiB or less" if fits else "free some space, or measure elsewhere"
        )
        raise FullError(
            f"{folder}: a file of {format_roughly(size)} does not fit: {format_roughly(free)} are "
            f"free, of which {format_roughly(kept)} stay free; {advice}"
        )


def _refuse_readonly(folder: str) -> RefusedError:
    return RefusedError(
        f"{folder}: its file system is mounted read-only; see findmnt -T {folder}, "
        "or measure in another folder"
    )


def _make_file(place: int, folder: str) -> int:
    try:
        flags = os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        return os.open(f"/proc/self/fd/{place}", flags, 0o600)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise _explain_write(folder, error) from error
    try:
        return _make_named(place)
    except OSError as error:
        raise _explain_write(folder, error) from error


def _make_named(place: int) -> int:
    """Make a file with a name, which it loses at once. Raises OSError."""
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR | os.O_CLOEXEC
    for _ in range(_TRIES):
        name = f"{PREFIX}{secrets.token_hex(8)}"
        with suppress(FileExistsError):
            descriptor = os.open(name, flags, 0o600, dir_fd=place)
            break
    else:
        raise FileExistsError(EEXIST, "every name is taken")
    try:
        with suppress(
            OSError
        ):  # a file system without locks: the folder's lock is not there either
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(descriptor, MARK, 0)
        os.unlink(name, dir_fd=place)
    except BaseException:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(name, dir_fd=place)
        raise
    return descriptor


def _fill(descriptor: int, folder: str, size: int) -> None:
    """Write the whole file, so that nothing is allocated or made up while it is measured."""
    try:
        os.posix_fallocate(descriptor, 0, size)
        done = 0
        while done < size:
            done += os.pwrite(descriptor, os.urandom(min(CHUNK, size - done)), done)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        raise _explain_write(folder, error) from error


def _explain_write(folder: str, error: OSError) -> Exception:
    if error.errno in (ENOSPC, EDQUOT):
        return FullError(
            f"{folder}: its file system became full while the file was made, and the file was "
            "removed; give a smaller --size"
        )
    if error.errno == EROFS:
        return _refuse_readonly(folder)
    if error.errno in (EACCES, EPERM):
        return RefusedError(
            f"{folder}: this user may not write there; run as root, or another --path"
        )
    return TransientError(f"{folder}: no file can be made there: {error.strerror}")
