"""Which facts of the host a plan of these manifests depends on. Pure.

A plan in which nothing changes asks for the domains and nothing else; that is what keeps it fast.
To ask for too much costs time; to ask for too little is a wrong plan, so doubt asks.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from enum import Enum
from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Set, Tuple, Union

from reconciler.core.field_table import OFFERED
from reconciler.core.machine import Cdrom, Disk, Disruption, Machine, Power
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import IMAGES, Owner, volume_name
from reconciler.core.world import LostMachine, Reading, Unknown
from reconciler.kinds.machine.differences import Difference, DifferenceKind, compare
from reconciler.kinds.machine.domain.firmware import settle_firmware
from reconciler.kinds.machine.match import align, align_live, by_name
from reconciler.kinds.machine.planning.images import DEFAULT_POOL
from reconciler.kinds.machine.planning.requirements import find_boot_files
from reconciler.kinds.machine.status import is_unfinished

Readings = Mapping[str, Union[Reading, Unknown]]

NONE_LOST: Mapping[str, LostMachine] = {}
_DEVICES = ("disks[]", "cdroms[]", "interfaces[]")
_OFFERS = frozenset({*_DEVICES, "disks[].bus", *OFFERED})
_VOLUMES = frozenset({"disks[]", "disks[].size", "disks[].source", "power"})


@dataclass(frozen=True)
class Needs:
    """What to read: `machines` are machine types, `claims` means the XML of every domain.

    `pools` are names; `all_pools` asks for every active one. `jobs` are the active domains of which
    something is to be changed, and those that are off and are to be started: what was last done to
    them matters. `images` are those whose disks' images are to be inspected.
    `memory`, `devices` and `files` (paths) are what else of the host a guest needs.
    """

    machines: FrozenSet[str] = frozenset()
    pools: FrozenSet[str] = frozenset()
    all_pools: bool = False
    networks: bool = False
    claims: bool = False
    jobs: FrozenSet[str] = frozenset()
    images: FrozenSet[str] = frozenset()
    memory: bool = False
    devices: bool = False
    files: FrozenSet[str] = frozenset()


def find_sizes(desired: Desired, readings: Readings) -> Mapping[str, Tuple[str, ...]]:
    """Return domain → keys (see `size_key`) of the disks whose size the plan needs or shows."""
    sizes: Dict[str, Tuple[str, ...]] = {}
    for manifest in desired.machines:
        reading = readings.get(manifest.name)
        if isinstance(reading, Reading):
            sizes[manifest.name] = tuple(sorted(_sized(manifest.machine, reading)))
    return {name: targets for name, targets in sizes.items() if targets}


def _sized(wanted: Machine, reading: Reading) -> Set[str]:
    named = {disk.name for disk in wanted.disks or ()}
    managed = {disk.name for disk in wanted.disks or () if disk.size is not None}
    found = [disk for side in _align(wanted, reading) for disk in side.disks or ()]
    if not managed.issubset(one.name for one in found):
        # What is named by its volume or image is found once that is known, which it is not yet.
        return {size_key(one) for one in found if managed}
    # What is to be removed is shown with what it is.
    removed = {one.name for one in found} - named if wanted.disks is not None else set()
    return {size_key(one) for one in found if one.name in managed | removed}


def _align(wanted: Machine, reading: Reading) -> List[Machine]:
    """Return the stored and, if there is one, the running configuration, devices named alike."""
    stored = align(wanted, reading.persistent)
    if reading.live is None:
        return [stored]
    return [stored, align_live(wanted, stored, reading.live)]


def size_key(disk: Disk) -> str:
    """Return by what a disk's size is asked for: its path, else its target.

    The path is the same in both configurations, where a changed bus changes the target.
    """
    is_path = (disk.source or "").startswith("/")
    return (disk.source if is_path else disk.target) or ""


def find_needs(
    desired: Desired, readings: Readings, lost: Mapping[str, LostMachine] = NONE_LOST
) -> Needs:
    """Return what the plan depends on, given the domains with their disk sizes."""
    parts = [
        _needs_of(machine, desired, readings.get(machine.name), lost.get(machine.name))
        for machine in desired.machines
    ]
    return Needs(
        frozenset().union(*(part.machines for part in parts)),
        frozenset().union(*(part.pools for part in parts)),
        any(part.all_pools for part in parts),
        any(part.networks for part in parts),
        any(part.claims for part in parts),
        frozenset().union(*(part.jobs for part in parts)),
        frozenset().union(*(part.images for part in parts)),
        any(part.memory for part in parts),
        any(part.devices for part in parts),
        frozenset().union(*(part.files for part in parts)),
    )


def _needs_of(
    manifest: MachineManifest,
    desired: Desired,
    reading: Union[Reading, Unknown, None],
    lost: Optional[LostMachine] = None,
) -> Needs:
    machine = manifest.machine
    if isinstance(reading, Unknown):
        return Needs()
    if reading is None or is_unfinished(reading):
        former = lost.reading if lost else None
        types = {machine.machine or "", (former and former.persistent.machine) or ""}
        return Needs(
            frozenset(types if former else {machine.machine or ""}),
            _pools(machine, machine.disks or (), desired)
            | (find_pools(former) if former else frozenset()),
            all_pools=former is not None or _needs_all_pools(machine.disks or (), desired),
            networks=True,
            claims=True,
            memory=True,
            devices=_has_bridge(machine),
            files=_files_of(machine),
        )
    return _needs_of_change(manifest, desired, reading)


def _needs_of_change(manifest: MachineManifest, desired: Desired, reading: Reading) -> Needs:
    machine = manifest.machine
    differences = _differences(machine, reading)
    starts = _may_start(manifest, differences, reading)
    fields = {difference.field for difference in differences}
    added = [difference.item for difference in differences if difference.kind is DifferenceKind.ADD]
    disks = [one for one in added if isinstance(one, Disk)]
    unfinished = bool(reading.owner and reading.owner.creating)
    strayed = find_strayed(machine.disks or (), reading)
    changes_images = any(
        field.startswith("disks[") or field in ("power", "cdroms[].media") for field in fields
    )
    return Needs(
        _find_types(machine, fields, reading, starts=starts),
        _pools(machine, machine.disks or () if unfinished else disks, desired)
        | (find_pools(reading) if starts else _pools_found(machine, reading)),
        all_pools=bool(fields & _VOLUMES) or unfinished or Stray.MOVED in strayed,
        networks=starts or any(field.startswith("interfaces[]") for field in fields),
        claims=bool(added or fields & _VOLUMES) or unfinished or _is_marked_otherwise(reading),
        jobs=frozenset({machine.name} if _asks_job(fields, reading) else ()),
        images=frozenset({machine.name} if strayed or changes_images or unfinished else ()),
        memory=starts or any(field.startswith("memory.") for field in fields),
        devices=_needs_devices(machine, reading, fields, starts=starts),
        files=_find_files(machine, differences, reading, starts=starts),
    )


def _may_start(manifest: MachineManifest, differences: List[Difference], reading: Reading) -> bool:
    """Whether the plan may start the guest, now or after it was shut down."""
    may_restart = manifest.lifecycle.disruption in (Disruption.RESTART, Disruption.WINDOW)
    return (may_restart and reading.is_active and bool(differences)) or any(
        difference.field == "power" and difference.desired == Power.RUNNING.value
        for difference in differences
    )


def _find_types(
    machine: Machine, fields: Set[str], reading: Reading, *, starts: bool
) -> FrozenSet[str]:
    """Return the machine types of which is asked what the host offers for them."""
    found = reading.persistent.machine or ""
    types = {found} if starts or fields & _OFFERS or _changes_cpus(fields) else set()
    if "machine" in fields and machine.machine:
        types.add(machine.machine)
    return frozenset(types)


def _changes_cpus(fields: Set[str]) -> bool:
    return any(field.startswith("cpus.") for field in fields)


def _has_bridge(*machines: Machine) -> bool:
    return any(interface.bridge for machine in machines for interface in machine.interfaces or ())


def _needs_devices(machine: Machine, reading: Reading, fields: Set[str], *, starts: bool) -> bool:
    if starts:
        return _has_bridge(machine, reading.persistent)
    return _has_bridge(machine) and bool(fields & {"interfaces[]", "interfaces[].bridge"})


def _files_of(machine: Machine) -> FrozenSet[str]:
    """Return the paths of images and media that a machine names."""
    named = [disk.source for disk in machine.disks or ()]
    named += [cdrom.media for cdrom in machine.cdroms or ()]
    return frozenset(one for one in named if one and one.startswith("/"))


def _find_files(
    machine: Machine, differences: List[Difference], reading: Reading, *, starts: bool
) -> FrozenSet[str]:
    if starts:
        images = _files_of(machine) | _files_of(reading.persistent)
        return images | find_boot_files(reading.view.persistent_xml)
    names = {difference.device for difference in differences if difference.field in _FILES}
    items = [difference.item for difference in differences if difference.field == "disks[].size"]
    grown = {item.source for item in items if isinstance(item, Disk) and item.source}
    disks = tuple(disk for disk in machine.disks or () if disk.name in names)
    cdroms = tuple(cdrom for cdrom in machine.cdroms or () if cdrom.name in names)
    touched = _files_of(Machine(machine.name, disks=disks, cdroms=cdroms))
    return touched | {one for one in grown if one.startswith("/")}


# What of a drive asks for a file that the host must have.
_FILES = frozenset({"disks[]", "disks[].source", "cdroms[]", "cdroms[].media"})


class Stray(Enum):
    """Why a disk's image is to be inspected: it was moved, or nobody knows where it came from."""

    MOVED = "moved"
    UNKNOWN = "unknown"


def find_strayed(disks: Iterable[Disk], reading: Reading) -> FrozenSet[Stray]:
    """Return why images of the domain have to be inspected; empty where each is as it was named.

    `disks` are the manifest's. Names are compared as text, which costs nothing.
    """
    wanted = Machine(reading.view.name, disks=tuple(disks))
    sides = _align(wanted, reading)
    found = (
        _find_stray(reading.owner, disk, by_name(side.disks, disk.name))
        for side in sides
        for disk in wanted.disks or ()
    )
    return frozenset(one for one in found if one is not None)


def _find_stray(owner: Optional[Owner], disk: Disk, observed: Optional[Disk]) -> Optional[Stray]:
    source = (observed.source if observed else None) or ""
    if not source:
        return None
    if disk.source is not None:
        return Stray.MOVED if source != disk.source else None
    if disk.volume is not None:
        return Stray.MOVED if posixpath.basename(source) != disk.volume else None
    made = owner.made if owner else ()
    if source in made or not source.startswith("/"):
        return None
    known = owner.names if owner else ()
    names = {volume_name(one, disk.name, image) for one in known for image in IMAGES}
    return Stray.MOVED if any(posixpath.basename(one) in names for one in made) else Stray.UNKNOWN


def _is_marked_otherwise(reading: Reading) -> bool:
    """Whether the domain bears another's mark: of a copy or of its former name, the others tell."""
    return reading.owner is not None and reading.owner.name != reading.view.name


def _asks_job(fields: Set[str], reading: Reading) -> bool:
    return bool(fields) if reading.is_active else "power" in fields


def _differences(machine: Machine, reading: Reading) -> List[Difference]:
    sides = (settle_firmware(machine.firmware, side) for side in _align(machine, reading))
    return [one for side in sides for one in compare(machine, side)]


def _pools(machine: Machine, new: Iterable[Disk], desired: Desired) -> FrozenSet[str]:
    """Return the pools of new disks, of their templates, and of volumes named outright."""
    named: List[Union[Disk, Cdrom]] = [*(machine.disks or ()), *(machine.cdroms or ())]
    pools = {one.pool or DEFAULT_POOL for one in named if one.volume is not None}
    for disk in new:
        pools.add(disk.pool or DEFAULT_POOL)
        template = desired.template(disk.template or "")
        if template is not None and template.volume is not None:
            pools.add(template.pool or DEFAULT_POOL)
    return frozenset(pools)


def _pools_found(machine: Machine, reading: Reading) -> FrozenSet[str]:
    """Return the pools of volumes that the domain names and the manifest as well, by path or not.

    A path and a volume of a pool are the same image only for him who has read the pool.
    """
    wanted = any(disk.source or disk.volume for disk in machine.disks or ())
    wanted = wanted or any(cdrom.media or cdrom.volume for cdrom in machine.cdroms or ())
    return find_pools(reading) if wanted else frozenset()


def with_pools_of(needs: Needs, readings: Readings) -> Needs:
    """Return the needs, and the pools that every domain names where who uses an image matters."""
    if not needs.claims:
        return needs
    pools = (find_pools(reading) for reading in readings.values() if isinstance(reading, Reading))
    return replace(needs, pools=needs.pools.union(*pools))


def find_pools(reading: Reading) -> FrozenSet[str]:
    """Return the pools that a domain's disks and media name."""
    sides = (reading.persistent, reading.live or reading.persistent)
    found = [disk.source for side in sides for disk in side.disks or ()]
    found += [cdrom.media for side in sides for cdrom in side.cdroms or ()]
    names = ((one or "").partition("/")[0] for one in found)
    return frozenset(name for name in names if name and ":" not in name)


def _needs_all_pools(new: Iterable[Disk], desired: Desired) -> bool:
    """Whether a template's image, or a foreign image's format, must be looked for everywhere."""
    templates = (desired.template(one.template or "") for one in new)
    found = any(template is not None and template.volume is None for template in templates)
    return found or any(one.source is not None for one in new)


def find_template_domains(desired: Desired) -> FrozenSet[str]:
    """Return the domains that templates are taken from."""
    return frozenset(
        template.domain for template in desired.templates if template.domain is not None
    )


def clones_by_sharing(desired: Desired, readings: Readings) -> Tuple[Tuple[str, str], ...]:
    """Return (pool, template) for new disks that would be cloned by block sharing if possible."""
    pairs = {
        (disk.pool or DEFAULT_POOL, disk.template)
        for manifest in desired.machines
        for disk in manifest.machine.disks or ()
        if disk.template is not None and _is_new(disk, readings.get(manifest.name))
    }
    return tuple(sorted(pairs))


def _is_new(disk: Disk, reading: Optional[Union[Reading, Unknown]]) -> bool:
    if not isinstance(reading, Reading):
        return reading is None
    unfinished = bool(reading.owner and (reading.owner.creating or reading.owner.is_unfinished))
    there = by_name(align(Machine("", disks=(disk,)), reading.persistent).disks, disk.name)
    return unfinished or there is None
