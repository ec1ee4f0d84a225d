"""Make a volume: blank, or as a full, linked or reflink clone. Overwrites and shrinks nothing.

Whatever fails after the volume was made deletes that volume again, and only that one: it is known
by the object that its creation returned, so a name that was taken is never ours to delete.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Iterator, Mapping

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import STORAGE, Connections
from reconciler.adapters.libvirt.lookup import (
    ALLOCATION,
    CAPACITY,
    find_on_disk,
    try_refresh,
    view_volume,
)
from reconciler.adapters.libvirt.making import Making, prepare, taken
from reconciler.adapters.libvirt.objects import Volume
from reconciler.adapters.libvirt.qcow2 import find_obstacle
from reconciler.adapters.libvirt.sharing import share
from reconciler.adapters.libvirt.waiting import run_watched
from reconciler.control.ports import Progress
from reconciler.core.plan import CreateVolume
from reconciler.core.world import VolumeView
from reconciler.errors import ReconcilerError, TerminalError

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
