"""The devices of an exported manifest: all that it has words for, and a name for each. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from reconciler.core.model import Cdrom, Disk, Interface, Machine
from reconciler.core.needs import size_key
from reconciler.core.planning.images import named_volume
from reconciler.core.units import format_size
from reconciler.core.world import World

_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,39}")
_KIB = 1024  # sizes that are no whole number of these have no spelling

Spec = Dict[str, Any]


def given(values: Spec) -> Spec:
    """Leave out what is None."""
    return {key: value for key, value in values.items() if value is not None}


def export_disks(machine: Machine, sizes: Mapping[str, int], around: World) -> Optional[List[Spec]]:
    """Return the entries of `disks`; None if there is no disk."""
    names = _drive_names(machine, machine.disks or ())
    found = zip(names, machine.disks or ())
    return [_export_disk(name, one, sizes, around) for name, one in found] or None


def _export_disk(name: str, disk: Disk, sizes: Mapping[str, int], around: World) -> Spec:
    size, source = sizes.get(size_key(disk)), _source(disk.source, around)
    return given(
        {
            "name": name,
            "bus": disk.bus,
            "size": None if size is None or size % _KIB else format_size(size),
            "format": disk.format,
            "source": source,
            "target": disk.target if source is None or name not in _own_names(disk) else None,
            "cache": disk.cache,
            "io": disk.io,
            "discard": disk.discard,
            "serial": disk.serial,
            "boot": disk.boot,
            "readonly": disk.readonly or None,
        }
    )


def _source(source: Optional[str], around: World) -> Optional[Spec]:
    """Return what a manifest can say of a source: a path, or a volume that is there."""
    if is_path(source):
        return {"path": source}
    if named_volume(around, source) is None:
        return None
    pool, _, volume = str(source).partition("/")
    return {"volume": volume, "pool": pool}


def is_path(source: Optional[str]) -> bool:
    """Whether the source is a path of the host."""
    return (source or "").startswith("/")


def export_cdroms(machine: Machine, around: World) -> Optional[List[Spec]]:
    """Return the entries of `cdroms`; None if there is no drive."""
    names = _drive_names(machine, machine.cdroms or ())
    return [_export_cdrom(*one, around) for one in zip(names, machine.cdroms or ())] or None


def _export_cdrom(name: str, cdrom: Cdrom, around: World) -> Spec:
    medium: Any = cdrom.media if is_path(cdrom.media) else _source(cdrom.media, around)
    unsaid = medium is None and cdrom.media != ""
    return given(
        {
            "name": name,
            "bus": cdrom.bus,
            "media": "none" if cdrom.media == "" else medium,
            "boot": cdrom.boot,
            "target": cdrom.target if unsaid or name not in _own_names(cdrom) else None,
        }
    )


def export_interfaces(machine: Machine) -> Optional[List[Spec]]:
    """Return all interfaces, or None if one is of a kind that a manifest cannot say."""
    found = machine.interfaces or ()
    if any(is_foreign_interface(one) for one in found):
        return None
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
        for name, one in zip(_interface_names(machine), found)
    ]


def is_foreign_interface(interface: Interface) -> bool:
    """Whether the interface hangs on neither a libvirt network nor a bridge."""
    return not (interface.network or interface.bridge)


def _own_names(drive: Union[Disk, Cdrom]) -> Sequence[Optional[str]]:
    return (drive.alias or drive.target,)


def _aliases(machine: Machine) -> Iterable[str]:
    """Yield the names that other devices bear already, and that no device can lose."""
    for kind in (machine.disks, machine.cdroms, machine.interfaces):
        yield from (one.alias for one in kind or () if one.alias)


def _drive_names(machine: Machine, drives: Sequence[Union[Disk, Cdrom]]) -> List[str]:
    """Return the alias, else the target, by which the drive is found again."""
    taken = set(_aliases(machine))
    return [
        one.alias or (f"drive-{one.target}" if one.target in taken else one.target or "")
        for one in drives
    ]


def _interface_names(machine: Machine) -> List[str]:
    """Return the alias, else the network's name, else a number; the MAC finds it again."""
    interfaces = machine.interfaces or ()
    taken = {*_drive_names(machine, machine.disks or ()), *_aliases(machine)}
    taken.update(_drive_names(machine, machine.cdroms or ()))
    wanted = [one.network or one.bridge or "" for one in interfaces]
    seen = Counter([*wanted, *taken])
    return [
        one.alias or (name if seen[name] == 1 and _NAME.fullmatch(name) else f"nic{index}")
        for index, (name, one) in enumerate(zip(wanted, interfaces))
    ]
