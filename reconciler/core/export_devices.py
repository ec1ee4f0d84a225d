"""The devices of an exported manifest, and what a manifest has no word for. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence

from reconciler.core.model import Cdrom, Disk, Interface, Machine
from reconciler.core.needs import size_key
from reconciler.core.units import format_size

# What the manifest's schema has a word for; another value is left out, and a remark says so.
WORDS: Mapping[str, FrozenSet[str]] = {
    "bus": frozenset({"virtio", "scsi", "sata", "ide", "usb"}),
    "format": frozenset({"qcow2", "raw"}),
    "graphics": frozenset({"vnc", "spice", "none"}),
    "video": frozenset({"virtio", "vga", "bochs", "qxl", "cirrus", "none"}),
}
_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,39}")
_SERIAL = re.compile(r"[A-Za-z0-9_.+-][A-Za-z0-9 _.+-]{0,35}")
_KIB = 1024  # sizes that are no whole number of these have no spelling

Spec = Dict[str, Any]


def given(values: Spec) -> Spec:
    """Leave out what is None."""
    return {key: value for key, value in values.items() if value is not None}


def word(field: str, value: Optional[str]) -> Optional[str]:
    """Return the value if a manifest has a word for it."""
    return value if value in WORDS[field] else None


def export_disk(disk: Disk, sizes: Mapping[str, int]) -> Spec:
    """Return an entry of `disks`."""
    size = sizes.get(size_key(disk))
    return given(
        {
            "name": disk.name,
            "bus": word("bus", disk.bus),
            "size": None if size is None or size % _KIB else format_size(size),
            "format": word("format", disk.format),
            "source": _source(disk.source),
            "target": disk.target if _source(disk.source) is None else None,
            "cache": disk.cache,
            "io": disk.io,
            "discard": disk.discard if disk.discard != "unmap" else None,
            "serial": disk.serial if has_plain_serial(disk) else None,
            "boot": disk.boot,
            "readonly": disk.readonly or None,
        }
    )


def _source(source: Optional[str]) -> Optional[Spec]:
    if is_path(source):
        return {"path": source}
    if not is_volume(source):
        return None
    pool, _, volume = str(source).partition("/")
    return {"volume": volume, "pool": pool}


def has_plain_serial(disk: Disk) -> bool:
    """Whether a manifest may hold the disk's serial number."""
    return _SERIAL.fullmatch(disk.serial or "") is not None


def is_path(source: Optional[str]) -> bool:
    """Whether the source is a path of the host."""
    return (source or "").startswith("/")


def is_volume(source: Optional[str]) -> bool:
    """Whether the source is POOL/VOLUME."""
    pool, slash, _ = (source or "").partition("/")
    return bool(pool and slash) and ":" not in pool


def export_cdrom(cdrom: Cdrom) -> Spec:
    """Return an entry of `cdroms`."""
    medium: Any = cdrom.media if is_path(cdrom.media) else _source(cdrom.media)
    return given(
        {
            "name": cdrom.name,
            "bus": word("bus", cdrom.bus),
            "media": "none" if cdrom.media == "" else medium,
            "boot": cdrom.boot,
        }
    )


def export_interfaces(machine: Machine) -> Optional[List[Spec]]:
    """Return all interfaces, or None if one is of a kind that a manifest cannot say."""
    found = machine.interfaces or ()
    if any(is_foreign_interface(one) for one in found):
        return None
    drives = [one.name for one in machine.disks or ()]
    drives += [one.name for one in machine.cdroms or ()]
    names = _interface_names(found, drives)
    return [
        given(
            {
                "name": name,
                "network": one.network,
                "bridge": None if one.network else one.bridge,
                "model": one.model,
                "mac": one.mac,
                "link": one.link if one.link != "up" else None,
                "boot": one.boot,
            }
        )
        for name, one in zip(names, found)
    ]


def is_foreign_interface(interface: Interface) -> bool:
    """Whether the interface hangs on neither a libvirt network nor a bridge."""
    return not (interface.network or interface.bridge)


def _interface_names(interfaces: Sequence[Interface], taken: Sequence[str]) -> List[str]:
    """Return the alias, else the network's name, else a number; the MAC finds it again."""
    wanted = [one.alias or one.network or one.bridge or "" for one in interfaces]
    seen = Counter([*wanted, *taken])
    return [
        name if seen[name] == 1 and _NAME.fullmatch(name) else f"nic{index}"
        for index, name in enumerate(wanted)
    ]
