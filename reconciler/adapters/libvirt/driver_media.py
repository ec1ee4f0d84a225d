"""Find virtio-win ISOs and folders on a host, and read what is in them. Reads only.

Files of the host are read where the host is this one; a volume of a pool that this process may not
open, or that lies on another host, is read through libvirt. What cannot be read is said, and is
never taken for absent.
"""

from __future__ import annotations

import glob
import io
import os
from functools import lru_cache
from typing import Dict, Iterator, List, Optional, Tuple

from reconciler.adapters.libvirt import binding, own_view
from reconciler.adapters.libvirt.connections import STORAGE, Connections
from reconciler.adapters.libvirt.iso_images import opened_iso
from reconciler.adapters.libvirt.objects import Connection, Volume
from reconciler.core.frozen import frozen
from reconciler.core.images import FILE_POOLS
from reconciler.core.virtio_win import (
    FOLDER,
    DriverMedia,
    DriverMedium,
    is_medium_name,
    read_medium,
)
from reconciler.core.xmltree import parse
from reconciler.errors import MissingError, ReconcilerError, TerminalError

# Where packages put the ISO: RHEL's and Fedora's, Gentoo's.
_PLACES = (f"{FOLDER}/*.iso", "/usr/share/drivers/windows/virtio-win*.iso")
_BLOCK = 256 * 1024
_MOST_BLOCKS = 4096  # 1 GiB: more than an ISO of virtio-win has
_KEPT = 16  # media that are remembered as they were read
_NO_DRIVERS = "has no drivers of virtio-win"


@frozen
class _MediumPlace:
    """One place to look: `path` on the host, `own` for this process; a volume if it has a pool."""

    where: str
    path: str
    own: str = ""
    pool: str = ""
    volume: str = ""


def find_driver_media(connections: Connections, place: str) -> DriverMedia:
    """Return the media at a place of the host (a path or POOL/VOLUME); all usual places if empty.

    Raises nothing but what a broken connection raises.
    """
    root = _find_root(connections)
    media: Dict[str, DriverMedium] = {}
    unseen: List[str] = []
    places = [_parse_place(place, root)] if place else [*_list_usual(root)]
    if not place:
        if root is None:
            unseen.append(f"{FOLDER} is on another host and cannot be read from here")
        places += _list_volumes(connections, root, unseen)
    for found in places:
        try:
            medium = _read(connections, found)
        except ReconcilerError as error:
            unseen.append(f"{found.where} {error}")
            continue
        if medium is not None:
            media.setdefault(medium.path, medium)
        elif place:
            unseen.append(f"{found.where} {_NO_DRIVERS}")
    return DriverMedia(tuple(media.values()), tuple(unseen), place)


def _find_root(connections: Connections) -> Optional[str]:
    """Return what to put before a path of the host to open it here; None on another host."""
    if not connections.is_local:
        return None
    return own_view.find_own_root(connections.uri)


def _parse_place(place: str, root: Optional[str]) -> _MediumPlace:
    if place.startswith("/"):
        return _MediumPlace(place, place, "" if root is None else root + place)
    pool, _, volume = place.partition("/")
    return _MediumPlace(place, "", pool=pool, volume=volume)


def _list_usual(root: Optional[str]) -> Iterator[_MediumPlace]:
    """Yield the ISOs of packages, each once, and the folder with their drivers."""
    if root is None:
        return
    isos = {
        os.path.realpath(own): own for form in _PLACES for own in sorted(glob.glob(root + form))
    }
    for own in sorted(isos.values()):
        path = own[len(root) :]
        yield _MediumPlace(path, path, own)
    if os.path.isdir(f"{root}{FOLDER}/drivers"):
        yield _MediumPlace(FOLDER, FOLDER, root + FOLDER)


def _list_volumes(
    connections: Connections, root: Optional[str], unseen: List[str]
) -> Iterator[_MediumPlace]:
    """Yield the volumes whose names are those of virtio-win, also such as libvirt has not seen."""
    connection = connections.get(STORAGE)
    with binding.calling("listing the storage pools"):
        pools = connection.listAllStoragePools(binding.LIST_ACTIVE_POOLS)
    for pool in sorted(pools, key=lambda pool: pool.name()):
        name = pool.name()
        try:
            with binding.calling(f"storage pool {name}: reading it"):
                names = set(filter(is_medium_name, pool.listVolumes()))
                paths = {volume: pool.storageVolLookupByName(volume).path() for volume in names}
                folder, kind = _find_folder(pool.XMLDesc())
        except ReconcilerError as error:
            unseen.append(str(error))
            continue
        if root is not None and kind in FILE_POOLS:
            for volume in filter(is_medium_name, _list_names(root + folder)):
                paths.setdefault(volume, f"{folder}/{volume}")
        for volume, path in sorted(paths.items()):
            own = "" if root is None else root + path
            yield _MediumPlace(f"{name}/{volume}", path, own, pool=name, volume=volume)


def _find_folder(xml: str) -> Tuple[str, str]:
    root = parse(xml)
    return root.findtext("target/path", "").rstrip("/"), root.get("type", "")


def _list_names(folder: str) -> Tuple[str, ...]:
    try:
        return tuple(os.listdir(folder))
    except OSError:
        return ()


def _read(connections: Connections, place: _MediumPlace) -> Optional[DriverMedium]:
    """Read one medium; None for what has no drivers. Raises ReconcilerError with the reason."""
    if not place.own and not place.pool:
        raise MissingError("is on another host and cannot be read from here")
    try:
        if place.own and os.path.isdir(place.own):
            return _read_folder(place)
        if place.own:
            found = os.stat(place.own)
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            return _read_file(place, identity)
    except FileNotFoundError as error:
        if not place.pool:
            raise MissingError("does not exist on this host") from error
    except OSError as error:
        if not place.pool:
            raise MissingError(f"cannot be read: {error.strerror}") from error
    return _read_volume(connections, place)


@lru_cache(maxsize=_KEPT)
def _read_file(place: _MediumPlace, identity: Tuple[int, ...]) -> Optional[DriverMedium]:
    """Read an ISO of this host; one that has not changed since is not read again."""
    del identity
    with open(place.own, "rb") as file, opened_iso(file) as iso:
        return read_medium(place.where, place.path, iso.label, iso.names, iso.read)


def _read_folder(place: _MediumPlace) -> Optional[DriverMedium]:
    def read(name: str) -> bytes:
        with open(f"{place.own}/{name}", "rb") as file:
            return file.read()

    names = [
        os.path.relpath(os.path.join(folder, name), place.own)
        for folder, _, files in os.walk(place.own)
        for name in sorted(files)
    ]
    return read_medium(place.where, place.path, None, names, read)


def _read_volume(connections: Connections, place: _MediumPlace) -> Optional[DriverMedium]:
    """Read an ISO through libvirt."""
    connection = connections.get(STORAGE)
    with binding.calling("cannot be read through libvirt"):
        pool = connection.storagePoolLookupByName(place.pool)
        volume = pool.storageVolLookupByName(place.volume)
        path, size = volume.path(), volume.info()[1]
        with opened_iso(io.BufferedReader(_VolumeFile(connection, volume, size))) as iso:
            return read_medium(place.where, path, iso.label, iso.names, iso.read)


class _VolumeFile(io.RawIOBase):
    """A volume as a file to read: what is asked for is downloaded, in blocks that are kept."""

    def __init__(self, connection: Connection, volume: Volume, size: int) -> None:
        self._connection, self._volume, self._size = connection, volume, size
        self._blocks: Dict[int, bytes] = {}
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that any place can be read."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read on, at most to the end of a block."""
        block, start = divmod(self._at, _BLOCK)
        part = self._find_block(block)[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _find_block(self, number: int) -> bytes:
        if number not in self._blocks:
            if len(self._blocks) >= _MOST_BLOCKS:
                raise TerminalError("is larger than any ISO of virtio-win")
            self._blocks[number] = self._download(number * _BLOCK)
        return self._blocks[number]

    def _download(self, offset: int) -> bytes:
        length = min(_BLOCK, self._size - offset)
        if length <= 0:
            return b""
        stream = self._connection.newStream()
        try:
            self._volume.download(stream, offset, length)
            received = bytearray()
            while len(received) < length:
                part = stream.recv(length - len(received))
                if not isinstance(part, bytes) or not part:
                    break
                received += part
            stream.finish()
        except BaseException:
            stream.abort()
            raise
        return bytes(received)
