"""Small JSON files, each written in one piece, and records as plain data and back."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple, Type, TypeVar
from urllib.parse import quote, unquote

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.history import ChangeRecord, LastKnown, as_action
from reconciler.core.key import FORMER_KIND, Key
from reconciler.core.plain_data import from_plain, to_plain
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.errors import TransientError

T = TypeVar("T")


def to_data(value: object) -> Dict[str, Any]:
    """Return a record as data, names in camelCase as in every other file of ours."""
    data: Dict[str, Any] = to_plain(value)
    return data


def to_record(data: Mapping[str, Any]) -> Record:
    """Return one object's record."""
    return _build(Record, data)


def to_source(data: Mapping[str, Any]) -> SourceRecord:
    """Return the record of the manifests."""
    return _build(SourceRecord, data)


def to_suspension(data: Mapping[str, Any]) -> Suspension:
    """Return a suspension."""
    return _build(Suspension, data)


def to_past(data: Mapping[str, Any]) -> ChangeRecord:
    """Return one entry of a machine's history."""
    past = _build(ChangeRecord, data)
    as_action(past)  # its words must be those of a plan
    return past


def to_last(data: Mapping[str, Any]) -> LastKnown:
    """Return a machine's last known definition."""
    return _build(LastKnown, data)


def _build(type_: Type[T], data: Mapping[str, Any]) -> T:
    value: T = from_plain(type_, data)
    return value


FORMAT = 1
FILE_MODE, FOLDER_MODE = 0o640, 0o750
SUFFIX = ".json"
_PLAIN = " _-"
_LEFT_OVER = 3600.0  # seconds after which nobody is still writing a file


def file_name(name: str) -> str:
    """Return a file's name for an object's, whatever characters that has.

    Letters and digits of any script stay, so that a person finds the file; whatever else is not
    plain is written as in a URL.
    """
    text = "".join(
        character if character.isalnum() or character in _PLAIN else _encode(character)
        for character in name
    )
    return os.fsdecode(f"{text}{SUFFIX}".encode())


def object_name(file: str) -> Optional[str]:
    """Return the object's name, None if the file is none of ours."""
    if not file.endswith(SUFFIX) or file.startswith("."):
        return None
    text = os.fsencode(file[: -len(SUFFIX)]).decode(errors="replace")
    name = unquote(text, errors="surrogateescape")
    return name if file_name(name) == file else None


def _encode(character: str) -> str:
    """Return a character as in a URL; `quote` leaves dots alone."""
    return "%2E" if character == "." else quote(character, safe="", errors="surrogateescape")


def write_json(
    path: str, data: Mapping[str, Any], *, durable: bool = False, is_new: bool = False
) -> None:
    """Write and rename: nobody sees half a file. Raises OSError.

    `durable` is for what a person has ordered, and waits for the disk; the rest may be lost with
    the power, and is made again. `is_new` raises FileExistsError where there is such a file.
    """
    from reconciler.adapters.text_files import (  # noqa: PLC0415 - start-up time
        place_file,
        write_beside,
    )

    folder = os.path.dirname(path)
    text = json.dumps({"formatVersion": FORMAT, **data}, indent=2) + "\n"
    name = write_beside(
        path, text, FILE_MODE, durable=durable, prepare=lambda handle: give(handle, folder)
    )
    place_file(name, path, durable=durable, is_new=is_new)


def make_folder(path: str) -> None:
    """Make a folder and those above it, if they are not there. Raises OSError."""
    if not os.path.isdir(path):
        above = os.path.dirname(path)
        os.makedirs(above, FOLDER_MODE, exist_ok=True)
        os.makedirs(path, FOLDER_MODE, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            give(handle, above)
        finally:
            os.close(handle)


def give(handle: int, folder: str) -> None:
    """Give what root has made to the folder's owner: the daemon, which has a user of its own."""
    owner = os.stat(folder)
    made = os.fstat(handle)
    if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid) and os.geteuid() == 0:
        os.fchown(handle, owner.st_uid, owner.st_gid)


_KEY = "secret.key"
_KEY_BYTES = 32


def find_key(folder: str) -> Optional[bytes]:
    """Return the host's key for digests, made when it is first asked for.

    None if this user may not read it, or not make it there. Two that make one at once get the same.
    """
    path = os.path.join(folder, _KEY)
    with suppress(FileNotFoundError):
        return _read_key(path)
    import tempfile  # noqa: PLC0415 - start-up time

    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")  # mode 0600
    except OSError:
        return None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            give(file.fileno(), folder)
        with suppress(FileExistsError):
            os.link(name, path)
        return _read_key(path)
    except OSError:
        return None
    finally:
        os.unlink(name)


def _read_key(path: str) -> Optional[bytes]:
    """Read the key; one that is not whole is none. Raises FileNotFoundError."""
    try:
        with open(path, "rb") as file:
            key = file.read(_KEY_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError:
        return None
    return key if len(key) == _KEY_BYTES else None


def sweep(folder: str) -> None:
    """Remove what writers left behind that were killed long ago."""
    from reconciler.adapters.text_files import TEMPORARY  # noqa: PLC0415 - start-up time

    for path in (
        *_list_files(folder),
        *(path for kind in _list_kinds(folder) for path in _list_files(kind)),
    ):
        if path.endswith(TEMPORARY) and os.path.basename(path).startswith("."):
            with suppress(OSError):
                if SYSTEM_CLOCK.wall() - os.stat(path).st_mtime > _LEFT_OVER:
                    os.unlink(path)


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """Return what a file holds, None if there is no such file.

    Raises TransientError if it cannot be read or is not ours.
    """
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file, parse_constant=_refuse)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TransientError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise TransientError(f"{path}: is not JSON and is ignored: {error}") from error
    if not isinstance(data, dict) or data.get("formatVersion") != FORMAT:
        raise TransientError(f"{path}: has an unknown format and is ignored")
    return data


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def list_names(folder: str) -> Mapping[str, str]:
    """Return object name → path of the files in a folder; none if there is no such folder."""
    named = ((object_name(os.path.basename(path)), path) for path in _list_files(folder))
    return {name: path for name, path in named if name is not None}


def list_keys(folder: str) -> Mapping[Key, str]:
    """Return key → path of the files `KIND/NAME.json` in a folder; none if there is no folder.

    Earlier versions wrote `NAME.json`, all of one kind: such a file counts where there is no other.
    """
    found = {Key(FORMER_KIND, name): path for name, path in list_names(folder).items()}
    for path in _list_kinds(folder):
        kind = os.path.basename(path)
        found.update({Key(kind, name): file for name, file in list_names(path).items()})
    return {key: found[key] for key in sorted(found)}


def list_folders(folder: str) -> FrozenSet[Key]:
    """Return the objects that have files in `KIND/NAME/`, or in `NAME/` as earlier versions did."""
    found = set()
    for path in _list_files(folder):
        if not os.path.isdir(path):
            continue
        inside = _list_files(path)
        if any(os.path.isfile(child) and child.endswith(SUFFIX) for child in inside):
            found.add((FORMER_KIND, os.path.basename(path)))
        names = (os.path.basename(child) for child in inside if os.path.isdir(child))
        found |= {(os.path.basename(path), name) for name in names}
    named = ((kind, object_name(f"{name}{SUFFIX}")) for kind, name in found)
    return frozenset(Key(kind, name) for kind, name in named if name is not None)


def key_path(folder: str, key: Key) -> str:
    """Return the path of an object's file below a folder."""
    return os.path.join(folder, key.kind, file_name(key.name))


def former_path(folder: str, key: Key) -> Optional[str]:
    """Return where earlier versions had an object's file; None if they had none of its kind."""
    return os.path.join(folder, file_name(key.name)) if key.kind == FORMER_KIND else None


def move_former(folder: str) -> None:
    """Move the files of earlier versions to where they belong by now. Raises OSError."""
    for name, path in list_names(folder).items():
        new = key_path(folder, Key(FORMER_KIND, name))
        make_folder(os.path.dirname(new))
        if os.path.exists(new):  # written since, so that this one is out of date
            os.unlink(path)
        else:
            os.rename(path, new)


def list_foreign(folder: str) -> Tuple[str, ...]:
    """Return the paths of what is in a folder and none of ours; hidden files left out."""
    kinds = _list_kinds(folder)
    inside = (path for kind in kinds for path in _list_files(kind))
    return tuple(
        path
        for path in (*_list_files(folder), *inside)
        if path not in kinds
        and object_name(os.path.basename(path)) is None
        and not os.path.basename(path).startswith(".")
    )


def _list_kinds(folder: str) -> Tuple[str, ...]:
    """Return the folders in a folder that are named like a kind."""
    return tuple(
        path
        for path in _list_files(folder)
        if os.path.basename(path).isidentifier() and os.path.isdir(path)
    )


def read_time(path: str) -> Optional[float]:
    """Return when a file was last written; None if it cannot be told."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _list_files(folder: str) -> Tuple[str, ...]:
    try:
        return tuple(os.path.join(folder, name) for name in sorted(os.listdir(folder)))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise TransientError(f"{folder}: cannot be read: {error.strerror}") from error
