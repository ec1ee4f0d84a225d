"""Read images: which device and inode, what lies below. Opens them for reading only.

On this host the files themselves are asked, where this process may; else, and over a remote URI,
what libvirt's storage pools know of them. What neither tells is not read, and says so.
"""

from __future__ import annotations

import os
import stat
from typing import Callable, Dict, Mapping, Optional

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.objects import Connection
from reconciler.adapters.libvirt.qcow2 import Header, read_header
from reconciler.adapters.libvirt.volumes import read_volume_xml
from reconciler.core.images import RAW, ImageView, is_path, resolve_backing
from reconciler.core.world import VolumeView
from reconciler.errors import ReconcilerError

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
            path,
            identity,
            header.format or kind,
            _resolve(header.backing, path),
            header.backing_format,
            _resolve(header.data, path),
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
