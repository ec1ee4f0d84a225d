"""Look into a qcow2 header for what makes a copy of the file alone unsafe. Reads one block."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Optional

MAGIC = b"QFI\xfb"
# Offsets and bits are those of QEMU's docs/interop/qcow2.txt.
_HEADER = struct.Struct(">4sIQI")  # magic, version, backing file's offset and length
_INCOMPATIBLE = struct.Struct(">Q")
_INCOMPATIBLE_AT = 72
_CORRUPT = 1 << 1
_EXTERNAL_DATA = 1 << 2
_WITH_FEATURES = 3  # the version of the header that has them
_ENOUGH = 65536


def find_obstacle(image: str, folder: str) -> Optional[str]:
    """Return why the image's file, copied into the folder, would not be a copy of the image.

    None for a raw image, and for a qcow2 that holds all its data itself or names the image below
    by a path that means the same from there. Raises OSError.
    """
    with Path(image).open("rb") as file:
        block = file.read(_ENOUGH)
    if len(block) < _INCOMPATIBLE_AT + _INCOMPATIBLE.size or not block.startswith(MAGIC):
        return None
    return _find_feature(block) or _find_relative(block, image, folder)


def _find_feature(block: bytes) -> Optional[str]:
    version = _HEADER.unpack_from(block)[1]
    if version < _WITH_FEATURES:
        return None
    features = _INCOMPATIBLE.unpack_from(block, _INCOMPATIBLE_AT)[0]
    if features & _EXTERNAL_DATA:
        return "its data is in another file, which both would write to"
    return "it is marked as corrupt (qemu-img check)" if features & _CORRUPT else None


def _find_relative(block: bytes, image: str, folder: str) -> Optional[str]:
    """Return a reason if the image below is named relative to a folder other than ours."""
    _, _, offset, length = _HEADER.unpack_from(block)
    below = os.fsdecode(block[offset : offset + length]) if offset else ""
    if not below or below.startswith("/") or ":" in below:
        return None
    if Path(image).parent.resolve() == Path(folder).resolve():
        return None
    return f"it lies over {below!r}, a path relative to its own folder"
