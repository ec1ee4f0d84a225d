"""One daemon for one state. The lock goes with its process, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from datetime import datetime
from typing import Iterator, Optional, Tuple

from reconciler.errors import RefusedError, TransientError

MODE = 0o640
# Who asks whether a daemon runs holds the lock for a moment: seconds and tries to outwait that.
PAUSE = 0.02
TRIES = 50


@contextmanager
def hold(path: str) -> Iterator[None]:
    """Hold the lock. Raises RefusedError if another process does, saying which."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise TransientError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        _lock(handle, path)
        text = json.dumps({"process": os.getpid(), "since": round(time.time())})
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{text}\n".encode(), 0)
        yield
        os.utime(handle)  # says when it ended
    finally:
        os.close(handle)


def find_holder(path: str) -> Optional[int]:
    """Return the process that holds the lock; None if none does, or there is no such file.

    Raises TransientError if that cannot be found out.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TransientError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(handle)[0]
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
        f"another virt-reconciler ({_describe(*_read(handle))}) runs on this state already: {path}"
    )


def _describe(process: int, since: Optional[float]) -> str:
    if since is None:
        return "a process that does not say which"
    when = datetime.fromtimestamp(since).astimezone().isoformat(" ", "seconds")
    return f"process {process}, since {when}"


def _read(handle: int) -> Tuple[int, Optional[float]]:
    """Return the holder's process and since when; 0 and None while it has yet to write them."""
    try:
        found = json.loads(os.pread(handle, 200, 0))
        return int(found["process"]), float(found["since"])
    except (ValueError, TypeError, KeyError):
        return 0, None
