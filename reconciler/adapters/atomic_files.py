"""Write a file in one piece: nobody ever sees half of it. The one place that does."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import Callable, Optional

TEMPORARY = ".tmp"  # what a file ends in, beside its place, until it is whole; hidden besides


def write_file(path: str, text: str, mode: int) -> None:
    """Write a file of UTF-8 with that mode. Raises OSError."""
    place_file(write_beside(path, text, mode), path)


def write_beside(
    path: str,
    text: str,
    mode: int,
    *,
    durable: bool = False,
    prepare: Optional[Callable[[int], None]] = None,
) -> str:
    """Write a file that is to take its place at `path`, and return where it is. Raises OSError.

    `durable` waits for the disk. `prepare` is given the open file before it is closed.
    """
    folder = os.path.dirname(path) or "."
    handle, name = tempfile.mkstemp(prefix=".", suffix=TEMPORARY, dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, mode)
            if prepare is not None:
                prepare(handle)
            if durable:
                os.fsync(handle)
    except BaseException:
        drop_file(name)
        raise
    return name


def place_file(name: str, path: str, *, durable: bool = False, is_new: bool = False) -> None:
    """Put a file that was written beside at its place. Raises OSError, and drops it then.

    `is_new` raises FileExistsError where there is such a file.
    """
    try:
        if is_new:
            os.link(name, path)
            os.unlink(name)
        else:
            os.replace(name, path)
        if durable:
            _sync_folder(os.path.dirname(path) or ".")
    except BaseException:
        drop_file(name)
        raise


def drop_file(name: str) -> None:
    """Remove a file that was written beside, if it is still there."""
    with suppress(OSError):
        os.unlink(name)


def _sync_folder(folder: str) -> None:
    """Have a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
