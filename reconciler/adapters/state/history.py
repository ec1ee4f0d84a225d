"""What was done to each object, in files `KIND/NAME/NUMBER.json`, and how it was last.

Implements `History`. Bounded for each object, read by people, and safe to delete. Several
processes may write side by side: a number is taken by making its file. What earlier versions wrote
to `NAME/NUMBER.json` is read there, and moved when something is written about the object.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Dict, FrozenSet, List, Optional, Tuple

from reconciler.adapters.state import files
from reconciler.adapters.state.files import to_data, to_last, to_past
from reconciler.core.frozen import replace
from reconciler.core.history import ChangeRecord, LastKnown, find_newest, is_same_try
from reconciler.core.key import FORMER_KIND, Key
from reconciler.errors import TransientError

KEPT = 20  # changes of each object
LAST = f"last{files.SUFFIX}"
TRIES = 100  # numbers that somebody else may take before ours


class FolderHistory:
    """A history below `folder`; made there when first written to."""

    def __init__(self, folder: str) -> None:
        """Touch nothing yet."""
        self.folder = folder

    def begin(self, past: ChangeRecord) -> ChangeRecord:
        """Write an entry down, through to the disk, and return it with its number."""
        folder = self._of(past.key)
        try:
            self._make(folder)
            self._take_over(past.key)
            files.sweep(folder)
            written = self._write_new(folder, past)
            self._forget_old(folder)
        except OSError as error:
            raise _failed(folder, error) from error
        return written

    def end(self, past: ChangeRecord) -> None:
        """Write the same entry with its end."""
        folder = self._of(past.key)
        path = self._path(folder, past.number)
        try:
            self._make(folder)
            self._take_over(past.key)
            files.write_json(path, to_data(past))
        except OSError as error:
            raise _failed(path, error) from error

    def list_keys(self) -> FrozenSet[Key]:
        """Return the objects of which something is known."""
        return files.list_folders(self.folder)

    def list(self, key: Key) -> Tuple[ChangeRecord, ...]:
        """Return the entries that can be read, newest first."""
        paths: Dict[int, str] = {}
        for folder in (self._former(key), self._of(key)):  # the later one counts
            if folder is not None:
                paths.update({number: self._path(folder, number) for number in _numbers(folder)})
        read = [_read(paths[number], key) for number in sorted(paths, reverse=True)]
        return tuple(past for past in read if past is not None)

    def keep(self, last: LastKnown) -> None:
        """Keep an object's definition; one that says the same stays as it is."""
        folder = self._of(last.key)
        path = os.path.join(folder, LAST)
        former = self._read_last(last.key)
        if former is not None and former.says_same(last):
            return
        try:
            self._make(folder)
            self._take_over(last.key)
            files.write_json(path, to_data(last), durable=True)
        except OSError as error:
            raise _failed(path, error) from error

    def find_last(self, key: Key) -> Optional[LastKnown]:
        """Return an object's newest definition, the one kept or one before a change."""
        return find_newest(self._read_last(key), self.list(key))

    def _read_last(self, key: Key) -> Optional[LastKnown]:
        former = self._former(key)
        folders = [self._of(key), *([] if former is None else [former])]
        paths = (os.path.join(folder, LAST) for folder in folders)
        path = next((path for path in paths if os.path.exists(path)), None)
        try:
            data = None if path is None else files.read_json(path)
            found = None if data is None else to_last(data)
        except (TransientError, ValueError):
            return None
        return found if found is not None and found.key == key else None

    def _write_new(self, folder: str, past: ChangeRecord) -> ChangeRecord:
        numbers = _numbers(folder)
        newest = _read(self._path(folder, numbers[-1]), past.key) if numbers else None
        if newest is not None and is_same_try(newest, past):
            again = replace(past, number=newest.number)
            files.write_json(self._path(folder, again.number), to_data(again), durable=True)
            return again
        first = numbers[-1] + 1 if numbers else 1
        for number in range(first, first + TRIES):
            new = replace(past, number=number)
            with suppress(FileExistsError):
                path = self._path(folder, number)
                files.write_json(path, to_data(new), durable=True, is_new=True)
                return new
        raise TransientError(f"{folder}: other programs take every number")

    def _forget_old(self, folder: str) -> None:
        for number in _numbers(folder)[:-KEPT]:
            with suppress(FileNotFoundError):
                os.unlink(self._path(folder, number))

    def _make(self, folder: str) -> None:
        above = os.path.dirname(folder)
        for path in (os.path.dirname(self.folder), self.folder, above, folder):
            files.make_folder(path)

    def _of(self, key: Key) -> str:
        return os.path.join(self.folder, key.kind, _folder_name(key.name))

    def _former(self, key: Key) -> Optional[str]:
        """Return where earlier versions wrote; None of a kind that they wrote nothing about."""
        if key.kind != FORMER_KIND:
            return None
        return os.path.join(self.folder, _folder_name(key.name))

    def _take_over(self, key: Key) -> None:
        """Move what earlier versions wrote about the object. Raises OSError."""
        former, folder = self._former(key), self._of(key)
        if former is None or not os.path.isdir(former):
            return
        for path in files.list_names(former).values():
            new = os.path.join(folder, os.path.basename(path))
            with suppress(FileNotFoundError):  # another run has moved it
                if os.path.exists(new):
                    os.unlink(path)
                else:
                    os.rename(path, new)
        with suppress(OSError):
            os.rmdir(former)  # unless it is the folder of a kind as well

    def _path(self, folder: str, number: int) -> str:
        return os.path.join(folder, f"{number}{files.SUFFIX}")


def _folder_name(name: str) -> str:
    return files.file_name(name)[: -len(files.SUFFIX)]


def _numbers(folder: str) -> List[int]:
    """Return the numbers of the entries in a folder, the oldest first."""
    names = files.list_names(folder)
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _read(path: str, key: Key) -> Optional[ChangeRecord]:
    """Return an entry; one that is not valid, or is gone meanwhile, counts as not there."""
    try:
        data = files.read_json(path)
        found = None if data is None else to_past(data)
    except (TransientError, ValueError):
        return None
    return found if found is not None and found.key == key else None


def _failed(path: str, error: OSError) -> TransientError:
    return TransientError(f"{path}: cannot be written: {error.strerror}")
