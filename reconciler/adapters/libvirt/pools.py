"""Pools and volumes between XML and values, and finding them by name and by path."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Iterable, Iterator, Optional

from reconciler.adapters.libvirt import binding
from reconciler.core.images import FILE_POOLS
from reconciler.core.world import PoolView, VolumeView
from reconciler.core.xmltree import Element, fragment, make, make_text, parse
from reconciler.errors import MissingError, TransientError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Connection, Pool, Volume

# Pools whose volumes are files, so that formats, overlays and shared blocks are possible
# (https://libvirt.org/storage.html). In the others a volume is raw.
# An unrecognised file in a pool: libvirt calls it raw, and so do we.
RAW = "raw"


def read_pool_xml(xml: str, volumes: Iterable[str]) -> PoolView:
    """Build a pool from its XML and that of its volumes."""
    root = parse(xml)
    name = root.findtext("name") or ""
    views = (read_volume_xml(name, volume) for volume in volumes)
    return PoolView(
        name=name,
        type=root.get("type", ""),
        path=root.findtext("target/path") or "",
        volumes={view.name: view for view in views},
        available=_number(root, "available"),
    )


def read_volume_xml(pool: str, xml: str) -> VolumeView:
    """Build a volume from its XML."""
    root = parse(xml)
    kind = root.find("target/format")
    return VolumeView(
        pool=pool,
        name=root.findtext("name") or "",
        path=root.findtext("target/path") or "",
        format=RAW if kind is None else kind.get("type", RAW),
        capacity=int(root.findtext("capacity") or 0),
        backing=root.findtext("backingStore/path") or None,
        changed_at=root.findtext("target/timestamps/mtime") or "",
        allocation=_number(root, "allocation"),
    )


def _number(root: Element, tag: str) -> Optional[int]:
    text = root.findtext(tag)
    return int(text) if text else None


def write_volume_xml(
    pool_type: str,
    name: str,
    image_format: str,
    capacity: int,
    backing: Optional[VolumeView] = None,
    allocation: int = 0,
) -> str:
    """Write what libvirt needs to make a volume.

    A file is sparse, unless it has an allocation. A logical volume must not be: libvirt would take
    a smaller one for a wish for a thin snapshot of nothing (storage_backend_logical.c, lvcreate
    `--virtualsize`), so there the allocation is left out, which means all of it.
    """
    volume = make("volume", None, make_text("name", name))
    volume.append(make_text("capacity", capacity, {"unit": "bytes"}))
    if pool_type in FILE_POOLS:
        volume.append(make_text("allocation", allocation, {"unit": "bytes"}))
        volume.append(_target(image_format))
    if backing is not None:
        volume.append(_backing(backing))
    return fragment(volume)


def write_private_xml(name: str, size: int) -> str:
    """Write what libvirt needs to make a raw file that nobody but root and QEMU can read."""
    permissions = make("permissions", None, make_text("mode", "0600"))
    target = make("target", None, make("format", {"type": "raw"}), permissions)
    capacity = make_text("capacity", size, {"unit": "bytes"})
    return fragment(make("volume", None, make_text("name", name), capacity, target))


def _target(image_format: str) -> Element:
    """Name the format; qcow2 as version 3, for version 2 is deprecated in RHEL 9's QEMU."""
    target = make("target", None, make("format", {"type": image_format}))
    if image_format == "qcow2":
        target.append(make_text("compat", "1.1"))
    return target


def _backing(image: VolumeView) -> Element:
    """Name the image below with its format: libvirt and QEMU refuse to guess it, rightly."""
    format_ = make("format", {"type": image.format})
    return make("backingStore", None, make_text("path", image.path), format_)


# Where virStorageVolGetInfo has them.
CAPACITY, ALLOCATION = 1, 2


def find_pool(connection: Connection, name: str) -> Pool:
    """Return the pool of that name. Raises NotFoundError."""
    with binding.calling(f"storage pool {name}", binding.NO_POOL):
        return connection.storagePoolLookupByName(name)


def find_volume(pool: Pool, name: str) -> Optional[Volume]:
    """Return the volume of that name as far as libvirt knows; None if there is none."""
    with binding.calling(f"volume {pool.name()}/{name}: looking for it"):
        try:
            return pool.storageVolLookupByName(name)
        except binding.Error as error:
            if binding.code_of(error) != binding.NO_VOLUME:
                raise
            return None


def find_on_disk(pool: Pool, name: str) -> Optional[Volume]:
    """Return the volume of that name, also if it was put into the pool's folder by hand.

    Raises TransientError while a volume is being made in the pool.
    """
    volume = find_volume(pool, name)
    if volume is None:
        refresh(pool)
        volume = find_volume(pool, name)
    return volume


def find_by_path(connection: Connection, path: str, *, is_local: bool = False) -> Volume:
    """Return the volume at that path. Raises MissingError, with what to do, if no pool has it.

    On this host (`is_local`) links and bind mounts are followed: libvirt knows each volume by one
    path only.
    """
    with binding.calling(f"volume {path}: looking for it"):
        for name in _names_of(connection, path, is_local=is_local):
            volume = _find_at(connection, name) or _find_anew(connection, name)
            if volume is not None:
                return volume
    raise MissingError(
        f"{path} is in no active storage pool; define one over its folder "
        "(virsh pool-define-as NAME dir --target FOLDER, pool-start NAME)"
    )


def _names_of(connection: Connection, path: str, *, is_local: bool) -> Iterator[str]:
    """Yield the path, and then what else the same file may be called in a pool."""
    yield path
    if not is_local:
        return
    yield os.path.realpath(path)
    for pool in connection.listAllStoragePools(binding.LIST_ACTIVE_POOLS):
        name = posixpath.join(view_pool(pool).path, posixpath.basename(os.path.realpath(path)))
        if _is_same_file(name, path):
            yield name


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def view_volume(volume: Volume, pool: str) -> VolumeView:
    """Return the volume as a value; `pool` is the name to put in it."""
    with binding.calling(f"volume {volume.path()}: reading it"):
        return read_volume_xml(pool, volume.XMLDesc())


def view_pool(pool: Pool) -> PoolView:
    """Return the pool as a value, without its volumes."""
    with binding.calling(f"storage pool {pool.name()}: reading it"):
        return read_pool_xml(pool.XMLDesc(), ())


def refresh(pool: Pool) -> None:
    """Have libvirt look through the pool anew. Raises TransientError while a volume is being made.

    libvirt says that with a code that means anything ("pool 'x' has asynchronous jobs running").
    """
    try:
        pool.refresh()
    except binding.Error as error:
        if "asynchronous jobs" not in binding.message_of(error):
            raise
        raise TransientError(
            f"storage pool {pool.name()}: cannot be looked through while a volume is made in it"
        ) from error


def try_refresh(pool: Pool) -> bool:
    """Have libvirt look through the pool anew; False, and no harm, while a volume is being made."""
    try:
        refresh(pool)
    except TransientError:
        return False
    return True


def _find_at(connection: Connection, path: str) -> Optional[Volume]:
    try:
        return connection.storageVolLookupByPath(path)
    except binding.Error as error:
        if binding.code_of(error) != binding.NO_VOLUME:
            raise
        return None


def _find_anew(connection: Connection, path: str) -> Optional[Volume]:
    """Look for a file that was put by hand into a pool's folder since libvirt looked there."""
    folder = posixpath.dirname(path)
    for pool in connection.listAllStoragePools(binding.LIST_ACTIVE_POOLS):
        view = view_pool(pool)
        if view.type in FILE_POOLS and posixpath.normpath(view.path) == folder:
            refresh(pool)
            return _find_at(connection, path)
    return None
