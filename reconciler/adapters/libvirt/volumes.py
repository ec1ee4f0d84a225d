"""Storage pools and volumes between XML and values. Pure.

Ownership, mode and labels are never written: a new volume gets what its pool gives.
"""

from __future__ import annotations

from typing import Iterable, Optional

from reconciler.core.world import PoolView, VolumeView
from reconciler.core.xmltree import Element, fragment, make, make_text, parse

# Pools whose volumes are files, so that formats, overlays and shared blocks are possible
# (https://libvirt.org/storage.html). In the others a volume is raw.
FILE_POOLS = frozenset({"dir", "fs", "netfs"})
# An unrecognised file in a pool: libvirt calls it raw, and so do we.
RAW = "raw"


def read_pool_xml(xml: str, volumes: Iterable[str]) -> PoolView:
    """Build a pool from its XML and that of its volumes."""
    root = parse(xml)
    name = root.findtext("name") or ""
    views = (read_volume_xml(name, one) for one in volumes)
    return PoolView(
        name,
        root.get("type", ""),
        root.findtext("target/path") or "",
        {one.name: one for one in views},
        _number(root, "available"),
    )


def read_volume_xml(pool: str, xml: str) -> VolumeView:
    """Build a volume from its XML."""
    root = parse(xml)
    kind = root.find("target/format")
    return VolumeView(
        pool,
        root.findtext("name") or "",
        root.findtext("target/path") or "",
        RAW if kind is None else kind.get("type", RAW),
        int(root.findtext("capacity") or 0),
        root.findtext("backingStore/path") or None,
        root.findtext("target/timestamps/mtime") or "",
        _number(root, "allocation"),
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
) -> str:
    """Write what libvirt needs to make a volume.

    A file is sparse (allocation 0). A logical volume must not be: libvirt would take a smaller
    allocation for a wish for a thin snapshot of nothing (storage_backend_logical.c, lvcreate
    `--virtualsize`), so there the allocation is left out, which means all of it.
    """
    volume = make("volume", None, make_text("name", name))
    volume.append(make_text("capacity", capacity, {"unit": "bytes"}))
    if pool_type in FILE_POOLS:
        volume.append(make_text("allocation", 0, {"unit": "bytes"}))
        volume.append(_target(image_format))
    if backing is not None:
        volume.append(_backing(backing))
    return fragment(volume)


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
