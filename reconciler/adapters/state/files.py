"""Small JSON files, each written in one piece. Knows nothing of what is in them."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from typing import Any, Dict, Mapping, Optional
from urllib.parse import quote, unquote

from reconciler.errors import TransientError

FORMAT = 1
FILE_MODE, FOLDER_MODE = 0o640, 0o750
SUFFIX = ".json"


def file_name(name: str) -> str:
    """Return a file's name for an object's, whatever characters that has."""
    return f"{quote(name, safe=' ').replace('.', '%2E')}{SUFFIX}"


def object_name(file: str) -> Optional[str]:
    """Return the object's name, None if the file is none of ours."""
    if not file.endswith(SUFFIX) or file.startswith("."):
        return None
    return unquote(file[: -len(SUFFIX)])


def write_json(path: str, data: Mapping[str, Any], *, durable: bool = False) -> None:
    """Write and rename: nobody sees half a file. Raises OSError.

    `durable` is for what a person has ordered, and waits for the disk; the rest may be lost with
    the power, and is made again.
    """
    folder = os.path.dirname(path)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"formatVersion": FORMAT, **data}, file, indent=2)
            file.write("\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(name, FILE_MODE)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """Return what a file holds, None if there is no such file.

    Raises TransientError if it cannot be read or is not ours.
    """
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TransientError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TransientError(f"{path}: is not JSON, and is not used: {error}") from error
    if not isinstance(data, dict) or data.get("formatVersion") != FORMAT:
        raise TransientError(f"{path}: is of another format, and is not used")
    return data


def list_names(folder: str) -> Mapping[str, str]:
    """Return object name → path of the files in a folder; none if there is no such folder."""
    try:
        found = sorted(os.listdir(folder))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TransientError(f"{folder}: cannot be read: {error.strerror}") from error
    named = ((object_name(one), os.path.join(folder, one)) for one in found)
    return {name: path for name, path in named if name is not None}
