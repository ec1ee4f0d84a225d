"""Read what a plan of these manifests depends on, and nothing else, into one `World`.

Reads only. What cannot be read becomes `Unknown` for the object that it concerns; only the list
of domains itself must succeed, except where libvirt's daemons say why it cannot.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import (
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    TypeVar,
    Union,
)

from reconciler.control.object_locks import find_busy
from reconciler.control.ports import Host
from reconciler.core.faults import isolate
from reconciler.core.images import Images, SnapshotView
from reconciler.core.libvirt_daemons import DaemonsView
from reconciler.core.machine import Machine, Power
from reconciler.core.manifest import MACHINE, Desired
from reconciler.core.world import DomainView, Facilities, PoolView, Reading, Unknown, World
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError, TransientError
from reconciler.kinds.host.execute import read_daemons
from reconciler.kinds.host.planning import find_served
from reconciler.kinds.machine import needs as need
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.elsewhere import Background, find_lost
from reconciler.kinds.machine.needs import Needs, Readings
from reconciler.kinds.machine.planner import is_placed_here
from reconciler.kinds.machine.planning.images import (
    all_volumes,
    find_moved_volumes,
    find_named_images,
    read_uses,
    template_image,
)
from reconciler.kinds.machine.status import find_former_name, has_own_mark

Views = Mapping[str, Union[DomainView, Unknown]]
T = TypeVar("T")
NO_BACKGROUND = Background()


def observe(
    host: Host,
    desired: Desired,
    views: Optional[Views] = None,
    background: Background = NO_BACKGROUND,
) -> World:
    """Return the world as the plan needs it.

    `views` are the domains that the manifests name, where they were read already; without it every
    domain is read at once. `background` knows of machines that are gone.
    """
    daemons = read_daemons(host.units, desired)
    try:
        found = host.domains.list_domains() if views is None else views
    except TransientError as error:
        return _observe_unreached(desired, daemons, error)
    served = desired.with_kind(MACHINE, find_served(desired, daemons))
    readings = _read_sizes(host, served, _understand(found, _named(desired)))
    name = host.domains.host
    lost = find_lost(_find_gone(served, readings, name), background)
    new = [
        machine
        for machine in served.machines
        if machine.name not in readings and is_placed_here(machine, name)
    ]
    elsewhere = background.find_elsewhere(new, lost, desired.hosts, name)
    needs = need.find_needs(served, readings, lost)
    readings = _read_jobs(host, readings, needs)
    everyone = _read_all(host, found, views, readings) if needs.claims else readings
    world = World(
        host=name,
        uri=host.domains.uri,
        domains=readings,
        networks=host.networks.list_networks() if needs.networks else {},
        pools=read_pools(host, need.with_pools_of(needs, everyone)),
        machines={
            machine: attempt(host.domains.read_caps, machine) for machine in sorted(needs.machines)
        },
        claims=find_claims(everyone) if needs.claims else {},
        daemons=daemons,
        lost=lost,
        elsewhere=elsewhere,
        others_asked=background.asks_others(desired.hosts, name),
        facilities=_read_facilities(host, needs),
    )
    world = replace(world, busy=find_busy(host, world), free=_read_free(host, readings))
    needs = replace(needs, images=needs.images | find_moved_volumes(served, world))
    if needs.claims or needs.images:
        world = replace(world, images=_read_images(host, served, world, everyone, needs))
    return replace(world, reflinks=_try_reflinks(host, served, world))


def _find_gone(desired: Desired, readings: Readings, host: str) -> Iterator[str]:
    """Yield the machines of this host of which libvirt stores no definition."""
    for machine in desired.machines:
        reading = readings.get(machine.name)
        stored = isinstance(reading, Unknown) or (reading and reading.view.persistent)
        if not stored and is_placed_here(machine, host):
            yield machine.name


def _observe_unreached(
    desired: Desired, daemons: Union[DaemonsView, Unknown], error: TransientError
) -> World:
    """Return the world without libvirt, if its daemons say more; raise the error if they do not."""
    if isinstance(daemons, Unknown):
        raise error
    all_served = len(find_served(desired, daemons)) == len(desired.machines)
    if all_served and not any(host.mode for host in desired.hosts):
        raise error
    domains = dict.fromkeys(_named(desired), Unknown(str(error)))
    return World(daemons.host, daemons.uri, domains, daemons=daemons)


def _read_all(host: Host, found: Views, views: Optional[Views], known: Readings) -> Readings:
    """Return every domain: who else may have taken an address or an image."""
    every = found if views is None else host.domains.list_domains()
    return {
        name: known.get(name) or (view if isinstance(view, Unknown) else _understand_one(view))
        for name, view in every.items()
    }


def read(view: DomainView) -> Reading:
    """Understand a domain's XML."""
    root = parse(view.persistent_xml)
    live = parse(view.live_xml) if view.live_xml else None
    return Reading(
        view,
        _complete(read_machine(root), view),
        None if live is None else _complete(read_machine(live), view),
        read_owner(root),
    )


def _complete(machine: Machine, view: DomainView) -> Machine:
    """Add what libvirt keeps outside the XML."""
    power = Power(view.state.value) if view.is_active else Power.STOPPED
    sizes = view.disk_sizes
    disks = tuple(
        replace(disk, size=sizes.get(need.size_key(disk))) for disk in machine.disks or ()
    )
    return replace(machine, power=power, autostart=view.autostart, disks=disks)


def _named(desired: Desired) -> FrozenSet[str]:
    machines = frozenset(machine.name for machine in desired.machines)
    return machines | need.find_template_domains(desired)


def _understand(views: Views, names: FrozenSet[str]) -> Readings:
    return {
        name: view if isinstance(view, Unknown) else _understand_one(view)
        for name, view in views.items()
        if name in names
    }


def _understand_one(view: DomainView) -> Union[Reading, Unknown]:
    return attempt(read, view)


def _read_sizes(host: Host, desired: Desired, readings: Readings) -> Readings:
    """Ask for the sizes of managed disks only, and read those domains with them."""
    targets = need.find_sizes(desired, readings)
    if not targets:
        return readings
    sizes = host.domains.read_disk_sizes(targets)
    return {
        name: reading if isinstance(reading, Unknown) else _resize(reading, sizes.get(name, {}))
        for name, reading in readings.items()
    }


def _read_jobs(host: Host, readings: Readings, needs: Needs) -> Readings:
    """Ask what libvirt does to the guests that are to be changed, and why those are off."""
    found = dict(readings)
    for name in sorted(needs.jobs):
        reading = readings[name]
        if not isinstance(reading, Reading):
            continue
        domains, view = host.domains, reading.view
        text = attempt(domains.find_job if view.is_active else domains.read_off_reason, name)
        if isinstance(text, Unknown):
            continue  # what fails next says more
        view = replace(view, job=text) if view.is_active else replace(view, state_reason=text)
        found[name] = replace(reading, view=view)
    return found


def _read_free(host: Host, readings: Readings) -> Mapping[str, int]:
    """Return path → free bytes for the images whose lack of space paused a guest."""
    paths = {
        disk.source or ""
        for reading in readings.values()
        if isinstance(reading, Reading) and reading.live is not None
        for disk in reading.live.disks or ()
        if reading.view.disk_errors.get(disk.target or "") == "no space"
    }
    found = {path: attempt(host.storage.read_free, path) for path in sorted(paths)}
    return {path: one for path, one in found.items() if isinstance(one, int)}


def _resize(reading: Reading, sizes: Mapping[str, int]) -> Reading:
    view = replace(reading.view, disk_sizes=sizes)
    return replace(
        reading,
        view=view,
        persistent=_complete(reading.persistent, view),
        live=reading.live and _complete(reading.live, view),
    )


def _read_facilities(host: Host, needs: Needs) -> Facilities:
    return Facilities(
        host.domains.read_memory() if needs.memory else None,
        host.networks.list_devices() if needs.devices else None,
        host.storage.read_files(sorted(needs.files)) if needs.files else {},
    )


def read_pools(host: Host, needs: Needs) -> Mapping[str, Union[PoolView, Unknown]]:
    """Read the pools that are asked for, and say of each that is not active what there is."""
    if not (needs.pools or needs.all_pools):
        return {}
    active = host.storage.list_pools()
    wanted = needs.pools.union(active if needs.all_pools else ())
    inactive = () if wanted.issubset(active) else host.storage.list_inactive_pools()
    return {
        name: attempt(host.storage.read_pool, name)
        if name in active
        else _explain_absent(name, active, inactive)
        for name in sorted(wanted)
    }


def _explain_absent(name: str, active: Tuple[str, ...], inactive: Tuple[str, ...]) -> Unknown:
    if name in inactive:
        return Unknown(f"it is inactive: virsh pool-start {shlex.quote(name)}", transient=True)
    there = ", ".join(sorted({*active, *inactive})) or "none"
    return Unknown(f"there is no such pool; there are: {there}", transient=True)


def attempt(call: Callable[..., T], *arguments: object) -> Union[T, Unknown]:
    """Call, and keep a failure as a value: it concerns one object, not the pass."""
    try:
        return isolate(call, *arguments)
    except ReconcilerError as error:
        return Unknown(str(error), isinstance(error, TransientError))


def find_claims(readings: Readings) -> Mapping[Tuple[str, str], Tuple[str, ...]]:
    """Return who holds each UUID, MAC and former mark, and which machines bear their own mark."""
    claims: Dict[Tuple[str, str], List[str]] = {
        ("machine", name): [name] for name in readings if has_own_mark(readings, name)
    }
    for name, reading in sorted(readings.items()):
        if isinstance(reading, Reading):
            for key in sorted(_claims_of(reading)):
                claims.setdefault(key, []).append(name)
    return {key: tuple(names) for key, names in claims.items()}


def _claims_of(reading: Reading) -> set[Tuple[str, str]]:
    claims = {("uuid", reading.view.uuid)}
    former_name = find_former_name(reading)
    if former_name is not None:
        claims.add(("mark", former_name))
    for machine in (reading.persistent, reading.live):
        if machine is not None:
            claims |= {
                ("mac", interface.mac) for interface in machine.interfaces or () if interface.mac
            }
    return claims


def _read_images(
    host: Host, desired: Desired, world: World, everyone: Readings, needs: Needs
) -> Images:
    """Read the images that the plan concerns: of one domain, or of all where one may be taken."""
    readings = {
        name: one
        for name, one in everyone.items()
        if isinstance(one, Reading) and (needs.claims or name in needs.images)
    }
    uses = tuple(use for reading in readings.values() for use in read_uses(reading, world))
    paths = dict.fromkeys(find_named_images(desired, world), "")
    if needs.claims:
        paths.update((volume.path, volume.format) for volume in all_volumes(world))
    paths.update((use.path, use.format) for use in uses)
    images = Images(host.storage.read_images(paths), uses)
    return replace(images, snapshots=_read_snapshots(host, images, needs))


def read_every_image(host: Host, world: World) -> Images:
    """Read the images of all domains and pools of the world, and every snapshot."""
    readings = {
        name: domain for name, domain in world.domains.items() if isinstance(domain, Reading)
    }
    uses = tuple(use for reading in readings.values() for use in read_uses(reading, world))
    found = {
        name: attempt(host.domains.read_snapshots, name) for name, one in sorted(readings.items())
    }
    snapshots = {name: one for name, one in found.items() if not isinstance(one, Unknown)}
    paths = dict.fromkeys(
        (path for some in snapshots.values() for one in some for path in one.images), ""
    )
    paths.update((volume.path, volume.format) for volume in all_volumes(world))
    paths.update((use.path, use.format) for use in uses)
    return Images(host.storage.read_images(paths), uses, snapshots)


def _read_snapshots(
    host: Host, images: Images, needs: Needs
) -> Mapping[str, Tuple[SnapshotView, ...]]:
    """Read the snapshots of the domains in question that are on an image over another."""
    names = {
        use.domain
        for use in images.uses
        if use.domain in needs.images and len(images.find_chain(use.path, use.format)) > 1
    }
    found = {name: attempt(host.domains.read_snapshots, name) for name in sorted(names)}
    return {name: one for name, one in found.items() if not isinstance(one, Unknown)}


def _try_reflinks(host: Host, desired: Desired, world: World) -> FrozenSet[Tuple[str, str]]:
    """Try block sharing for each template and pool that a new disk would pair."""
    found = set()
    for pool_name, template_name in need.clones_by_sharing(desired, world.domains):
        pool = world.pools.get(pool_name)
        image = _image(desired, world, template_name)
        if isinstance(pool, PoolView) and image and host.storage.can_reflink(pool, image):
            found.add((pool_name, image))
    return frozenset(found)


def _image(desired: Desired, world: World, name: str) -> Optional[str]:
    """Return the template's image; what is wrong with it is the planner's to say."""
    template = desired.template(name)
    if template is None:
        return None
    try:
        return template_image(template, world, "").path
    except ReconcilerError:
        return None
