"""What a plan needs of the host, asked for before anything is done. Pure.

What is lacking for a step of this plan refuses it, with the command that helps; what only a later
start lacks is a note. What could not be seen is not said to be lacking.
"""

from __future__ import annotations

import shlex
from typing import Dict, FrozenSet, Iterable, Iterator, List, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.images import FILE_POOLS, is_path
from reconciler.core.machine import Disk, Machine
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Action, Change, CreateVolume, Define, Effect, Start
from reconciler.core.units import KIB, format_size
from reconciler.core.world import FileKind, MachineCaps, PoolView, Reading, Unknown, World
from reconciler.core.xmltree import Element, parse
from reconciler.errors import MissingError, TerminalError
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import align
from reconciler.kinds.machine.planning.images import volume_at, with_own_images

# Files besides disks that QEMU opens at the start: the element, and the attribute or its text.
_BOOT_FILES: Tuple[Tuple[str, str], ...] = (
    ("devices/emulator", ""),
    ("os/kernel", ""),
    ("os/initrd", ""),
    ("os/dtb", ""),
    ("os/loader", ""),
    ("os/nvram", "template"),
)


@frozen
class Lack:
    """One thing that the host has not; `of` is the device or group of fields that needs it.

    `is_for_good` says that only another manifest or definition helps.
    """

    of: str
    text: str
    is_for_good: bool = False


def settle_requirements(action: Action, manifest: MachineManifest, world: World) -> Action:
    """Return the action with a note for each lack that only a later start has.

    Raises MissingError, or TerminalError where trying again cannot help, for what its own steps
    lack.
    """
    if not action.steps:
        return action
    xml = _find_definition(action, world)
    lacks = [*_find_space(action, world)]
    notes = [*_find_thin(action, world)]
    if xml is not None:
        touched = _find_touched(action)
        for lack in _find_lacks(xml, manifest, world, _find_made(action, world), touched):
            # Growing an image opens it and all that is below it.
            grows = lack.of.startswith("disks[") and f"{lack.of}.size" in touched.paths
            is_refused = touched.starts or grows or lack.of in touched.now
            if is_refused or (lack.is_for_good and lack.of in touched.later):
                lacks.append(lack)
            elif lack.of in touched.later:
                notes.append(f"it cannot start: {lack.text}")
    if lacks:
        kind = TerminalError if any(lack.is_for_good for lack in lacks) else MissingError
        raise kind("; ".join(dict.fromkeys(lack.text for lack in lacks)))
    return replace(action, notes=(*action.notes, *notes))


@frozen
class _Touched:
    """What an action changes, so that only what that needs is asked for.

    `starts` says that it starts the guest, which needs everything. `now` and `later` are devices
    (`disks[root]`) and groups (`memory`) that change at once, or for the next start; `paths` are
    their fields.
    """

    starts: bool
    now: FrozenSet[str]
    later: FrozenSet[str]
    paths: FrozenSet[str]

    def has(self, of: str, *leaves: str) -> bool:
        """Whether the guest is started, or the device or group changes: in one of these fields."""
        if self.starts:
            return True
        if of not in self.now and of not in self.later:
            return False
        return not leaves or any(f"{of}{leave}" in self.paths for leave in leaves)


def _find_touched(action: Action) -> _Touched:
    effects = {Effect.LIVE, Effect.OFFLINE, Effect.NEXT_BOOT}
    return _Touched(
        any(isinstance(step, Start) for step in action.steps),
        _list_touched(action.changes, {Effect.LIVE}),
        _list_touched(action.changes, {Effect.OFFLINE, Effect.NEXT_BOOT}),
        frozenset(change.path for change in action.changes if change.effect in effects),
    )


def _find_lacks(
    xml: str, manifest: MachineManifest, world: World, made: FrozenSet[str], touched: _Touched
) -> Tuple[Lack, ...]:
    """Return what the host lacks to start the definition; `made` are images that will be made."""
    root = parse(xml)
    reading = world.domains.get(manifest.name)
    world = with_own_images(world, reading if isinstance(reading, Reading) else None)
    machine = align(manifest.machine, read_machine(root))
    offered = touched.has("machine") or touched.has("cpus")
    return (
        *(_find_memory(machine, world) if touched.has("memory") else ()),
        *(_find_offer(root, machine, world) if offered else ()),
        *_find_uplinks(machine, world, touched),
        *_find_images(root, machine, world, made, touched),
        *(_find_boot_files(root, world) if touched.starts else ()),
    )


def find_files(xml: str) -> FrozenSet[str]:
    """Return the paths that a start of the definition needs."""
    root = parse(xml)
    machine = read_machine(root)
    named = [disk.source or "" for disk in machine.disks or ()]
    named += [cdrom.media or "" for cdrom in machine.cdroms or ()]
    named += [path for _, path in _boot_files(root)]
    return frozenset(path for path in named if path.startswith("/"))


def _find_definition(action: Action, world: World) -> Optional[str]:
    defined = [step.xml for step in action.steps if isinstance(step, Define)]
    if defined:
        return defined[-1]
    reading = world.domains.get(action.name)
    return reading.view.persistent_xml if isinstance(reading, Reading) else None


def _find_made(action: Action, world: World) -> FrozenSet[str]:
    return frozenset(
        f"{pool.path.rstrip('/')}/{volume.name}"
        for volume in _volumes(action)
        for pool in [world.find_pool(volume.pool)]
        if isinstance(pool, PoolView)
    )


def _list_touched(changes: Tuple[Change, ...], effects: set[Effect]) -> FrozenSet[str]:
    """Return the devices (`disks[root]`) and groups (`memory`) with a change of these effects."""
    paths = (change.path for change in changes if change.effect in effects)
    return frozenset(f"{_head(path)}]" if "[" in path else path.split(".")[0] for path in paths)


def _head(path: str) -> str:
    """Return `disks[root` of `disks[root].source` and of `disks[root]`."""
    return path.split("].")[0].split("]/")[0].rstrip("]")


def _find_memory(machine: Machine, world: World) -> Iterator[Lack]:
    most = (machine.memory and machine.memory.maximum) or 0
    there = world.find_memory()
    if there is not None and most > there:
        yield Lack(
            "memory",
            f"memory: not enough memory for {format_size(most)}: the host has {_show(there)}",
        )


def _find_offer(root: Element, machine: Machine, world: World) -> Iterator[Lack]:
    """Yield what libvirt or QEMU of this host has no more: machine type, CPU model, processors."""
    caps = world.find_machine(machine.machine or "")
    if isinstance(caps, Unknown):
        if not caps.transient:
            yield Lack("machine", f"machine: {caps.reason}", is_for_good=True)
    elif isinstance(caps, MachineCaps):
        yield from _find_cpu(machine, caps, root.get("type") or "")


def _find_cpu(machine: Machine, caps: MachineCaps, domain_type: str) -> Iterator[Lack]:
    cpus = machine.cpus
    if cpus is None:
        return
    if (
        caps.cpu_models
        and cpus.model
        and cpus.mode == "custom"
        and cpus.model not in caps.cpu_models
    ):
        import difflib  # noqa: PLC0415 - start-up time

        near = difflib.get_close_matches(cpus.model, sorted(caps.cpu_models), n=3, cutoff=0.4)
        hint = f"; near it: {', '.join(near)}" if near else ""
        yield Lack("cpus", f"cpus.model: this host has no CPU {cpus.model}{hint}", is_for_good=True)
    if (cpus.maximum or 0) > caps.vcpu_max and domain_type == caps.domain_type:
        text = f"cpus.maximum: {cpus.maximum} is more than the {caps.vcpu_max} of {caps.machine}"
        yield Lack("cpus", text, is_for_good=True)


def _find_uplinks(machine: Machine, world: World, touched: _Touched) -> Iterator[Lack]:
    for interface in machine.interfaces or ():
        device = f"interfaces[{interface.name}]"
        if interface.bridge and touched.has(device, "", ".bridge"):
            text = _find_bridge(interface.bridge, world)
        else:
            text = (
                _find_network(interface.network, world)
                if interface.network and touched.has(device)
                else ""
            )
        if text:
            yield Lack(device, f"{device}.{text}")


def _find_bridge(bridge: str, world: World) -> str:
    devices = world.find_devices()
    if devices is not None and bridge not in devices:
        import difflib  # noqa: PLC0415 - start-up time

        near = difflib.get_close_matches(bridge, sorted(devices), n=3, cutoff=0.5)
        hint = f" (near it: {', '.join(near)})" if near else ""
        make = f"ip link add {bridge} type bridge && ip link set {bridge} up"
        return f"bridge: no bridge {bridge!r} on this host{hint}: {make}"
    return ""


def _find_network(network: str, world: World) -> str:
    networks = world.list_networks()
    if network not in networks:
        there = ", ".join(sorted(networks)) or "none"
        return f"network: no network {network!r} on this host; there are: {there}"
    if not networks[network]:
        start = f"virsh net-start {shlex.quote(network)}"
        return f"network: network {network!r} is not active: {start}"
    return ""


def _find_images(
    root: Element, machine: Machine, world: World, made: FrozenSet[str], touched: _Touched
) -> Iterator[Lack]:
    optional = {
        str(target.get("dev"))
        for target in root.iterfind("devices/disk/target")
        for source in target.itersiblings("source", preceding=True)
        if source.get("startupPolicy") in ("optional", "requisite") or source.get("dir")
    }
    for disk in machine.disks or ():
        device = f"disks[{disk.name}]"
        if disk.source in made or disk.target in optional:
            continue
        if touched.has(device, "", ".source", ".size"):
            yield from _find_image(device, "source", disk.source or "", world)
            yield from _find_below(device, disk, world)
    for cdrom in machine.cdroms or ():
        device = f"cdroms[{cdrom.name}]"
        # A start may do without an optional medium; who puts it in needs it.
        is_needed = cdrom.target not in optional or device in touched.now
        if is_needed and touched.has(device, "", ".media"):
            yield from _find_image(device, "media", cdrom.media or "", world)


def _find_image(device: str, field: str, path: str, world: World) -> Iterator[Lack]:
    found = world.find_file(path) if path.startswith("/") else None
    if found is not None and found.kind is FileKind.MISSING:
        advice = "create it, or name another" if field == "media" else "bring it back"
        yield Lack(device, f"{device}.{field}: {path} does not exist on this host; {advice}")
    elif found is not None and found.kind is FileKind.OTHER:
        yield Lack(device, f"{device}.{field}: {path} is {found.kind.value}")
    name, _, volume = path.partition("/")
    pool = world.find_pool(name) if name and volume and ":" not in name else None
    if isinstance(pool, Unknown):
        yield Lack(device, f"{device}.{field}: storage pool {name!r}: {pool.reason}")


def _find_below(device: str, disk: Disk, world: World) -> Iterator[Lack]:
    """Yield each image below the disk's that is not there: QEMU opens all of them."""
    top = disk.source or ""
    for below in world.images.find_chain(top, disk.format or "")[1:]:
        found = world.find_file(below) if is_path(below) else None
        if found is not None and found.kind is FileKind.MISSING:
            yield Lack(
                device,
                f"{device}.source: {below}, which lies below {top}, does not exist on this host; "
                "bring it back, or if it was moved, keep the old name too: "
                f"ln -s NEW {shlex.quote(below)}",
            )


def _find_boot_files(root: Element, world: World) -> Iterator[Lack]:
    for place, path in _boot_files(root):
        found = world.find_file(path)
        if found is not None and found.kind is FileKind.MISSING:
            name = root.findtext("name", "")
            help_ = f"install it, or change {place}: virsh edit {shlex.quote(name)}"
            yield Lack(place, f"{place}: {path} does not exist on this host; {help_}")


def _boot_files(root: Element) -> Iterator[Tuple[str, str]]:
    for place, attribute in _BOOT_FILES:
        element = root.find(place)
        if element is None:
            continue
        path = element.get(attribute) if attribute else (element.text or "").strip()
        if path and path.startswith("/"):
            yield place, path


def _find_space(action: Action, world: World) -> Iterator[Lack]:
    """Yield the pools that cannot hold what is copied or allocated at once."""
    needed: Dict[str, int] = {}
    costs = [(step.pool, _find_cost(step, world)) for step in _volumes(action)]
    for pool, cost in (*costs, *_find_imports(action)):
        needed[pool] = needed.get(pool, 0) + cost
    for name, size in needed.items():
        free = _find_free(name, world)
        if free is not None and size > free:
            yield Lack(
                "disks",
                f"storage pool {name!r}: the new volumes take {_show(size)} at once, and "
                f"{_show(free)} are free: virsh vol-list {shlex.quote(name)} --details",
            )


def _find_imports(action: Action) -> Iterable[Tuple[str, int]]:
    if not any(type(step).__name__ in _IMPORTING for step in action.steps):
        return ()
    from reconciler.kinds.machine.planning.imported_disks import find_costs  # noqa: PLC0415

    return find_costs(action.steps)


_IMPORTING = ("ImportDisk", "ConvertMachine")


def _find_thin(action: Action, world: World) -> Iterator[str]:
    """Say of each volume that takes its space bit by bit if there is not enough for all of it."""
    for step in _volumes(action):
        free = _find_free(step.pool, world)
        size = step.capacity or 0
        if free is not None and _find_cost(step, world) <= free < size:
            yield (
                f"disks[{step.disk}]: can grow to {format_size(size)}, and storage pool "
                f"{step.pool!r} has {_show(free)} free"
            )


def _volumes(action: Action) -> List[CreateVolume]:
    return [step for step in action.steps if isinstance(step, CreateVolume)]


def _find_free(name: str, world: World) -> Optional[int]:
    pool = world.find_pool(name)
    return pool.available if isinstance(pool, PoolView) else None


def _find_cost(step: CreateVolume, world: World) -> int:
    """Return the bytes that a new volume takes at once."""
    pool = world.find_pool(step.pool)
    if isinstance(pool, PoolView) and pool.type not in FILE_POOLS:
        return step.capacity or 0
    if step.clone == "allocated":
        return step.capacity or 0
    if step.clone != "full":
        return 0
    origin = volume_at(world, step.origin)
    return (origin.allocation if origin and origin.allocation is not None else step.capacity) or 0


def _show(size: int) -> str:
    """Return a size in the largest unit of which there is at least one, rounded down."""
    for unit, factor in (("TiB", KIB**4), ("GiB", KIB**3), ("MiB", KIB**2)):
        if size >= factor:
            return f"{size // factor}{unit}"
    return "less than 1MiB"
