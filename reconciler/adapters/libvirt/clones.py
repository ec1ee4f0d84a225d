"""Make a volume: blank, or as a full, linked or reflink clone. Overwrites and shrinks nothing."""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Generic, Iterator, List, Mapping, Optional, TypeVar

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import STORAGE, Connections
from reconciler.adapters.libvirt.images import find_obstacle
from reconciler.adapters.libvirt.pools import (
    ALLOCATION,
    CAPACITY,
    find_by_path,
    find_on_disk,
    find_pool,
    find_volume,
    try_refresh,
    view_pool,
    view_volume,
    write_volume_xml,
)
from reconciler.core.frozen import frozen
from reconciler.core.images import FILE_POOLS
from reconciler.core.units import format_size
from reconciler.errors import ReconcilerError, RefusedError, TerminalError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Pool, Volume
    from reconciler.control.ports import Progress
    from reconciler.core.plan import CreateVolume
    from reconciler.core.world import PoolView, VolumeView

T = TypeVar("T")

LOOK_EVERY = 0.25  # seconds


class _Call(Generic[T]):
    """A call, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.results: List[T] = []
        self.errors: List[BaseException] = []

    def __call__(self) -> None:
        try:
            self.results.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.errors.append(error)


def run_watched(function: Callable[[], T], look: Callable[[], None]) -> T:
    """Return the function's result or raise its error; `look` is called every quarter second.

    The thread is a daemon: an interrupt (Ctrl-C) ends the wait at once. The call itself cannot be
    called back, and libvirt goes on with it to its end.
    """
    call = _Call(function)
    thread = threading.Thread(target=call, name="long call", daemon=True)
    thread.start()
    thread.join(LOOK_EVERY)
    while thread.is_alive():
        look()
        thread.join(LOOK_EVERY)
    if call.errors:
        raise call.errors[0]
    return call.results[0]


# linux/fs.h; the same on all architectures of Rocky 9 but ppc64le, which has other ioctl numbers.
FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
# A whole number of blocks on any file system; a range that does not end the file must be one.
TRIAL = 65536


def can_share(folder: str, image: str) -> bool:
    """Whether a file in the folder could share the blocks of the image.

    Tried with one block of the real image and a file without a name (O_TMPFILE), of which nothing
    is ever to be seen. Whatever stands in the way, a permission as well, means no.
    """
    try:
        with _opened(image, os.O_RDONLY) as source, _unnamed(folder) as target:
            length = TRIAL if os.fstat(source).st_size >= TRIAL else 0  # 0: to the end
            fcntl.ioctl(target, FICLONERANGE, struct.pack("qQQQ", source, 0, length, 0))
    except OSError:
        return False
    return True


def can_share_folders(folder: str, origin: str) -> bool:
    """Whether a file in the folder could share the blocks of a file in the folder `origin`."""
    try:
        with _unnamed(origin, os.O_RDWR) as source, _unnamed(folder) as target:
            os.write(source, bytes(TRIAL))
            fcntl.ioctl(target, FICLONERANGE, struct.pack("qQQQ", source, 0, TRIAL, 0))
    except OSError:
        return False
    return True


def share(image: str, path: str) -> None:
    """Make the existing file at `path` a clone of the image. Raises OSError.

    The file's owner, mode and label stay. What is at `path` must be an ordinary file: a link could
    lead anywhere.
    """
    for_writing = os.O_WRONLY | os.O_NOFOLLOW
    with _opened(image, os.O_RDONLY) as source, _opened(path, for_writing) as target:
        os.ftruncate(target, 0)  # of a longer file the rest would stay
        fcntl.ioctl(target, FICLONE, source)
        os.fsync(target)


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _unnamed(folder: str, flags: int = os.O_WRONLY) -> Iterator[int]:
    descriptor = os.open(folder, flags | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@frozen
class VolumeOrigin:
    """The image to clone, in libvirt and as a value."""

    volume: Volume
    view: VolumeView


@frozen
class Making:
    """One volume that is being made."""

    connections: Connections
    step: CreateVolume
    progress: Progress
    pool: Pool
    view: PoolView
    source: Optional[VolumeOrigin]

    @property
    def label(self) -> str:
        """What to call the volume: pool/name."""
        return f"{self.step.pool}/{self.step.name}"

    @property
    def origin(self) -> VolumeOrigin:
        """The image to clone. Raises TerminalError where the step names none."""
        if self.source is None:
            raise TerminalError(f"volume {self.label}: a {self.step.clone} clone of nothing")
        return self.source

    @property
    def capacity(self) -> int:
        """The size asked for, else that of the image cloned; it was checked to be no less."""
        if self.step.capacity is not None:
            return self.step.capacity
        return self.origin.view.capacity

    @property
    def is_of_files(self) -> bool:
        """Whether the pool's volumes are files."""
        return self.view.type in FILE_POOLS

    def xml(self, capacity: int, backing: Optional[VolumeView] = None) -> str:
        """Describe the volume to libvirt."""
        step = self.step
        return write_volume_xml(self.view.type, step.name, step.format, capacity, backing)


def prepare(connections: Connections, step: CreateVolume, progress: Progress) -> Making:
    """Look up what the step names, and refuse what cannot be done, before anything is made."""
    connection = connections.get(STORAGE)
    pool = find_pool(connection, step.pool)
    source = None
    if step.origin is not None:
        volume = find_by_path(connection, step.origin, is_local=connections.is_local)
        source = VolumeOrigin(volume, view_volume(volume, ""))
    making = Making(
        connections=connections,
        step=step,
        progress=progress,
        pool=pool,
        view=view_pool(pool),
        source=source,
    )
    _refuse_other_pools(making)
    if source is not None:
        _refuse_other_image(making, source.view)
    if find_volume(pool, step.name) is not None:
        raise taken(making)
    return making


def taken(making: Making) -> RefusedError:
    """Return the refusal of a name that is not ours."""
    return RefusedError(f"volume {making.label} already exists and was left unchanged")


def _refuse_other_pools(making: Making) -> None:
    if not making.is_of_files and making.step.clone in {"linked", "reflink"}:
        raise TerminalError(
            f"volume {making.label}: a {making.step.clone} clone needs a pool of files "
            f"({', '.join(sorted(FILE_POOLS))}); pool {making.step.pool!r} is of type "
            f"{making.view.type}: use clone: full"
        )


def _refuse_other_image(making: Making, image: VolumeView) -> None:
    """Refuse an image that is not as planned, and to cut one off."""
    step = making.step
    if step.origin_format not in (None, image.format):
        raise RefusedError(
            f"volume {making.label}: {image.path} is {image.format} now, not {step.origin_format} "
            "as planned; plan again"
        )
    if step.clone == "reflink" and step.format != image.format:
        raise TerminalError(f"volume {making.label}: a reflink keeps the format {image.format}")
    if making.capacity < image.capacity:
        raise RefusedError(
            f"volume {making.label}: {format_size(making.capacity)} is less than the "
            f"{format_size(image.capacity)} of "
            f"{image.path}; an image is never shrunk"
        )


# The size of a volume that is about to become a reflink. Only the clone's own size is right
# afterwards, which proves that libvirt sees the file that we wrote.
PLACEHOLDER = 512


def create_volume(connections: Connections, step: CreateVolume, progress: Progress) -> VolumeView:
    """Make the volume that the step describes, and return it as libvirt sees it.

    Raises RefusedError if the name is taken or the image is larger than what is asked for.
    """
    making = prepare(connections, step, progress)
    with _refusing_taken(making):
        volume = MAKERS[step.clone](making)
    with _deleting_on_failure(making, volume):
        if step.clone == "reflink":
            _share(making, volume)
        _grow(volume, making.capacity)
    return view_volume(volume, step.pool)


def _grow(volume: Volume, capacity: int) -> None:
    """Grow a volume that is still too small; libvirt rounds a qcow2 up to whole KiB."""
    if volume.info()[CAPACITY] < capacity:
        volume.resize(capacity)


def _make_blank(making: Making) -> Volume:
    return making.pool.createXML(making.xml(making.capacity))


def _make_allocated(making: Making) -> Volume:
    """Make it blank and take all of its space now, so that writing into it never fails for that."""
    step, size = making.step, making.capacity
    xml = write_volume_xml(making.view.type, step.name, step.format, size, allocation=size)
    flags = binding.ALLOCATE if step.format == "qcow2" else 0
    with making.connections.own(STORAGE) as connection:
        connection.storagePoolLookupByName(step.pool).createXML(xml, flags)
    return making.pool.storageVolLookupByName(step.name)


def _make_linked(making: Making) -> Volume:
    return making.pool.createXML(making.xml(making.capacity, making.origin.view))


def _make_placeholder(making: Making) -> Volume:
    """Let libvirt make the file, in its pool and with its owner and label, to be filled by us.

    So the pool needs no refresh, which would open every file in it.
    """
    return making.pool.createXML(making.xml(PLACEHOLDER))


def _make_full(making: Making) -> Volume:
    """Copy on a connection of its own, for it may take minutes, and watch on the common one."""
    path = making.origin.view.path
    total = making.origin.volume.info()[ALLOCATION] or making.capacity
    # libvirt cannot resize a logical volume, but copies into a larger one.
    xml = making.xml(making.origin.view.capacity if making.is_of_files else making.capacity)

    def copy() -> None:
        with making.connections.own(STORAGE) as connection:
            pool = connection.storagePoolLookupByName(making.step.pool)
            pool.createXMLFrom(xml, connection.storageVolLookupByPath(path))

    run_watched(copy, lambda: _tell(making, total))
    making.progress(making.label, total, total)
    return making.pool.storageVolLookupByName(making.step.name)


MAKERS: Mapping[str, Callable[[Making], Volume]] = {
    "none": _make_blank,
    "allocated": _make_allocated,
    "full": _make_full,
    "linked": _make_linked,
    "reflink": _make_placeholder,
}


def _tell(making: Making, total: int) -> None:
    """Report how much of the new volume is there; one that is not there yet is nothing."""
    try:
        done = making.pool.storageVolLookupByName(making.step.name).info()[ALLOCATION]
    except binding.Error:
        return
    making.progress(making.label, min(done, total), total)


def _share(making: Making, volume: Volume) -> None:
    """Fill the placeholder. libvirt reads the new size from the file's header at its next call."""
    image = making.origin.view
    try:
        obstacle = find_obstacle(image.path, making.view.path)
        if obstacle is None:
            share(image.path, volume.path())
    except OSError as error:
        obstacle = error.strerror
    if obstacle is not None:
        raise TerminalError(f"volume {making.label}: cannot reflink {image.path}: {obstacle}")
    if volume.info()[CAPACITY] != image.capacity:
        raise TerminalError(
            f"volume {making.label}: libvirt does not see the clone of {image.path}; is this "
            "another file system than libvirt's (a container)? Use clone: full"
        )
    if image.backing is not None:
        try_refresh(making.pool)  # only then does libvirt read what a volume lies over


@contextmanager
def _refusing_taken(making: Making) -> Iterator[None]:
    """Translate, and make a name that was taken after all a refusal.

    By now it can only be a volume that somebody made this moment, or a file that libvirt had not
    seen. Of that it says "volume target path exists" with a code that means much else too
    (virStorageBackendVolCreateLocal), so the pool is looked through anew.
    """
    try:
        with binding.calling(f"volume {making.label}: making it"):
            yield
    except ReconcilerError as error:
        code = binding.code_of(error)
        unseen = code == binding.OPERATION_INVALID and _is_there(making)
        if code == binding.VOLUME_EXISTS or unseen:
            raise taken(making) from error
        raise


def _is_there(making: Making) -> bool:
    try:
        return find_on_disk(making.pool, making.step.name) is not None
    except (binding.Error, ReconcilerError):
        return False


@contextmanager
def _deleting_on_failure(making: Making, volume: Volume) -> Iterator[None]:
    """Delete the volume that we made if what follows fails or is interrupted, and say so."""
    try:
        with binding.calling(f"volume {making.label}: making it"):
            yield
    except ReconcilerError as error:
        raise type(error)(f"{error}; {_delete(volume)}") from error
    except BaseException:
        _delete(volume)
        raise


def _delete(volume: Volume) -> str:
    try:
        volume.delete()
    except binding.Error as error:
        return f"the unfinished volume could not be deleted: {binding.message_of(error)}"
    return "the unfinished volume was deleted"
