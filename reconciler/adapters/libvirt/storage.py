"""The storage driver: pools and volumes. Implements `ports.Storage`.

Works by libvirt's storage API, so over a remote URI and without root. Deletes only what it is
told to, by name; how a volume is made is in `clones`.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Mapping, Optional, Sequence, Tuple

from reconciler.adapters.libvirt import binding, own_view
from reconciler.adapters.libvirt.connections import STORAGE, Connections, is_local
from reconciler.adapters.libvirt.domain_reader import map_in_threads
from reconciler.adapters.libvirt.images import find_obstacle, read_images
from reconciler.adapters.libvirt.pools import (
    CAPACITY,
    find_by_path,
    find_on_disk,
    find_pool,
    find_volume,
    read_pool_xml,
    refresh,
    try_refresh,
    write_private_xml,
)
from reconciler.core.frozen import replace
from reconciler.core.images import FILE_POOLS, ImageView
from reconciler.core.names import IGNITION, WINDOWS, name_seed_field
from reconciler.core.plan import CreateSeed, CreateVolume
from reconciler.core.units import format_size
from reconciler.core.world import FileView, PoolView, VolumeView
from reconciler.errors import MissingError, RefusedError, TransientError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Connection, Pool, Volume
    from reconciler.adapters.libvirt.uploads import LibvirtPart
    from reconciler.control.ports import Progress
    from reconciler.core.virtio_win import DriverMedia

AVAILABLE = 3  # where virStoragePoolGetInfo has it


class LibvirtStorage:
    """Pools and volumes through libvirt's storage driver."""

    def __init__(self, connections: Connections) -> None:
        """Keep the connections; nothing is opened yet."""
        self._connections = connections

    def list_pools(self) -> Tuple[str, ...]:
        """Names of the active pools."""
        with binding.calling("listing the storage pools"):
            pools = self._connection.listAllStoragePools(binding.LIST_ACTIVE_POOLS)
            return tuple(sorted(pool.name() for pool in pools))

    def list_inactive_pools(self) -> Tuple[str, ...]:
        """Names of the pools that are defined and not active."""
        with binding.calling("listing the storage pools"):
            pools = self._connection.listAllStoragePools(binding.LIST_INACTIVE_POOLS)
            return tuple(sorted(pool.name() for pool in pools))

    def read_pool(self, name: str) -> PoolView:
        """Read a pool and its volumes; looked through anew if files came or went by hand."""
        with binding.calling(f"storage pool {name}: reading it", binding.NO_POOL):
            pool = self._connection.storagePoolLookupByName(name)
            view = _try_read(pool)
            if view is None:
                refresh(pool)
            elif not (self._connections.is_local and _is_stale(view) and try_refresh(pool)):
                return self._measure(view)
            return self._measure(_read(pool))

    def _measure(self, pool: PoolView) -> PoolView:
        """Return the pool with what is free in it now; libvirt knows it of its last refresh."""
        uri = self._connections.uri if pool.type in FILE_POOLS else ""
        if not uri or not is_local(uri):
            return pool
        free = own_view.find_free(pool.path, own_view.find_daemon(uri))
        return pool if free is None else replace(pool, available=free)

    def can_reflink(self, pool: PoolView, image: str) -> bool:
        """Try whether the image at that path can be cloned into the pool by block sharing.

        Of one that is still to be fetched its folder is tried.
        Nothing visible is created; False also where it cannot be tried (a remote host).
        """
        if pool.type not in FILE_POOLS or not self._connections.is_local:
            return False
        from reconciler.adapters.libvirt.clones import (  # noqa: PLC0415 - start-up time
            can_share,
            can_share_folders,
        )

        if not os.path.lexists(image):
            return can_share_folders(pool.path, os.path.dirname(image))
        return can_share(pool.path, image) and find_obstacle(image, pool.path) is None

    def read_free(self, path: str) -> Optional[int]:
        """Return the bytes that an image at that path may still grow by; None if it is not known.

        Read anew, from the image's pool.
        """
        try:
            pool = self._connection.storageVolLookupByPath(path).storagePoolLookupByVolume()
            pool.refresh()
            return pool.info()[AVAILABLE]
        except binding.Error:
            return None

    def read_images(self, images: Mapping[str, str]) -> Mapping[str, ImageView]:
        """Read images by path (→ format, empty if not known), and all that is below them."""
        local = self._connections.is_local
        return read_images(lambda: self._connections.get(STORAGE), images, is_local=local)

    def read_files(self, paths: Sequence[str]) -> Mapping[str, FileView]:
        """Return what lies at these paths of the host; what cannot be seen from here lacks."""
        if not self._connections.is_local:
            return {}
        daemon = own_view.find_daemon(self._connections.uri)
        found = {path: own_view.read_file(path, daemon) for path in paths}
        return {path: view for path, view in found.items() if view is not None}

    def find_driver_media(self, place: str) -> DriverMedia:
        """Return the virtio-win media at a path or POOL/VOLUME; in the usual places if empty."""
        try:
            from reconciler.adapters.libvirt import driver_media  # noqa: PLC0415 - rarely used
        except ModuleNotFoundError as error:
            from reconciler.core.virtio_win import DriverMedia  # noqa: PLC0415 - rarely used

            return DriverMedia(unseen=(_explain_module(error, "read ISO images"),))
        return driver_media.find_driver_media(self._connections, place)

    def create_volume(self, step: CreateVolume, progress: Progress) -> VolumeView:
        """Make a volume, blank or as a clone. Raises RefusedError if the name is taken."""
        from reconciler.adapters.libvirt import clones  # noqa: PLC0415 - start-up time

        return clones.create_volume(self._connections, step, progress)

    def create_seed(self, step: CreateSeed) -> None:
        """Make the volume with the files, which only QEMU can read.

        Raises RefusedError if the name is taken. The pool is not looked through: libvirt cannot do
        that while another machine's disk is cloned into it, and refuses to overwrite a file.
        """
        content, label = _make_content(step), f"{step.pool}/{step.name}"
        pool = find_pool(self._connection, step.pool)
        is_unseen = self._connections.is_local and os.path.lexists(step.path)
        if is_unseen or find_volume(pool, step.name) is not None:
            raise RefusedError(f"volume {label} already exists and was left unchanged")
        doing = f"volume {label}: storing the seed for the first boot"
        with binding.calling(doing):
            volume = pool.createXML(write_private_xml(step.name, len(content)))
            try:
                _upload(self._connection, volume, content)
            except BaseException:
                volume.delete()
                raise

    def open_part(self, pool: str, name: str) -> LibvirtPart:
        """Return a volume that is not whole yet, or not there. Refuses pools that have none."""
        from reconciler.adapters.libvirt import uploads  # noqa: PLC0415 - start-up time

        return uploads.open_part(self._connections, pool, name)

    def resize_volume(self, path: str, capacity: int) -> None:
        """Grow the volume at `path`; never shrinks."""
        volume = find_by_path(self._connection, path, is_local=self._connections.is_local)
        with binding.calling(f"volume {path}: growing it to {format_size(capacity)}"):
            now = volume.info()[CAPACITY]
            if now > capacity:
                raise RefusedError(
                    f"volume {path} is {format_size(now)}, more than {format_size(capacity)}; "
                    "an image is never shrunk"
                )
            if now < capacity:
                volume.resize(capacity)

    def delete_partial(self, pool: str, name: str) -> None:
        """Delete a volume that this product began to create and did not finish.

        That it is gone already is no error.
        """
        doing = f"volume {pool}/{name}: deleting the unfinished copy"
        with binding.calling(doing, binding.NO_POOL):
            volume = find_on_disk(self._connection.storagePoolLookupByName(pool), name)
            if volume is None:
                return
            _delete(volume, doing)

    def delete_volume(self, pool: str, name: str, path: str) -> None:
        """Delete a volume that was made for a machine; that it is gone already is no error.

        Raises RefusedError if the volume of that name lies at another path.
        """
        doing = f"volume {pool}/{name}: deleting it"
        with binding.calling(doing, binding.NO_POOL):
            volume = find_on_disk(self._connection.storagePoolLookupByName(pool), name)
            if volume is None:
                return
            if volume.path() != path:
                raise RefusedError(f"{doing}: it lies at {volume.path()}, not at {path} as planned")
            _delete(volume, doing)

    @property
    def _connection(self) -> Connection:
        return self._connections.get(STORAGE)


def _make_content(step: CreateSeed) -> bytes:
    """Return an image, or what the one file holds.

    Raises MissingError where the library that makes images is not installed.
    """
    field = name_seed_field(step.name)
    if field == IGNITION:
        return "".join(text for _, text in step.files).encode()
    try:
        from reconciler.adapters.libvirt.iso_images import (  # noqa: PLC0415 - rarely used
            ANSWERS,
            LABEL,
            make_image,
        )
    except ModuleNotFoundError as error:
        raise MissingError(f"{field}: {_explain_module(error, 'make the seed')}") from error
    return make_image(dict(step.files), ANSWERS if field == WINDOWS else LABEL)


def _explain_module(error: ModuleNotFoundError, purpose: str) -> str:
    return (
        f"Python's module {error.name!r} is needed to {purpose} and not installed: it comes with "
        "the RPM, else apt install python3-pycdlib, or pip install 'virt-reconciler[host]'"
    )


def _upload(connection: Connection, volume: Volume, content: bytes) -> None:
    stream = connection.newStream()
    try:
        volume.upload(stream, 0, len(content))
        stream.sendAll(_read_part, io.BytesIO(content))
        stream.finish()
    except BaseException:
        stream.abort()
        raise


def _read_part(_stream: object, size: int, content: io.BytesIO) -> bytes:
    return content.read(size)


def _delete(volume: Volume, doing: str) -> None:
    try:
        volume.delete()
    except binding.Error as error:
        if binding.code_of(error) != binding.OPERATION_INVALID:
            raise
        # "is still being allocated" or "in use": a copy that was cut off may run on.
        raise TransientError(f"{doing}: {binding.message_of(error)}") from error


def _try_read(pool: Pool) -> Optional[PoolView]:
    """Read the pool; None if one of its volumes cannot be read, as when its file went by hand."""
    try:
        return _read(pool)
    except binding.Error as error:
        if binding.is_broken(error):
            raise
        return None


def _read(pool: Pool) -> PoolView:
    volumes = map_in_threads(_volume_xml, pool.listAllVolumes())
    return read_pool_xml(pool.XMLDesc(), [volume for volume in volumes if volume is not None])


def _volume_xml(volume: Volume) -> Optional[str]:
    """Return a volume's XML; None if it was deleted since it was listed."""
    try:
        return volume.XMLDesc()
    except binding.Error as error:
        if binding.code_of(error) != binding.NO_VOLUME:
            raise
        return None


def _is_stale(pool: PoolView) -> bool:
    """Whether the pool's folder, as far as we see it, has files that libvirt has not seen.

    libvirt looks through a folder when the pool starts and on request only, and that opens each
    file; to look at the names first costs nothing.
    """
    if pool.type not in FILE_POOLS:
        return False
    try:
        with os.scandir(pool.path) as entries:
            files = {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return False
    return not files <= set(pool.volumes)
