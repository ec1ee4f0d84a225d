"""A lock for each object in a folder that all runs on this machine share. Implements `Locks`.

A file is locked with flock(2), so the lock ends with its process, however that ends. A file that a
killed run left behind is locked by nobody, and is removed by the next who looks.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import suppress
from typing import Callable, Dict, Mapping, Optional, Tuple
from urllib.parse import quote

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.frozen import replace
from reconciler.core.key import Key
from reconciler.core.names import Worker, describe_busy
from reconciler.errors import BusyError, TransientError

SHARED = "/run/virt-reconciler/locks"  # root's, and the daemon's
SUFFIX = ".lock"
MODE = 0o640
_SHOWN = 100  # characters of a name in a file's name
# Who asks whether a lock is held has it for a moment.
_TRIES, _PAUSE = 20, 0.01
UNREADABLE = -1


def find_folder(environ: Mapping[str, str]) -> str:
    """Return the folder of this user's locks: the shared one, for who may write there."""
    if os.geteuid() == 0 or os.access(SHARED, os.W_OK | os.X_OK):
        return SHARED
    above = os.path.dirname(SHARED)
    if not os.path.exists(SHARED) and os.access(above, os.W_OK | os.X_OK):
        return SHARED
    home = environ.get("XDG_RUNTIME_DIR") or os.path.expanduser("~/.local/state")
    return os.path.join(home, "virt-reconciler", "locks")


class FolderLocks:
    """Locks below `folder`, which is made when the first one is taken."""

    def __init__(self, folder: str, verb: str) -> None:
        """Touch nothing yet; `verb` is what others are told that this run does."""
        self._folder = folder
        pid = os.getpid()
        self._me = Worker(
            machine=_find_machine(),
            host=os.uname().nodename,
            process=pid,
            started=_find_start(pid) or 0,
            verb=verb,
        )

    @property
    def me(self) -> Worker:
        """This run."""
        return replace(self._me, since=SYSTEM_CLOCK.wall())

    def take(self, place: str, key: Key) -> Callable[[], None]:
        """Take the lock of an object and return how to give it back."""
        path = os.path.join(self._folder, _file_name(place, key))
        try:
            _make(self._folder)
            handle = self._take(path, key)
        except OSError as error:
            raise TransientError(
                f"{key[1]}: no lock can be taken in {self._folder}: {error.strerror}"
            ) from error

        def release() -> None:
            # First the name, then the lock: whoever waits on this file finds it gone, and looks.
            with suppress(OSError):
                os.unlink(path)
            os.close(handle)

        return release

    def list_held(self, place: str) -> Mapping[Key, Optional[Worker]]:
        """Return what others work on now."""
        try:
            names = [name for name in os.listdir(self._folder) if name.startswith(_prefix(place))]
        except OSError:
            return {}
        held: Dict[Key, Optional[Worker]] = {}
        for name in names:
            found = _look(os.path.join(self._folder, name))
            if found is not None and (found[1] or self.me).identity != self.me.identity:
                held[found[0]] = found[1]
        return held

    def is_alive(self, worker: Worker) -> Optional[bool]:
        """Whether that run goes on."""
        if worker.machine != self.me.machine:
            return None
        found = _find_start(worker.process)
        return found is not None and found in (worker.started, UNREADABLE)

    def _take(self, path: str, key: Key) -> int:
        """Lock the file that has this name, and say in it who we are."""
        for _ in range(_TRIES):
            handle = _open(path)
            if handle is not None and self._lock(handle, path, key):
                return handle
            SYSTEM_CLOCK.sleep(_PAUSE)
        found = _look(path)
        raise BusyError(describe_busy(key[1], found and found[1]))

    def _lock(self, handle: int, path: str, key: Key) -> bool:
        """Whether the file is ours now; it is closed if not."""
        import fcntl  # noqa: PLC0415 - start-up time

        mine = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = _is_at(handle, path)
            if mine:
                self._sign(handle, key)
        except BlockingIOError:
            mine = False
        finally:
            if not mine:
                os.close(handle)
        return mine

    def _sign(self, handle: int, key: Key) -> None:
        from reconciler.adapters.state import files  # noqa: PLC0415 - start-up time

        files.give(handle, self._folder)
        me = self.me
        text = json.dumps(
            {
                "kind": key[0], "name": key[1], "machine": me.machine, "host": me.host,
                "process": me.process, "started": me.started, "verb": me.verb,
                "since": round(SYSTEM_CLOCK.wall()),
            }
        )  # fmt: skip
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{text}\n".encode(), 0)


def _make(folder: str) -> None:
    from reconciler.adapters.state import files  # noqa: PLC0415 - start-up time

    for path in (os.path.dirname(folder), folder):
        files.make_folder(path)


def _open(path: str) -> Optional[int]:
    """Open a lock's file; None while it is another user's."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
    except PermissionError:
        if os.path.exists(path):
            return None
        raise


def _is_at(handle: int, path: str) -> bool:
    """Whether the name still leads to the file that was opened."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _look(path: str) -> Optional[Tuple[Key, Optional[Worker]]]:
    """Return whose lock is held, and by whom; None if it is held by nobody."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EACCES:
            return Key("", ""), None  # another user's, of whom nothing can be seen
        return None
    import fcntl  # noqa: PLC0415 - start-up time

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(handle)
    else:
        if _is_at(handle, path):
            with suppress(OSError):
                os.unlink(path)  # of a run that was killed
        return None
    finally:
        os.close(handle)


def _read(handle: int) -> Tuple[Key, Optional[Worker]]:
    try:
        found = json.loads(os.pread(handle, 4096, 0))
        worker = Worker(
            machine=str(found["machine"]), host=str(found["host"]), process=int(found["process"]),
            started=int(found["started"]), verb=str(found["verb"]), since=float(found["since"]),
        )  # fmt: skip
        return Key(str(found["kind"]), str(found["name"])), worker
    except (ValueError, TypeError, KeyError):
        return Key("", ""), None  # it has taken it this moment


def _file_name(place: str, key: Key) -> str:
    kind, name = key
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    plain = quote(name.encode(errors="surrogateescape"), safe="")[:_SHOWN]
    return f"{_prefix(place)}{kind}-{plain}-{digest}{SUFFIX}"


def _prefix(place: str) -> str:
    return f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:12]}-"


def _find_machine() -> str:
    """Return what stands for this boot and for the namespace that our processes are counted in."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return os.uname().nodename


def _find_start(process: int) -> Optional[int]:
    """Return when a process began, in clock ticks since the boot; None if it has ended.

    UNREADABLE where that is hidden from this user, so that it counts as going on.
    """
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            text = file.read()
        fields = text[text.rindex(b")") + 2 :].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])  # proc(5): field 22
    except FileNotFoundError:
        return UNREADABLE if _is_hidden(process) else None
    except (OSError, ValueError, IndexError):
        return UNREADABLE


def _is_hidden(process: int) -> bool:
    """Whether there is such a process, though /proc does not show it (hidepid)."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
