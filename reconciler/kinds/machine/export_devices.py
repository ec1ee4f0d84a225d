"""The devices of an exported manifest: all that it has words for, and a name for each. Pure."""

from __future__ import annotations

import posixpath
from collections import Counter
from typing import (
    Any,
    Collection,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.core.field_table import in_order, named
from reconciler.core.fields import Field
from reconciler.core.frozen import regex
from reconciler.core.images import DEFAULT_POOL
from reconciler.core.machine import Cdrom, Disk, Interface, Machine
from reconciler.core.units import format_size
from reconciler.core.world import PoolView, Reading, VolumeView, World, size_key
from reconciler.kinds.machine.match import Device
from reconciler.kinds.machine.planning.disk_images import is_snapshot_file
from reconciler.kinds.machine.planning.images import named_volume

_NAME = regex(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,39}")
_VOLUME = regex(r"[^./<>&'\"\x00-\x1f\x7f][^/<>&'\"\x00-\x1f\x7f]{0,254}")
# Others name their volumes by what the host finds at a start (`unit:0:0:1`).
_LASTING_POOLS = frozenset({"dir", "fs", "netfs", "logical"})
_KIB = 1024  # sizes that are no whole number of these have no spelling

DeviceSpec = Dict[str, Any]


def _find_others(kind: type, prefix: str, by_hand: Collection[str]) -> Tuple[Field, ...]:
    """Return the fields of a device that are exported as the table says."""
    return in_order(kind, (field for field in named(prefix) if field.name not in by_hand))


_DISK = _find_others(Disk, "disks[].", ("bus", "size", "format", "target"))
_CDROM = _find_others(Cdrom, "cdroms[].", ("bus", "target"))
_INTERFACE = _find_others(Interface, "interfaces[].", ("network", "bridge"))


def _show_others(device: Device, table: Sequence[Field]) -> DeviceSpec:
    """Return these fields as the manifest writes them, without what their absence means."""
    values = ((field, getattr(device, field.name)) for field in table)
    return {
        field.key: field.notation.show(value)
        for field, value in values
        if field.notation is not None and value not in (None, field.absent)
    }


def given(values: DeviceSpec) -> DeviceSpec:
    """Leave out what is None."""
    return {key: value for key, value in values.items() if value is not None}


def export_disks(
    reading: Reading, sizes: Mapping[str, int], around: World
) -> Optional[List[DeviceSpec]]:
    """Return the entries of `disks`; None if there is no disk."""
    machine = reading.persistent
    names = _drive_names(machine, machine.disks or ())
    own = _find_own(reading)
    return [
        _export_disk(machine.name, name, disk, sizes, around, own)
        for name, disk in zip(names, machine.disks or ())
    ] or None


def _find_own(reading: Reading) -> FrozenSet[str]:
    """Return the images that were made for the machine, which need no source."""
    owner = reading.owner
    is_ours = owner is not None and owner.name == reading.view.name
    return frozenset(owner.made if owner and is_ours else ())


def find_image(domain: str, disk: Disk, around: World) -> Optional[str]:
    """Return the disk's image; below external snapshots, which come and go, the one they are of."""
    chain = around.images.find_chain(disk.source or "", disk.format or "")
    image = disk.source
    for above, below in zip(chain, chain[1:]):
        is_known = around.images.find_snapshot(domain, disk.target or "", above) is not None
        if not (is_path(below) and (is_known or is_snapshot_file(above, below))):
            break
        image = below
    return image


def _find_format(image: Optional[str], around: World) -> Optional[str]:
    volume, view = find_volume_of(image, around), around.images.views.get(image or "")
    return (volume.format if volume else None) or (view.format if view else None) or None


def _export_disk(
    domain: str,
    name: str,
    disk: Disk,
    sizes: Mapping[str, int],
    around: World,
    own: FrozenSet[str],
) -> DeviceSpec:
    image = find_image(domain, disk, around)
    size, source = sizes.get(size_key(disk)), _source(image, around)
    is_own = image in own and disk.alias == name and bool(size) and not (size or 0) % _KIB
    pool = (source or {}).get("pool") if is_own else None
    if is_own and pool is not None:
        source = None
    return given(
        {
            "name": name,
            "bus": disk.bus,
            "size": None if not size or size % _KIB else format_size(size),
            "format": disk.format if image == disk.source else _find_format(image, around),
            "pool": pool if pool != DEFAULT_POOL else None,
            "source": source,
            "target": disk.target if not (pool or source) or name != own_name(disk) else None,
            **_show_others(disk, _DISK),
        }
    )


def _source(source: Optional[str], around: World) -> Optional[DeviceSpec]:
    """Return what a manifest can say of a source: a volume of a pool, else a path."""
    volume = find_volume_of(source, around)
    if volume is not None:
        return {"volume": volume.name, "pool": volume.pool}
    return {"path": source} if is_path(source) else None


def find_volume_of(source: Optional[str], around: World) -> Optional[VolumeView]:
    """Return the volume that a domain names by its path or its pool; of two, the default pool's.

    A volume stays right when its pool moves. Not in pools that name volumes as the host finds them.
    """
    if not is_path(source):
        return named_volume(around, source)
    path = posixpath.normpath(str(source))
    found = [
        volume
        for pool in around.pools.values()
        if isinstance(pool, PoolView) and pool.type in _LASTING_POOLS
        for volume in pool.volumes.values()
        if volume.path == path and _VOLUME.fullmatch(volume.name)
    ]
    return min(found, key=lambda volume: (volume.pool != DEFAULT_POOL, volume.pool), default=None)


def is_path(source: Optional[str]) -> bool:
    """Whether the source is a path of the host."""
    return (source or "").startswith("/")


def export_cdroms(machine: Machine, around: World) -> Optional[List[DeviceSpec]]:
    """Return the entries of `cdroms`; None if there is no drive."""
    names = _drive_names(machine, machine.cdroms or ())
    drives = zip(names, machine.cdroms or ())
    return [_export_cdrom(name, cdrom, around) for name, cdrom in drives] or None


def _export_cdrom(name: str, cdrom: Cdrom, around: World) -> DeviceSpec:
    volume = None if is_path(cdrom.media) else named_volume(around, cdrom.media)
    medium: Any = {"volume": volume.name, "pool": volume.pool} if volume else cdrom.media or None
    medium = medium if volume or is_path(cdrom.media) else None
    unsaid = medium is None and cdrom.media != ""
    return given(
        {
            "name": name,
            "bus": cdrom.bus,
            "media": "none" if cdrom.media == "" else medium,
            **_show_others(cdrom, _CDROM),
            "target": cdrom.target if unsaid or name != own_name(cdrom) else None,
        }
    )


def export_interfaces(machine: Machine) -> List[DeviceSpec]:
    """Return the entries of `interfaces`: all of them, so that the list is complete."""
    found = zip(_interface_names(machine), machine.interfaces or ())
    return [_export_interface(name, interface) for name, interface in found]


def _export_interface(name: str, interface: Interface) -> DeviceSpec:
    if is_foreign_interface(interface):
        return given({"name": name, "mac": interface.mac})
    return given(
        {
            "name": name,
            "network": interface.network,
            "bridge": None if interface.network else interface.bridge,
            **_show_others(interface, _INTERFACE),
        }
    )


def is_foreign_interface(interface: Interface) -> bool:
    """Whether the interface is on neither a libvirt network nor a bridge."""
    return not (interface.network or interface.bridge)


def own_name(drive: Union[Disk, Cdrom]) -> Optional[str]:
    """Return the name by which the drive is found again without any further word."""
    return drive.alias or drive.target


def _aliases(machine: Machine) -> Iterable[str]:
    """Yield the names that other devices bear already, and that no device can lose."""
    for kind in (machine.disks, machine.cdroms, machine.interfaces):
        yield from (device.alias for device in kind or () if device.alias)


def _fit_alias(device: Union[Disk, Cdrom, Interface]) -> Optional[str]:
    """Return the alias, if a manifest can hold it; other tools write any length."""
    return device.alias if device.alias and _NAME.fullmatch(device.alias) else None


def _drive_names(machine: Machine, drives: Sequence[Union[Disk, Cdrom]]) -> List[str]:
    """Return the alias, else the target, by which the drive is found again."""
    taken = set(_aliases(machine))
    return [
        _fit_alias(drive)
        or (f"drive-{drive.target}" if drive.target in taken else drive.target or "")
        for drive in drives
    ]


def _interface_names(machine: Machine) -> List[str]:
    """Return the alias, else the network's name, else a number; the MAC finds it again."""
    interfaces = machine.interfaces or ()
    taken = {*_drive_names(machine, machine.disks or ()), *_aliases(machine)}
    taken.update(_drive_names(machine, machine.cdroms or ()))
    wanted = [interface.network or interface.bridge or "" for interface in interfaces]
    seen = Counter([*wanted, *taken])
    return [
        _fit_alias(interface)
        or (name if seen[name] == 1 and _NAME.fullmatch(name) else _number(index, taken))
        for index, (name, interface) in enumerate(zip(wanted, interfaces))
    ]


def _number(index: int, taken: Collection[str]) -> str:
    name = f"nic{index}"
    return name if name not in taken else f"nic-{index}"
