"""What a plan may ask of a host, and how each question is answered; what cannot be is `Unknown`."""

from __future__ import annotations

import shlex
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    FrozenSet,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from reconciler.core.faults import Fact, Section, isolate
from reconciler.core.frozen import replace
from reconciler.core.images import ImageView
from reconciler.core.machine import Machine, Power
from reconciler.core.manifest import Desired, is_named
from reconciler.core.secret_refs import SecretRef, SecretSource
from reconciler.core.world import DomainView, PoolView, Reading, Unknown, World, size_key
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError, TransientError
from reconciler.kinds.api import read_checksums, read_proof
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.planning.images import all_volumes, find_named_images, read_uses
from reconciler.kinds.machine.status import find_claims

if TYPE_CHECKING:
    from reconciler.control.ports import Host

Views = Mapping[str, Union[DomainView, Unknown]]
Readings = Mapping[str, Union[Reading, Unknown]]
T = TypeVar("T")


class KnownHost:
    """A host as far as it was read, for plans of these manifests.

    `views` are all domains of the host, where they were read already; `strangers` those of them
    that no manifest names.
    """

    def __init__(
        self, host: Host, desired: Desired, world: World, views: Optional[Views] = None
    ) -> None:
        """Begin with what is known."""
        self.host, self.desired, self.world, self.views = host, desired, world, views
        self.strangers: Optional[Readings] = None

    def read_everyone(self) -> Readings:
        """Return every domain of the host: who else may have taken an address or an image."""
        if self.views is None:
            self.views = self.host.domains.list_domains()
        known = self.world.domains
        if self.strangers is None:
            self.strangers = {
                name: understand(view) for name, view in self.views.items() if name not in known
            }
        return {name: known.get(name) or self.strangers[name] for name in self.views}


def read(view: DomainView) -> Reading:
    """Understand a domain's XML."""
    root = parse(view.persistent_xml)
    live = parse(view.live_xml) if view.live_xml else None
    power = Power(view.state.value) if view.is_active else Power.STOPPED
    outside = {"power": power, "autostart": view.autostart}  # libvirt keeps it outside the XML
    return Reading(
        view,
        _set_sizes(read_machine(root, **outside), view),
        None if live is None else _set_sizes(read_machine(live, **outside), view),
        read_owner(root),
    )


def understand(view: Union[DomainView, Unknown]) -> Union[Reading, Unknown]:
    """Understand one domain; what is not valid is Unknown."""
    if isinstance(view, Unknown):
        return view
    return attempt(read, view)


def _set_sizes(machine: Machine, view: DomainView) -> Machine:
    """Return the machine with the sizes of its images, as far as they were read."""
    sizes, disks = view.disk_sizes, machine.disks
    if not sizes or not disks:
        return machine
    sized = tuple([replace(disk, size=sizes.get(size_key(disk))) for disk in disks])
    return replace(machine, disks=sized)


def attempt(call: Callable[..., T], *arguments: object) -> Union[T, Unknown]:
    """Call, and keep a failure as a value: it concerns one object, not the pass."""
    try:
        return isolate(call, *arguments)
    except ReconcilerError as error:
        return Unknown(str(error), isinstance(error, TransientError))


def _attempt_each(
    call: Callable[[str], T], facts: FrozenSet[Fact]
) -> Mapping[str, Union[T, Unknown]]:
    """Call with the name of each fact."""
    return {name: attempt(call, name) for name in sorted(fact.name for fact in facts)}


def _keep_each(
    name: str, find: Callable[[Host], Callable[[str], object]]
) -> Callable[[KnownHost, FrozenSet[Fact]], World]:
    """Return what calls with the name of each fact, and keeps the answers in that mapping."""

    def answer(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
        found: Mapping[str, object] = _attempt_each(find(seen.host), facts)
        changes: Dict[str, Any] = {name: {**getattr(seen.world, name), **found}}
        return replace(seen.world, **changes)

    return answer


def _read_sizes(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    targets: Dict[str, Tuple[str, ...]] = {}
    for fact in sorted(facts):
        if isinstance(seen.world.domains.get(fact.name), Reading):
            targets[fact.name] = (*targets.get(fact.name, ()), fact.part)
    sizes = seen.host.domains.read_disk_sizes(targets) if targets else {}
    return _change_domains(
        seen.world, {name: _resize(of_disks) for name, of_disks in sizes.items()}
    )


def _resize(sizes: Mapping[str, int]) -> Callable[[Reading], Reading]:
    def resize(reading: Reading) -> Reading:
        view = replace(reading.view, disk_sizes={**reading.view.disk_sizes, **sizes})
        return replace(
            reading,
            view=view,
            persistent=_set_sizes(reading.persistent, view),
            live=reading.live and _set_sizes(reading.live, view),
        )

    return resize


def _change_domains(world: World, changes: Mapping[str, Callable[[Reading], Reading]]) -> World:
    domains = dict(world.domains)
    for name, change in changes.items():
        reading = domains.get(name)
        if isinstance(reading, Reading):
            domains[name] = change(reading)
    return replace(world, domains=domains)


def _read_jobs(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    """Read what libvirt does to guests; where it does not say, what fails next says more."""
    found = {name: attempt(seen.host.domains.find_job, name) for name in _names(seen, facts)}
    return _change_domains(
        seen.world,
        {name: _tell(job=job) for name, job in found.items() if not isinstance(job, Unknown)},
    )


def _read_off_reasons(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    off = [name for name in _names(seen, facts) if not _is_active(seen.world.domains[name])]
    found = {name: attempt(seen.host.domains.read_off_reason, name) for name in off}
    return _change_domains(
        seen.world,
        {
            name: _tell(state_reason=reason)
            for name, reason in found.items()
            if not isinstance(reason, Unknown)
        },
    )


def _is_active(reading: Union[Reading, Unknown]) -> bool:
    return isinstance(reading, Reading) and reading.is_active


def _tell(**told: str) -> Callable[[Reading], Reading]:
    def tell(reading: Reading) -> Reading:
        return replace(reading, view=replace(reading.view, **told))  # type: ignore[arg-type]

    return tell


def _names(seen: KnownHost, facts: FrozenSet[Fact]) -> Sequence[str]:
    """Return the domains of the facts that are there; one that is lost has nothing to read."""
    return sorted(fact.name for fact in facts if fact.name in seen.world.domains)


def _read_pools(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    names = frozenset(fact.name for fact in facts)
    return replace(seen.world, pools={**seen.world.pools, **read_pools(seen.host, names)})


def _read_every_pool(seen: KnownHost, _facts: FrozenSet[Fact]) -> World:
    found = {pool: pool for pool in seen.host.storage.list_pools() if pool not in seen.world.pools}
    pools = {pool: attempt(seen.host.storage.read_pool, pool) for pool in found}
    return replace(seen.world, pools={**seen.world.pools, **pools})


def read_pools(host: Host, names: FrozenSet[str]) -> Mapping[str, Union[PoolView, Unknown]]:
    """Read the pools of these names, and say of each that is not active what there is."""
    active = host.storage.list_pools()
    inactive = () if names.issubset(active) else host.storage.list_inactive_pools()
    return {
        name: attempt(host.storage.read_pool, name)
        if name in active
        else _explain_absent(name, active, inactive)
        for name in sorted(names)
    }


def _explain_absent(name: str, active: Tuple[str, ...], inactive: Tuple[str, ...]) -> Unknown:
    if name in inactive:
        return Unknown(f"it is inactive: virsh pool-start {shlex.quote(name)}", transient=True)
    there = ", ".join(sorted({*active, *inactive})) or "none"
    return Unknown(f"no such pool; there are: {there}", transient=True)


def _read_claims(seen: KnownHost, _facts: FrozenSet[Fact]) -> World:
    return replace(seen.world, claims=find_claims(seen.read_everyone()))


def _read_images(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    """Read single images. One that its domain takes for raw has nothing below it."""
    readings = (domain for domain in seen.world.domains.values() if isinstance(domain, Reading))
    sides = (
        side
        for reading in readings
        for side in (reading.persistent, reading.live)
        if side is not None
    )
    formats = {
        _find_path(disk.source or "", seen.world): disk.format or ""
        for side in sides
        for disk in side.disks or ()
    }
    found = _find_images(seen.host, {fact.name: formats.get(fact.name, "") for fact in facts})
    return _add_images(seen.world, found)


def _find_path(source: str, world: World) -> str:
    """Return the path of what a domain names as POOL/VOLUME, if that pool was read."""
    name, _, volume = source.partition("/")
    pool = world.pools.get(name)
    known = pool.volumes.get(volume) if isinstance(pool, PoolView) else None
    return source if known is None else known.path


def _read_every_image(seen: KnownHost, _facts: FrozenSet[Fact]) -> World:
    """Read the images of all domains and pools, and those that the manifests name."""
    world, readings = seen.world, seen.read_everyone()
    uses = tuple(
        use
        for reading in readings.values()
        if isinstance(reading, Reading)
        for use in read_uses(reading, world)
    )
    paths = dict.fromkeys(find_named_images(seen.desired, world), "")
    paths.update((volume.path, volume.format) for volume in all_volumes(world))
    paths.update((use.path, use.format) for use in uses)
    found = _find_images(seen.host, paths)
    world = _add_images(world, found)
    return replace(world, images=replace(world.images, uses=uses, every=frozenset(found)))


def _find_images(host: Host, paths: Mapping[str, str]) -> Mapping[str, ImageView]:
    """Return the images at these paths, and all below them."""
    unread = {path: ImageView(path, is_read=False) for path in paths}
    return {**unread, **host.storage.read_images(paths)}


def _add_images(world: World, found: Mapping[str, ImageView]) -> World:
    images = world.images
    return replace(world, images=replace(images, views={**found, **images.views}))


def _read_snapshots(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    found = _attempt_each(seen.host.domains.read_snapshots, facts)
    known = {
        name: snapshots for name, snapshots in found.items() if not isinstance(snapshots, Unknown)
    }
    images = seen.world.images
    return replace(seen.world, images=replace(images, snapshots={**images.snapshots, **known}))


def _try_reflinks(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    can_reflink, pools = seen.host.storage.can_reflink, seen.world.pools
    found = set()
    for fact in sorted(facts):
        pool = pools.get(fact.name)
        if isinstance(pool, PoolView) and can_reflink(pool, fact.part):
            found.add((fact.name, fact.part))
    return replace(seen.world, reflinks=seen.world.reflinks | found)


def _read_free(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    found = _attempt_each(seen.host.storage.read_free, facts)
    free = {path: size for path, size in found.items() if isinstance(size, int)}
    return replace(seen.world, free={**seen.world.free, **free})


def _read_devices(seen: KnownHost, _facts: FrozenSet[Fact]) -> World:
    devices = seen.host.networks.list_devices()
    return replace(seen.world, facilities=replace(seen.world.facilities, devices=devices))


def _read_memory(seen: KnownHost, _facts: FrozenSet[Fact]) -> World:
    memory = seen.host.domains.read_memory()
    return replace(seen.world, facilities=replace(seen.world.facilities, memory=memory))


def _read_first_boots(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    """Ask the agents of running guests; what they do not say has not happened yet."""
    from reconciler.kinds.machine.first_boots import find_first_boots  # noqa: PLC0415

    asked = {fact.name: fact.part for fact in facts}
    found = find_first_boots(seen.host, seen.desired, seen.world, asked)
    return replace(seen.world, first_boots={**seen.world.first_boots, **found})


def _read_files(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    facilities = seen.world.facilities
    files = seen.host.storage.read_files(sorted(fact.name for fact in facts))
    return replace(seen.world, facilities=replace(facilities, files={**facilities.files, **files}))


def _read_checksums(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    templates = [seen.desired.template(fact.name) for fact in sorted(facts)]
    found = read_checksums(seen.host, [template for template in templates if template])
    return replace(seen.world, checksums={**seen.world.checksums, **found})


def _read_windows(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    read_windows = seen.host.preparer.read_windows
    found = {fact.name: attempt(read_windows, fact.name, fact.part) for fact in sorted(facts)}
    return replace(seen.world, windows={**seen.world.windows, **found})


def _find_driver_media(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    """Find virtio-win where the host's manifest says, else where it usually is."""
    names = (host for host in seen.desired.hosts if is_named(host.selector, seen.world.host))
    given = next((host.virtio_win for host in names if host.virtio_win), "")
    find = seen.host.storage.find_driver_media
    found = {fact.name: attempt(find, fact.name or given) for fact in sorted(facts)}
    return replace(seen.world, driver_media={**seen.world.driver_media, **found})


def _read_secrets(seen: KnownHost, facts: FrozenSet[Fact]) -> World:
    refs = [SecretRef(SecretSource(fact.name), fact.part) for fact in sorted(facts)]
    found = {ref: attempt(seen.host.secrets.seal, ref) for ref in refs}
    return replace(seen.world, secrets={**seen.world.secrets, **found})


ANSWERS: Mapping[Section, Callable[[KnownHost, FrozenSet[Fact]], World]] = {
    Section.SIZE: _read_sizes,
    Section.JOB: _read_jobs,
    Section.OFF_REASON: _read_off_reasons,
    Section.POOL: _read_pools,
    Section.POOLS: _read_every_pool,
    Section.CLAIMS: _read_claims,
    Section.IMAGE: _read_images,
    Section.IMAGES: _read_every_image,
    Section.SNAPSHOTS: _read_snapshots,
    Section.REFLINK: _try_reflinks,
    Section.FREE: _read_free,
    Section.MACHINE_TYPE: _keep_each("machines", lambda host: host.domains.read_caps),
    Section.NETWORKS: lambda seen, _: replace(
        seen.world, networks=seen.host.networks.list_networks()
    ),
    Section.DEVICES: _read_devices,
    Section.MEMORY: _read_memory,
    Section.FIRST_BOOT: _read_first_boots,
    Section.DRIVER: _keep_each("drivers", lambda host: partial(read_proof, host, read)),
    Section.FILE: _read_files,
    Section.LENGTH: _keep_each("lengths", lambda host: host.downloads.measure),
    Section.TOOLS: _keep_each("tools", lambda host: host.preparer.find_tools),
    Section.WINDOWS: _read_windows,
    Section.IMPORT: _keep_each("imports", lambda host: host.importer.inspect),
    Section.IMPORT_TOOLS: _keep_each("import_tools", lambda host: host.importer.find_tools),
    Section.CHECKSUM: _read_checksums,
    Section.DRIVER_MEDIA: _find_driver_media,
    Section.SECRET: _read_secrets,
}
"""How each question is answered. An answer may depend on another, and asks for it."""
