"""Read images: which device and inode, what is below. Opens them for reading only."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, Iterator, Mapping, Optional, Tuple

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.pools import read_volume_xml
from reconciler.core.frozen import frozen
from reconciler.core.images import RAW, ImageView, is_path, resolve_backing
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Connection
    from reconciler.core.world import VolumeView

MAGIC = b"QFI\xfb"
# Formats that may have an image below them, and whose headers we do not read.
_OTHERS = (b"QED\0", b"KDMV", b"COWD", b"# Disk DescriptorFile", b"vhdxfile", b"conectix")
# Offsets and bits are those of QEMU's docs/interop/qcow2.txt.
_HEADER = struct.Struct(">4sIQI")  # magic, version, backing file's offset and length
_SNAPSHOTS = struct.Struct(">I")
_SNAPSHOTS_AT = 60
_INCOMPATIBLE = struct.Struct(">Q")
_INCOMPATIBLE_AT = 72
_HEADER_LENGTH = struct.Struct(">I")
_HEADER_LENGTH_AT = 100
_SHORT_HEADER = 72  # of version 2
_EXTENSION = struct.Struct(">II")  # type, length; the data is padded to a multiple of 8
_BACKING_FORMAT, _DATA_FILE = 0xE2792ACA, 0x44415441
_CORRUPT = 1 << 1
_EXTERNAL_DATA = 1 << 2
_WITH_FEATURES = 3  # the version of the header that has them
_LONGEST_NAME = 1023
_ENOUGH = 65536
_FIRST = 4096


@frozen
class Header:
    """What an image's own header says of the image below it. Names are as they are written.

    `format` is `qcow2`, or empty for what is not one. `is_known` is False for other formats that
    may have an image below them.
    """

    format: str = ""
    backing: str = ""
    backing_format: str = ""
    data: str = ""
    is_known: bool = True


def read_header(image: str) -> Header:
    """Return what the image's header says. Raises OSError, also for what is not a file or disk."""
    descriptor = os.open(image, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise OSError(f"{image} is neither a file nor a block device")
        block = file.read(_FIRST) or b""
        if block.startswith(MAGIC) and len(block) == _FIRST and _end(block) > _FIRST:
            block += file.read(_ENOUGH - _FIRST) or b""
    return parse_header(block)


def read_version(image: str) -> Tuple[int, int]:
    """Return a qcow2's version and how many snapshots are inside; zeros for other formats.

    Raises OSError.
    """
    descriptor = os.open(image, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        block = file.read(_SHORT_HEADER) or b""
    if not block.startswith(MAGIC) or len(block) < _SHORT_HEADER:
        return 0, 0
    return _HEADER.unpack_from(block)[1], _SNAPSHOTS.unpack_from(block, _SNAPSHOTS_AT)[0]


def parse_header(block: bytes) -> Header:
    """Return what the beginning of an image says."""
    if not block.startswith(MAGIC) or len(block) < _HEADER.size:
        return Header(is_known=not block.startswith(_OTHERS))
    known = dict(_extensions(block))
    return Header(
        "qcow2",
        _backing_name(block),
        os.fsdecode(known.get(_BACKING_FORMAT, b"")),
        os.fsdecode(known.get(_DATA_FILE, b"")),
    )


def _end(block: bytes) -> int:
    _, _, offset, length = _HEADER.unpack_from(block)
    return int(min(offset + length, _ENOUGH))


def _backing_name(block: bytes) -> str:
    _, _, offset, length = _HEADER.unpack_from(block)
    if not offset or length > _LONGEST_NAME:
        return ""
    return os.fsdecode(block[offset : offset + length])


def _extensions(block: bytes) -> Iterator[Tuple[int, bytes]]:
    """Yield the header's extensions; they end with one of type 0."""
    version = _HEADER.unpack_from(block)[1]
    at = _SHORT_HEADER
    if version >= _WITH_FEATURES and len(block) >= _HEADER_LENGTH_AT + _HEADER_LENGTH.size:
        at = max(_HEADER_LENGTH.unpack_from(block, _HEADER_LENGTH_AT)[0], _SHORT_HEADER)
    while at + _EXTENSION.size <= len(block):
        kind, length = _EXTENSION.unpack_from(block, at)
        if kind == 0:
            return
        start = at + _EXTENSION.size
        yield kind, block[start : start + length]
        at = start + (length + 7) // 8 * 8


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
    below = _backing_name(block)
    if not below or below.startswith("/") or ":" in below:
        return None
    if Path(image).parent.resolve() == Path(folder).resolve():
        return None
    return f"it lies over {below!r}, a path relative to its own folder"


_LOOP = 7  # the major number of loop devices
_MOST = 100_000  # images that are followed in one pass


def read_images(
    storage: Callable[[], Connection], wanted: Mapping[str, str], *, is_local: bool
) -> Mapping[str, ImageView]:
    """Return each image of `wanted` (path → format, empty if not known) and all below it, by path.

    Raises nothing: what cannot be read has `is_read` False.
    """
    views: Dict[str, ImageView] = {}
    waiting = {path: kind for path, kind in wanted.items() if is_path(path)}
    while waiting and len(views) < _MOST:
        path, kind = waiting.popitem()
        view = _read(storage, path, kind, is_local=is_local)
        views[path] = view
        for below, below_kind in ((view.backing, view.backing_format), (view.data, RAW)):
            if below and is_path(below) and below not in views:
                waiting.setdefault(below, below_kind)
    return views


def _read(storage: Callable[[], Connection], path: str, kind: str, *, is_local: bool) -> ImageView:
    found = _find_file(path) if is_local else None
    identity = _identify(path, found) if found is not None else ""
    changed_at = found.st_mtime if found is not None else 0.0
    if kind == RAW:
        return ImageView(path, identity, RAW, changed_at=changed_at)
    header = _try_header(path) if found is not None else None
    if header is not None and header.is_known:
        return ImageView(
            path=path,
            identity=identity,
            format=header.format or kind,
            backing=_resolve(header.backing, path),
            backing_format=header.backing_format,
            data=_resolve(header.data, path),
            changed_at=changed_at,
        )
    volume = _find_volume(storage, path)
    if volume is None:
        return ImageView(path, identity, kind, is_read=False, changed_at=changed_at)
    backing = _resolve(volume.backing or "", path)
    return ImageView(path, identity, volume.format, backing, changed_at=changed_at)


def _resolve(name: str, overlay: str) -> Optional[str]:
    """Return the absolute name; relative to where the overlay really is if only that exists."""
    if not name:
        return None
    found = resolve_backing(name, overlay)
    if found == name or os.path.lexists(found):
        return found
    real = resolve_backing(name, os.path.realpath(overlay))
    return real if os.path.lexists(real) else found


def _find_file(path: str) -> Optional[os.stat_result]:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def _identify(path: str, found: os.stat_result) -> str:
    """Return device and inode of a file, or the number of a block device.

    A loop device over a whole file is that file.
    """
    if not stat.S_ISBLK(found.st_mode):
        return f"{found.st_dev}:{found.st_ino}"
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    if major == _LOOP:
        behind = _find_file(_read_loop(minor))
        if behind is not None:
            return _identify(path, behind)
    return f"block {major}:{minor}"


def _read_loop(minor: int) -> str:
    """Return the file that a loop device shows as a whole, or an empty text."""
    folder = f"/sys/dev/block/{_LOOP}:{minor}/loop"
    try:
        parts = []
        for name in ("offset", "sizelimit", "backing_file"):
            with open(f"{folder}/{name}", encoding="utf-8", errors="surrogateescape") as file:
                parts.append(file.read().rstrip("\n"))
    except OSError:
        return ""
    return parts[2] if parts[:2] == ["0", "0"] else ""


def _try_header(path: str) -> Optional[Header]:
    try:
        return read_header(path)
    except (OSError, ValueError):
        return None


def _find_volume(storage: Callable[[], Connection], path: str) -> Optional[VolumeView]:
    try:
        return read_volume_xml("", storage().storageVolLookupByPath(path).XMLDesc())
    except (binding.Error, ReconcilerError):
        return None
