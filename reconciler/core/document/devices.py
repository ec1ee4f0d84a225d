"""Devices out of the entries of `disks`, `cdroms` and `interfaces`. Builds, never judges."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from reconciler.core.model import Cdrom, CloneMode, Disk, Interface
from reconciler.core.units import parse_size

Data = Mapping[str, Any]

NO_MEDIUM = "none"


def build_disk(data: Data) -> Disk:
    """Return the disk of an entry of `disks`."""
    get, source = data.get, data.get("source", {})
    clone = source.get("clone")
    return Disk(
        name=data["name"],
        bus=get("bus"),
        size=build_size(get("size")),
        format=get("format"),
        source=source.get("path"),
        cache=get("cache"),
        io=get("io"),
        discard=get("discard"),
        serial=get("serial"),
        boot=build_number(get("boot")),
        readonly=get("readonly"),
        shareable=get("shareable"),
        target=get("target"),
        pool=source.get("pool", get("pool")),
        volume=source.get("volume"),
        template=source.get("template"),
        clone=None if clone is None else CloneMode(clone),
    )


def build_cdrom(data: Data) -> Cdrom:
    """Return the drive of an entry of `cdroms`."""
    get, media = data.get, data.get("media")
    given = media if isinstance(media, dict) else {"path": _medium(media)}
    return Cdrom(
        name=data["name"],
        bus=get("bus"),
        media=given.get("path"),
        boot=build_number(get("boot")),
        target=get("target"),
        pool=given.get("pool"),
        volume=given.get("volume"),
    )


def build_interface(data: Data) -> Interface:
    """Return the interface of an entry of `interfaces`."""
    get, mac = data.get, data.get("mac")
    return Interface(
        name=data["name"],
        network=get("network"),
        bridge=get("bridge"),
        model=get("model"),
        mac=None if mac is None else mac.lower(),
        link=get("link"),
        boot=build_number(get("boot")),
    )


def _medium(media: Optional[str]) -> Optional[str]:
    return "" if media == NO_MEDIUM else media


def build_number(value: Any) -> Optional[int]:
    """Return a plain int: JSON Schema takes 1.0 for an integer, too."""
    return None if value is None else int(value)


def build_size(text: Optional[str]) -> Optional[int]:
    """Return the bytes, if there is a size."""
    return None if text is None else parse_size(text)
