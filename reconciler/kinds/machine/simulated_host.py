"""A host that is exactly as manifests say, for plans where there is no host to ask. Pure.

Each machine is what it would be right after it was created; those that are not kept off run,
because what a change does to a running guest is what a reader wants to know. What only a real host
can tell, what it offers and which blocks it can share, is not known here: it offers everything.
"""

from __future__ import annotations

import posixpath
from typing import Dict, FrozenSet, Iterator, List, Mapping, Set, Tuple, Union

from reconciler.core.frozen import replace
from reconciler.core.images import DEFAULT_POOL, Images, ImageView
from reconciler.core.machine import Cdrom, Cpus, Disk, Memory, Power, chipset_of
from reconciler.core.manifest import Desired, MachineManifest, TemplateManifest
from reconciler.core.plan import Action, CreateVolume, Define
from reconciler.core.preparation import PreparationTools
from reconciler.core.secret_refs import SecretText, seal_secret, write_token
from reconciler.core.world import (
    DomainView,
    GuestState,
    MachineCaps,
    PoolView,
    Reading,
    Unknown,
    VolumeView,
    World,
)
from reconciler.core.xmltree import fragment, make, make_text
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.planning.create import plan_create
from reconciler.kinds.machine.planning.guards import list_refs

ELSEWHERE = "images"  # the pool of what lies at a path of its own
_BUSES = frozenset({"virtio", "scsi", "sata", "usb"})
_MOST = 4096  # processors
_KEY = b"of nobody"  # digests of what is no secret
_SIZE = Memory(2**30)  # of a machine of which the manifest does not say it


def imagine(base: Desired, head: Desired) -> World:
    """Return the world in which all of `base` was applied, with what `head` refers to there too."""
    versions = (base, head)
    pools = _pools(versions)
    refs = [
        ref for side in versions for machine in side.machines for ref in list_refs(machine.machine)
    ]
    world = World(
        "",
        "",
        domains={
            template.domain: _template(template)
            for template in _all_templates(versions)
            if template.domain
        },
        networks=dict.fromkeys(_networks(versions), True),
        pools=pools,
        machines={machine_type: _offer(machine_type) for machine_type in _types(versions)},
        images=_images(versions),
        tools={pool.path: PreparationTools() for pool in pools.values()},
        # Which image a list names only a host can read; any stands for it.
        checksums={template.name: "0" * 64 for template in _all_templates(versions)},
        # There is one at each place, and it is nothing but its name.
        secrets={ref: seal_secret(SecretText(write_token(ref)), _KEY) for ref in refs},
    )
    machines = {machine.name: _create(machine, base, world) for machine in base.machines}
    return replace(world, domains={**world.domains, **machines})


def _create(manifest: MachineManifest, base: Desired, world: World) -> Union[Reading, Unknown]:
    """Return the machine as its creation would have made it."""
    try:
        action = plan_create(_complete(manifest), base, world)
    except ReconcilerError as error:
        return Unknown(f"its state cannot be derived from the manifest: {error}")
    *_, xml = (step.xml for step in action.steps if isinstance(step, Define))
    is_on = manifest.machine.power is not Power.STOPPED
    view = DomainView(
        name=manifest.name,
        uuid=manifest.machine.uuid or "",
        state=GuestState.RUNNING if is_on else GuestState.OFF,
        persistent_xml=xml,
        live_xml=xml if is_on else None,
        autostart=bool(manifest.machine.autostart),
        disk_sizes=dict(_sizes(manifest, action, world)),
    )
    reading = read(view)
    owner = reading.owner
    if owner is None:
        return reading
    seed = owner.seed and replace(owner.seed, path="")  # its first boot is over
    return replace(reading, owner=replace(owner, creating=(), seed=seed))


def _complete(manifest: MachineManifest) -> MachineManifest:
    """Say what a machine must have to be created, and a manifest need not manage."""
    machine = manifest.machine
    cpus, memory = machine.cpus or Cpus(count=1), machine.memory or _SIZE
    cards = machine.interfaces and tuple(
        interface if interface.network or interface.bridge else replace(interface, bridge=ELSEWHERE)
        for interface in machine.interfaces
    )
    return replace(manifest, machine=replace(machine, cpus=cpus, memory=memory, interfaces=cards))


def _sizes(manifest: MachineManifest, action: Action, world: World) -> Iterator[Tuple[str, int]]:
    for step in action.steps:
        pool = world.pools.get(step.pool) if isinstance(step, CreateVolume) else None
        if isinstance(step, CreateVolume) and isinstance(pool, PoolView) and step.capacity:
            yield f"{pool.path}/{step.name}", step.capacity
    for disk in manifest.machine.disks or ():
        if disk.source and disk.size:
            yield disk.source, disk.size


def _all_templates(versions: Tuple[Desired, ...]) -> List[TemplateManifest]:
    return [template for each in versions for template in each.templates]


def _template(template: TemplateManifest) -> Reading:
    """Return a domain that is off and has the one disk that is cloned."""
    name, path = template.domain or "", _template_path(template)
    disk = make("disk", {"type": "file"}, make("source", {"file": path}))
    disk.append(make("target", {"dev": template.disk or "vda"}))
    domain = make("domain", {"type": "kvm"}, make_text("name", name), make("devices", None, disk))
    return read(DomainView(name, "", GuestState.OFF, fragment(domain)))


def _template_path(template: TemplateManifest) -> str:
    return f"/{ELSEWHERE}/{template.domain}.qcow2"


def _pools(versions: Tuple[Desired, ...]) -> Mapping[str, PoolView]:
    volumes: Dict[str, Set[str]] = {DEFAULT_POOL: set()}
    for pool, volume in _volumes(versions):
        volumes.setdefault(pool, set()).update({volume} - {""})
    pools = {name: _pool(name, found) for name, found in volumes.items()}
    paths = {path: _volume(ELSEWHERE, path, path) for path in _paths(versions)}
    return {**pools, ELSEWHERE: PoolView(ELSEWHERE, "dir", f"/{ELSEWHERE}", paths)}


def _pool(name: str, volumes: Set[str]) -> PoolView:
    path = f"/{name}"
    return PoolView(
        name, "dir", path, {volume: _volume(name, volume, f"{path}/{volume}") for volume in volumes}
    )


def _volume(pool: str, name: str, path: str) -> VolumeView:
    """Return a volume; how large it is nobody knows, so that any size is one that it grows to."""
    is_raw = posixpath.splitext(name)[1] in (".img", ".raw", ".iso")
    return VolumeView(
        pool=pool, name=name, path=path, format="raw" if is_raw else "qcow2", capacity=0
    )


def _volumes(versions: Tuple[Desired, ...]) -> Iterator[Tuple[str, str]]:
    """Yield (pool, volume) of all that is named; the volume is empty where only the pool is."""
    for each in versions:
        for manifest in each.machines:
            machine = manifest.machine
            drives: List[Union[Disk, Cdrom]] = [*(machine.disks or ()), *(machine.cdroms or ())]
            yield from ((drive.pool or DEFAULT_POOL, drive.volume or "") for drive in drives)
        for template in each.templates:
            yield template.pool or DEFAULT_POOL, template.volume or ""


def _paths(versions: Tuple[Desired, ...]) -> Iterator[str]:
    for template in _all_templates(versions):
        if template.image:
            yield template.image
        if template.domain:
            yield _template_path(template)
    for each in versions:
        for manifest in each.machines:
            yield from (disk.source for disk in manifest.machine.disks or () if disk.source)


def _images(versions: Tuple[Desired, ...]) -> Images:
    """Return the images: each is one of its own, and nothing lies below it."""
    pools = _pools(versions).values()
    paths = {volume.path for pool in pools for volume in pool.volumes.values()}
    return Images({path: ImageView(path, path) for path in paths.union(_paths(versions))})


def _networks(versions: Tuple[Desired, ...]) -> FrozenSet[str]:
    return frozenset(
        interface.network
        for each in versions
        for manifest in each.machines
        for interface in manifest.machine.interfaces or ()
        if interface.network
    )


def _types(versions: Tuple[Desired, ...]) -> FrozenSet[str]:
    found = {machine.machine.machine or "" for each in versions for machine in each.machines}
    return frozenset(found | {"q35", "pc"})


def _offer(machine: str) -> MachineCaps:
    """Return a host that offers everything that a manifest can ask for."""
    buses = _BUSES if chipset_of(machine or "q35") == "q35" else _BUSES | {"ide"}
    return MachineCaps(
        machine=machine or "q35",
        domain_type="kvm",
        arch="x86_64",
        vcpu_max=_MOST,
        disk_buses=buses,
        cdrom_buses=buses - {"virtio"},
        firmware=frozenset({"bios", "uefi", "uefi-secure"}),
        cpu_modes=frozenset({"host-passthrough", "host-model", "maximum", "custom"}),
        graphics=frozenset({"vnc", "spice"}),
        video=frozenset({"virtio", "vga", "bochs", "qxl", "cirrus", "none"}),
        tpm=True,
    )
