"""What this host is, and what is below one of its folders."""

from __future__ import annotations

import os
import platform
import re
import stat
from typing import Iterable, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.values import Environment
from reconciler.errors import RefusedError, TransientError

_MOUNTS = "/proc/self/mountinfo"
_OCTAL = re.compile(r"\\([0-7]{3})")
_OPTIONAL_END = "-"  # what ends the optional fields of a line
_MOUNT_POINT = 4  # its column
_KIB = 1024


@frozen
class Mount:
    """A mounted file system: where, of which type, and of what."""

    point: str
    filesystem: str
    source: str


def read_host_facts() -> Environment:
    """Return what is known of this host itself."""
    return Environment(
        host=platform.node(),
        kernel=platform.release(),
        processor=_read_field("/proc/cpuinfo", "model name") or platform.machine(),
        memory=read_memory(),
    )


def read_memory() -> Optional[int]:
    """Return the bytes of memory of this host."""
    words = _read_field("/proc/meminfo", "MemTotal").split()
    return int(words[0]) * _KIB if words else None


def _read_field(path: str, name: str) -> str:
    """Return the value of the first line `name: value`; empty if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == name:
                    return value.strip()
    except OSError:
        return ""
    return ""


def find_mount(path: str) -> Optional[Mount]:
    """Return the file system that a path is in."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            return choose_mount(file.read().splitlines(), os.path.realpath(path))
    except OSError:
        return None


def choose_mount(lines: Iterable[str], path: str) -> Optional[Mount]:
    """Return the file system of a path: the longest mount point above it, the last mounted."""
    found: Optional[Mount] = None
    for line in lines:
        words = line.split(" ")
        point = _unescape(words[_MOUNT_POINT])
        below = f"{point.rstrip('/')}/"
        if (path == point or path.startswith(below)) and (
            found is None or len(point) >= len(found.point)
        ):
            end = words.index(_OPTIONAL_END)
            found = Mount(point, words[end + 1], _unescape(words[end + 2]))
    return found


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def is_on_system_disk(path: str) -> bool:
    """Whether a path is in the file system of `/`."""
    return os.stat(path).st_dev == os.stat("/").st_dev


def find_images_on(path: str, images: Iterable[Tuple[str, str]]) -> Tuple[str, ...]:
    """Return the guests, of (guest, image) pairs, that have an image in the path's file system."""
    device = os.stat(path).st_dev
    return tuple(sorted({guest for guest, image in images if _is_on(image, device)}))


def _is_on(image: str, device: int) -> bool:
    try:
        return os.stat(image).st_dev == device
    except OSError:
        return False


def find_block_device(path: str) -> str:
    """Return the real path of a block device that can be read. Raises RefusedError for else."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise RefusedError(f"{path}: is not a device here: {error.strerror}; see lsblk") from error
    if not stat.S_ISBLK(found.st_mode):
        raise RefusedError(f"{path}: is not a block device; see lsblk for their paths")
    if not os.access(path, os.R_OK):
        raise TransientError(f"{path}: this user may not read it; run as root")
    return os.path.realpath(path)
