"""The daemon's memory in a folder, for one daemon at a time. Implements `Store`."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from typing import Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Tuple, TypeVar

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.state import files
from reconciler.adapters.state.files import to_data, to_record, to_source, to_suspension
from reconciler.core.key import FORMER_KIND, SEPARATOR, Key
from reconciler.core.records import Record, SourceRecord, Suspension
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
    handles = [handle for handle in (_open_folder(path), _open_file(path)) if handle is not None]
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
    text = json.dumps({"process": os.getpid(), "since": round(SYSTEM_CLOCK.wall())})
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{text}\n".encode(), 0)


def find_holder(path: str) -> Optional[int]:
    """Return the process that holds the lock; None if none does, or there is no such file.

    Raises TransientError if that cannot be found out.
    """
    for place, flags in ((path, 0), (os.path.dirname(path), os.O_DIRECTORY)):
        try:
            handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC | flags)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise TransientError(f"{place}: cannot be opened: {error.strerror}") from error
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
            SYSTEM_CLOCK.sleep(PAUSE)
        else:
            return
    raise RefusedError(
        f"another virt-reconciler ({_describe(*_read_file(path))}) already uses this state folder: "
        f"{path}"
    )


def _describe(process: int, since: Optional[float]) -> str:
    if since is None:
        return "an unknown process"
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


T = TypeVar("T")


class FolderStore:
    """A store below `folder`; made there when first written to."""

    def __init__(self, folder: str) -> None:
        """Touch nothing yet."""
        self.folder = folder
        self._objects = os.path.join(folder, "objects")
        self._suspended = os.path.join(folder, "suspended")
        self._retries = os.path.join(folder, "retry")
        self._source = os.path.join(folder, "source.json")
        self._prune = os.path.join(folder, "prune.json")
        self._placements = os.path.join(folder, "placements.json")
        self._lock = os.path.join(folder, "lock")

    def lock(self) -> AbstractContextManager[None]:
        """Be the only daemon on this state. Raises RefusedError if there is another.

        A state that cannot be written is no reason not to run.
        """
        with suppress(TransientError):
            self._make(self.folder)
            for folder in (self.folder, self._objects, self._suspended, self._retries):
                files.sweep(folder)
        return self._hold()

    @contextmanager
    def _hold(self) -> Iterator[None]:
        with hold(self._lock):
            for folder in (self._objects, self._suspended, self._retries):
                with suppress(TransientError, OSError):  # then it is read where it is
                    files.move_former(folder)
            yield

    def touch(self) -> None:
        """Find out whether anything can be written. Raises TransientError if not."""
        self._make(self.folder)
        path = os.path.join(self.folder, ".probe")
        _guard(path, lambda: files.write_json(path, {}))
        self._remove(path)

    def find_hindrance(self) -> str:
        """Return why nothing can be written here by anybody, as far as the file system says."""
        try:
            found = os.statvfs(self.folder)
        except OSError:
            return ""
        if found.f_flag & os.ST_RDONLY:
            return f"{self.folder}: read-only file system"
        is_full = found.f_bavail == 0 or (found.f_files > 0 and found.f_favail == 0)
        return f"{self.folder}: no space left on device" if is_full else ""

    def find_daemon(self) -> Optional[int]:
        """Return the process of the daemon that runs on this state, None if there is none.

        0 if it is not known which. Raises TransientError if it cannot be found out.
        """
        return find_holder(self._lock)

    def find_last_sign(self) -> Optional[float]:
        """Return when something was last written here, or the daemon ended in peace."""
        paths = [self._lock, self._source, *files.list_keys(self._objects).values()]
        times = [files.read_time(path) for path in paths]
        return max((time for time in times if time is not None), default=None)

    def load_records(self) -> Mapping[Key, Record]:
        """Return the records by key, without those that cannot be read."""
        return self._load(self._objects, to_record)[0]

    def load_placements(self) -> Mapping[Key, str]:
        """Return object → host of those that manifests placed elsewhere; none if unreadable."""
        try:
            data = files.read_json(self._placements) or {}
        except TransientError:
            return {}
        former, found = data.get("machines", {}), data.get("objects", {})
        if not (isinstance(found, dict) and isinstance(former, dict)):
            return {}
        placed = {f"{FORMER_KIND}{SEPARATOR}{name}": host for name, host in former.items()}
        placed.update(found)
        split = ((text.partition(SEPARATOR), host) for text, host in placed.items())
        return {Key(kind, name): host for (kind, _, name), host in split if isinstance(host, str)}

    def save_placements(self, placements: Mapping[Key, str]) -> None:
        """Write where manifests placed objects that are not here."""
        self._make(self.folder)
        data = {"objects": {str(key): placements[key] for key in sorted(placements)}}
        _guard(self._placements, lambda: files.write_json(self._placements, data, durable=True))

    def load_source(self) -> SourceRecord:
        """Return what was in force; nothing is known if it cannot be read."""
        try:
            return self._read_source() or SourceRecord()
        except TransientError:
            return SourceRecord()

    def read_source(self) -> SourceRecord:
        """Return what is in force. Raises TransientError if that cannot be read."""
        found = self._read_source()
        if found is None:
            raise TransientError(f"{self._source}: does not exist; has the daemon run here yet?")
        return found

    def _read_source(self) -> Optional[SourceRecord]:
        data = files.read_json(self._source)
        return None if data is None else _understand(self._source, data, to_source)

    def find_broken(self) -> Tuple[str, ...]:
        """Return a line for each file that cannot be used, or is none of ours."""
        broken = [
            *self._load(self._objects, to_record)[1],
            *self._load(self._suspended, to_suspension)[1],
        ]
        for read in (self._read_source, self._read_confirmed):
            try:
                read()
            except TransientError as error:
                broken.append(str(error))
        for folder in (self._objects, self._suspended):
            broken += [
                f"{path}: was not written by virt-reconciler" for path in files.list_foreign(folder)
            ]
        return tuple(broken)

    def save_record(self, record: Record) -> None:
        """Write one record."""
        self._write(self._objects, record.key, to_data(record))

    def forget_record(self, key: Key) -> None:
        """Remove one record, if it is there."""
        self._remove_key(self._objects, key)

    def save_source(self, record: SourceRecord) -> None:
        """Write what is in force; a prune that was confirmed for something else is used up."""
        self._make(self.folder)
        _guard(self._source, lambda: files.write_json(self._source, to_data(record)))
        if self.confirmed_prune() not in ("", record.identity):
            self._remove(self._prune)

    def suspended(self) -> Mapping[Key, Suspension]:
        """Return what a person told to leave alone; a file that is not valid still means it."""
        found, _ = self._load(self._suspended, to_suspension)
        keys = files.list_keys(self._suspended)
        return {key: found.get(key, Suspension(key.name, 0.0, kind=key.kind)) for key in keys}

    def suspend(self, suspension: Suspension) -> None:
        """Have an object left alone. Raises TransientError."""
        self._write(self._suspended, suspension.key, to_data(suspension), durable=True)

    def resume(self, key: Key) -> bool:
        """Have an object taken up again; return whether it was suspended."""
        there = key in files.list_keys(self._suspended)
        self._remove_key(self._suspended, key)
        return there

    def order_retry(self, key: Key) -> None:
        """Have an object tried again at once. Raises TransientError."""
        self._write(self._retries, key, {"kind": key.kind, "name": key.name})

    def take_retries(self) -> FrozenSet[Key]:
        """Return what is to be tried again, and forget it. Raises TransientError."""
        found = files.list_keys(self._retries)
        for path in found.values():
            self._remove(path)
        return frozenset(found)

    def confirmed_prune(self) -> str:
        """Return the identity of the manifests whose deletions a person has confirmed, or ''."""
        try:
            return self._read_confirmed()
        except TransientError:
            return ""  # what cannot be read confirms nothing

    def _read_confirmed(self) -> str:
        return str((files.read_json(self._prune) or {}).get("identity", ""))

    def confirm_prune(self, identity: str) -> None:
        """Confirm the deletions of exactly these manifests. Raises TransientError."""
        self._make(self.folder)
        data = {"identity": identity}
        _guard(self._prune, lambda: files.write_json(self._prune, data, durable=True))

    def _load(
        self, folder: str, build: Callable[[Mapping[str, object]], T]
    ) -> Tuple[Dict[Key, T], List[str]]:
        """Return what can be used, by key, and a line for each file that cannot."""
        found: Dict[Key, T] = {}
        broken: List[str] = []
        for key, path in files.list_keys(folder).items():
            try:
                data = files.read_json(path)
                if data is not None:
                    found[key] = _understand(path, data, build, key)
            except TransientError as error:
                broken.append(str(error))
        return found, broken

    def _write(
        self, folder: str, key: Key, data: Mapping[str, object], *, durable: bool = False
    ) -> None:
        path = files.key_path(folder, key)
        self._make(folder)
        self._make(os.path.dirname(path))
        _guard(path, lambda: files.write_json(path, data, durable=durable))
        former = files.former_path(folder, key)
        if former is not None:
            self._remove(former)

    def _remove_key(self, folder: str, key: Key) -> None:
        for path in (files.key_path(folder, key), files.former_path(folder, key)):
            if path is not None:
                self._remove(path)

    def _remove(self, path: str) -> None:
        def remove() -> None:
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                return

        _guard(path, remove)

    def _make(self, folder: str) -> None:
        _guard(folder, lambda: files.make_folder(folder))


def _understand(
    path: str,
    data: Mapping[str, object],
    build: Callable[[Mapping[str, object]], T],
    key: Optional[Key] = None,
) -> T:
    """Return the value in a file. Raises TransientError if it is not valid there."""
    if key is not None and (data.get("kind", FORMER_KIND), data.get("name")) != key:
        raise TransientError(f"{path}: is about another object and is ignored")
    try:
        return build(data)
    except ValueError as error:
        raise TransientError(f"{path}: is ignored: {error}") from error


def _guard(path: str, do: Callable[[], None]) -> None:
    try:
        do()
    except OSError as error:
        why = f"{error.strerror}{_advise(error)}"
        raise TransientError(f"{path}: cannot be written: {why}") from error


def _advise(error: OSError) -> str:
    """Return what helps, if anything can be said."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "; may this user write there?"
    return "; see: df -h" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
