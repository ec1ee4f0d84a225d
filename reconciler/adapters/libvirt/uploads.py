"""Volumes that are not whole yet: bytes go in by libvirt's upload stream, a new name comes last.

libvirt cannot rename a volume (storage/storage_driver.c has no such call), so the last step is
rename(2) in the folder of a pool that is on this host. Everything else is libvirt's: the file's
owner, mode and label are those of the pool. Implements `transfers.PartialVolume`.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Callable, Iterable, Iterator, Mapping, Optional

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import STORAGE, Connections
from reconciler.adapters.libvirt.objects import Pool, Stream, Volume
from reconciler.adapters.libvirt.pools import (
    find_on_disk,
    find_pool,
    find_volume,
    try_refresh,
    view_pool,
    write_volume_xml,
)
from reconciler.adapters.text_files import sync_path
from reconciler.core.frozen import frozen
from reconciler.core.images import FILE_POOLS
from reconciler.core.units import format_roughly
from reconciler.errors import FullError, MissingError, RefusedError, TerminalError

BLOCK = 2**20
ZEROS = bytes(2**16)  # a chunk is looked through in pieces of this size
LEAST_HOLE = 2**13  # bytes: below two blocks of a file system a hole may free nothing
START = 4096  # bytes that hold an image's header
# Where the file system can keep it: what the image is, for `prune --images`. It is never needed to
# know whether an image is whole.
ORIGIN = "user.virt-reconciler.image"


def open_part(connections: Connections, pool: str, name: str) -> LibvirtPart:
    """Return a volume that is not whole yet, or not there. Refuses pools that cannot have one."""
    found = find_pool(connections.get(STORAGE), pool)
    view = view_pool(found)
    if view.type not in FILE_POOLS:
        raise TerminalError(
            f"storage pool {pool} is of type {view.type}; an image by address needs a pool of "
            f"files ({', '.join(sorted(FILE_POOLS))}): set spec.image.pool"
        )
    if not connections.is_local:
        raise TerminalError(
            f"storage pool {pool} is on another host; an image is fetched on the host that needs "
            "it: run virt-reconciler apply there"
        )
    if not os.access(view.path, os.W_OK | os.X_OK, effective_ids=True):
        raise MissingError(
            f"storage pool {pool}: this user cannot write to its folder {view.path}; run "
            "virt-reconciler template pull as root, or give the daemon the rights of "
            "/usr/share/doc/virt-reconciler/images.conf"
        )
    return LibvirtPart(connections, pool, view.path, name)


def send_sparse(stream: Stream, chunk: bytes) -> None:
    """Send a chunk; what is all zeros takes no room on disk (virStreamSendHole)."""
    size = len(ZEROS)
    pieces = (chunk[at : at + size] for at in range(0, len(chunk), size))
    for is_hole, run in groupby(pieces, _is_hole):
        data = b"".join(run)
        if is_hole:
            stream.sendHole(len(data))
            continue
        while data:
            data = data[stream.send(data) :]


def _is_hole(piece: bytes) -> bool:
    return len(piece) >= LEAST_HOLE and piece == ZEROS[: len(piece)]


@frozen
class LibvirtPart:
    """A volume that is not whole yet, in a pool of files on this host."""

    connections: Connections
    pool: str
    folder: str
    name: str

    @property
    def path(self) -> str:
        """The path of its file."""
        return os.path.join(self.folder, self.name)

    @property
    def _label(self) -> str:
        return f"volume {self.pool}/{self.name}"

    def measure(self) -> int:
        """Return how many bytes are in it; 0 if it is not there."""
        try:
            return os.stat(self.path).st_size
        except FileNotFoundError:
            return 0

    def find_free(self) -> int:
        """Return the bytes that are free where it is."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write the chunks behind what is in it; it is made if it is not there."""
        with self.connections.own(STORAGE) as connection, self._calling("writing it"):
            volume = self._find_or_make(find_pool(connection, self.pool))
            stream = connection.newStream()
            volume.upload(stream, self.measure(), 0, binding.SPARSE_UPLOAD)
            try:
                for chunk in chunks:
                    send_sparse(stream, chunk)
            except binding.Error:
                with suppress(binding.Error):
                    stream.abort()
                raise
            except BaseException:
                with suppress(binding.Error):
                    stream.finish()  # what came is kept
                raise
            stream.finish()

    def _find_or_make(self, pool: Pool) -> Volume:
        volume = find_volume(pool, self.name)
        if volume is None and os.path.lexists(self.path):
            volume = find_on_disk(pool, self.name)
        if volume is None:
            volume = pool.createXML(write_volume_xml("dir", self.name, "raw", 0))
        return volume

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Translate errors; a pool that is full is said to be so, with what is free."""
        try:
            with binding.calling(f"{self._label}: {doing}"):
                yield
        except MissingError as error:
            if "No space left" not in str(error):
                raise
            free = format_roughly(self.find_free())
            raise FullError(f"storage pool {self.pool} is full: {free} are free") from error

    def digest(self, tell: Callable[[int], None]) -> str:
        """Return the SHA-256 of what is in it; told how many bytes were read."""
        made, done = hashlib.sha256(), 0
        with open(self.path, "rb") as file:
            for block in iter(lambda: file.read(BLOCK), b""):
                made.update(block)
                done += len(block)
                tell(done)
        return made.hexdigest()

    def read_start(self) -> bytes:
        """Return its first bytes, in which an image has its header."""
        with open(self.path, "rb") as file:
            return file.read(START)

    def publish(self, name: str, origin: Mapping[str, str]) -> None:
        """Give it the name of a whole image, on disk before anybody can see it.

        Raises RefusedError if something has that name.
        """
        target = os.path.join(self.folder, name)
        if os.path.lexists(target):
            raise RefusedError(f"volume {self.pool}/{name} already exists and was left unchanged")
        with suppress(OSError):  # tmpfs before Linux 6.6 and NFS before 4.2 keep none
            os.setxattr(self.path, ORIGIN, json.dumps(dict(origin), sort_keys=True).encode())
        sync_path(self.path)
        os.rename(self.path, target)
        sync_path(self.folder)

    def read_origin(self) -> Optional[Mapping[str, str]]:
        """Return what it was published with; None of what was not, or where nothing keeps it."""
        try:
            data = json.loads(os.getxattr(self.path, ORIGIN))
        except (OSError, ValueError):
            return None
        if not isinstance(data, dict):
            return None
        return {str(key): str(value) for key, value in data.items()}

    def is_seen(self, name: str) -> bool:
        """Whether libvirt has that volume; it is asked to look, as soon as it can."""
        with binding.calling(f"volume {self.pool}/{name}: looking for it"):
            pool = find_pool(self.connections.get(STORAGE), self.pool)
            return try_refresh(pool) and find_volume(pool, name) is not None

    def delete(self) -> None:
        """Delete it; that it is not there is no error."""
        if not os.path.lexists(self.path):
            return
        with binding.calling(f"{self._label}: deleting it"):
            pool = find_pool(self.connections.get(STORAGE), self.pool)
            volume = find_on_disk(pool, self.name)
            if volume is not None:
                volume.delete()
