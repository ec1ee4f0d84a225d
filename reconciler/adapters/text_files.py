"""Text files, read and written whole: nobody ever sees half of one. Only this writes so."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Callable, Dict, Mapping, Optional, Tuple

from reconciler.core.manifest_files import show_name
from reconciler.errors import TerminalError, UsageError

TEMPORARY = ".tmp"  # what a file ends in, beside its place, until it is whole; hidden besides


def read_text(path: str) -> str:
    """Read a file of UTF-8. Raises UsageError if there is none, TerminalError if it is no text."""
    name = show_name(path)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise TerminalError(f"{name}: is not a text file") from error
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from error


def write_text(path: str, text: str) -> None:
    """Write a file as a whole: nobody sees half of it. Raises TerminalError if that fails."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe, /dev/stdout
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        else:
            place = os.path.realpath(path)
            write_file(place, text, _find_mode(place))
    except OSError as error:
        raise TerminalError(f"{show_name(path)}: cannot be written: {error.strerror}") from error


def write_folder(folder: str, texts: Mapping[str, str], *, replace: bool) -> Tuple[str, ...]:
    """Write files into a folder, which is made if it is not there; return their paths.

    Raises UsageError, before any is written, if one is there and is not to be replaced;
    TerminalError if writing fails: on a full disk none of them appears.
    """
    paths = {os.path.join(folder, name): text for name, text in texts.items()}
    there = [show_name(path) for path in sorted(paths) if os.path.lexists(path)]
    if there and not replace:
        more = f" and {len(there) - 1} more" if there[1:] else ""
        raise UsageError(
            f"nothing was written: {there[0]}{more} exists already; use --force to replace it, "
            "or another --output-dir"
        )
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise TerminalError(f"{show_name(folder)}: cannot be made: {error.strerror}") from error
    written: Dict[str, str] = {}
    path = folder
    try:
        for path, text in paths.items():
            place = os.path.realpath(path)
            written[path] = write_beside(place, text, _find_mode(place))
        for path, name in written.items():
            place_file(name, os.path.realpath(path))
    except OSError as error:
        none = "" if len(written) == len(paths) else "nothing was written: "
        raise TerminalError(
            f"{none}{show_name(path)}: cannot be written: {error.strerror}"
        ) from error
    finally:
        for name in written.values():
            drop_file(name)
    return tuple(sorted(paths))


def _find_mode(path: str) -> int:
    """Return the mode that the file has, or that a new one gets."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


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
    handle, name = _open_new(folder)
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


def _open_new(folder: str) -> Tuple[int, str]:
    """Open a hidden file of a name that nobody has; `tempfile` would load much more."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        name = os.path.join(folder, f".{os.urandom(8).hex()}{TEMPORARY}")
        with suppress(FileExistsError):
            return os.open(name, flags, 0o600), name


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
            sync_path(os.path.dirname(path) or ".")
    except BaseException:
        drop_file(name)
        raise


def drop_file(name: str) -> None:
    """Remove a file that was written beside, if it is still there."""
    with suppress(OSError):
        os.unlink(name)


def sync_path(path: str) -> None:
    """Have a file, or the names in a folder, survive a power cut. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
