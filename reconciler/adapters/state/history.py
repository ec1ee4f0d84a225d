"""What was done to each machine, in files `NAME/NUMBER.json`, and how it was last.

Implements `History`. Bounded for each machine, read by people, and safe to delete. Several
processes may write side by side: a number is taken by making its file.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import List, Optional, Tuple

from reconciler.adapters.state import files
from reconciler.adapters.state.values import to_data, to_last, to_past
from reconciler.core.history import ChangeRecord, LastKnown, find_newest, is_same_try
from reconciler.errors import TransientError

KEPT = 20  # changes of each machine
LAST = f"last{files.SUFFIX}"
TRIES = 100  # numbers that somebody else may take before ours


class FolderHistory:
    """A history below `folder`; made there when first written to."""

    def __init__(self, folder: str) -> None:
        """Touch nothing yet."""
        self.folder = folder

    def begin(self, past: ChangeRecord) -> ChangeRecord:
        """Write an entry down, through to the disk, and return it with its number."""
        folder = self._of(past.name)
        try:
            self._make(folder)
            files.sweep(folder)
            written = self._write_new(folder, past)
            self._forget_old(folder)
        except OSError as error:
            raise _failed(folder, error) from error
        return written

    def end(self, past: ChangeRecord) -> None:
        """Write the same entry with its end."""
        path = self._path(self._of(past.name), past.number)
        try:
            files.write_json(path, to_data(past))
        except OSError as error:
            raise _failed(path, error) from error

    def list(self, name: str) -> Tuple[ChangeRecord, ...]:
        """Return the entries that can be read, newest first."""
        folder = self._of(name)
        read = [_read(self._path(folder, one), name) for one in reversed(_numbers(folder))]
        return tuple(one for one in read if one is not None)

    def keep(self, last: LastKnown) -> None:
        """Keep a machine's definition; one that says the same stays as it is."""
        folder = self._of(last.name)
        path = os.path.join(folder, LAST)
        former = self._read_last(last.name)
        if former is not None and former.says_same(last):
            return
        try:
            self._make(folder)
            files.write_json(path, to_data(last), durable=True)
        except OSError as error:
            raise _failed(path, error) from error

    def find_last(self, name: str) -> Optional[LastKnown]:
        """Return a machine's newest definition, the one kept or one before a change."""
        return find_newest(self._read_last(name), self.list(name))

    def _read_last(self, name: str) -> Optional[LastKnown]:
        try:
            data = files.read_json(os.path.join(self._of(name), LAST))
            found = None if data is None else to_last(data)
        except (TransientError, ValueError):
            return None
        return found if found is not None and found.name == name else None

    def _write_new(self, folder: str, past: ChangeRecord) -> ChangeRecord:
        numbers = _numbers(folder)
        newest = _read(self._path(folder, numbers[-1]), past.name) if numbers else None
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
        for one in (os.path.dirname(self.folder), self.folder, folder):
            files.make_folder(one)

    def _of(self, name: str) -> str:
        return os.path.join(self.folder, files.file_name(name)[: -len(files.SUFFIX)])

    def _path(self, folder: str, number: int) -> str:
        return os.path.join(folder, f"{number}{files.SUFFIX}")


def _numbers(folder: str) -> List[int]:
    """Return the numbers of the entries in a folder, the oldest first."""
    names = files.list_names(folder)
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _read(path: str, name: str) -> Optional[ChangeRecord]:
    """Return an entry; one that is not valid, or is gone meanwhile, counts as not there."""
    try:
        data = files.read_json(path)
        found = None if data is None else to_past(data)
    except (TransientError, ValueError):
        return None
    return found if found is not None and found.name == name else None


def _failed(path: str, error: OSError) -> TransientError:
    return TransientError(f"{path}: cannot be written: {error.strerror}")
