"""One daemon for one state. The lock goes with its process, however that ends.

The folder is locked, and a file in it that says who holds it: where no file can be written, on a
full or read-only file system, the folder's lock is left.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Iterator, Optional, Tuple

from reconciler.errors import RefusedError, TransientError

MODE = 0o640
# Who asks whether a daemon runs holds the lock for a moment: seconds and tries to outwait that.
PAUSE = 0.02
TRIES = 50


@contextmanager
def hold(path: str) -> Iterator[None]:
    """Hold the lock. Raises RefusedError if another process does, saying which.

    Where there is not even a folder, nothing is held: nobody else can have a memory there either.
    """
    handles = [one for one in (_open_folder(path), _open_file(path)) if one is not None]
    try:
        for handle in handles:
            _lock(handle, path)
        if handles:
            _sign(handles[-1])
        yield
        for handle in handles:
            with suppress(OSError):
                os.utime(handle)  # says when it ended
    finally:
        for handle in handles:
            os.close(handle)


def _open_folder(path: str) -> Optional[int]:
    try:
        return os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


def _open_file(path: str) -> Optional[int]:
    """Open the file, to be read where it cannot be written; None where it cannot be made."""
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with suppress(OSError):
            return os.open(path, flags | os.O_CLOEXEC, MODE)
    return None


def _sign(handle: int) -> None:
    """Say who holds it, if that can be written."""
    text = json.dumps({"process": os.getpid(), "since": round(time.time())})
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{text}\n".encode(), 0)


def find_holder(path: str) -> Optional[int]:
    """Return the process that holds the lock; None if none does, or there is no such file.

    Raises TransientError if that cannot be found out.
    """
    for one, flags in ((path, 0), (os.path.dirname(path), os.O_DIRECTORY)):
        try:
            handle = os.open(one, os.O_RDONLY | os.O_CLOEXEC | flags)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise TransientError(f"{one}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0 if flags else _read(handle)[0]
        finally:
            os.close(handle)
    return None


def _lock(handle: int, path: str) -> None:
    for _ in range(TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return
    raise RefusedError(
        f"another virt-reconciler ({_describe(*_read_file(path))}) runs on this state already: "
        f"{path}"
    )


def _describe(process: int, since: Optional[float]) -> str:
    if since is None:
        return "a process that does not say which"
    when = datetime.fromtimestamp(since).astimezone().isoformat(" ", "seconds")
    return f"process {process}, since {when}"


def _read_file(path: str) -> Tuple[int, Optional[float]]:
    """Return what the lock's file says, as `_read` does."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, None
    try:
        return _read(handle)
    finally:
        os.close(handle)


def _read(handle: int) -> Tuple[int, Optional[float]]:
    """Return the holder's process and since when; 0 and None while it has yet to write them."""
    try:
        found = json.loads(os.pread(handle, 200, 0))
        return int(found["process"]), float(found["since"])
    except (ValueError, TypeError, KeyError):
        return 0, None
