"""What the daemon sees of machines: in a pass over one, in a list of all, and for the history."""

from __future__ import annotations

import shlex
from typing import Dict, Mapping, Optional, Union

from reconciler.control.ports import Host
from reconciler.core.frozen import replace
from reconciler.core.guest_states import describe_state
from reconciler.core.history import ChangeCause, ChangeRecord, LastKnown, keep_last, remember
from reconciler.core.key import Key
from reconciler.core.manifest import MACHINE, Desired, MachineManifest
from reconciler.core.manifest_files import InForce
from reconciler.core.names import MARK_NAMESPACE
from reconciler.core.plan import Action, PlanOptions
from reconciler.core.prune import Remnant
from reconciler.core.world import DomainView, Reading, Unknown
from reconciler.core.xmltree import digest, parse
from reconciler.kinds.api import PassTask, Scene, Sighting, Surroundings
from reconciler.kinds.machine.answers import understand
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.elsewhere import Background
from reconciler.kinds.machine.execute import read_former
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planner import plan_machine
from reconciler.kinds.machine.planning.guards import list_refs
from reconciler.kinds.machine.status import is_owned, read_applied


def make_sighting(view: DomainView) -> Sighting:
    """Return a domain as the loop knows it."""
    state = (view.state.value, view.state_reason)
    flags = (view.uuid, *state, view.autostart, view.persistent, view.saved)
    parts = (*map(str, flags), view.persistent_xml, view.live_xml or "")
    return Sighting(
        state=view.state.value,
        detail=describe_state(view),
        uuid=view.uuid,
        parts=parts,
        is_active=view.is_active,
        view=view,
    )


def find_sighting(host: Host, key: Key) -> Optional[Sighting]:
    """Return a machine as it is now."""
    view = read_former(host, key.name)
    return None if view is None else make_sighting(view)


def list_sightings(host: Host, desired: Desired) -> Mapping[Key, Union[Sighting, Unknown]]:
    """Return every domain of the host.

    One whose manifest names secrets never looks as a pass left it, and so is always planned again:
    that a secret was changed is seen in nothing else.
    """
    named = {manifest.name for manifest in desired.machines if list_refs(manifest.machine)}
    found: Dict[Key, Union[Sighting, Unknown]] = {}
    for name, view in host.domains.list_domains().items():
        sighting = view if isinstance(view, Unknown) else make_sighting(view)
        if isinstance(sighting, Sighting) and name in named:
            sighting = replace(sighting, parts=(*sighting.parts, "secrets"))
        found[Key(MACHINE, name)] = sighting
    return found


def look(around: Surroundings, task: PassTask) -> Scene:
    """Read what a pass over one machine depends on."""
    manifest, host = replace(task.manifest, revision=task.in_force.revision), around.host
    desired = find_alone(task.in_force, manifest)
    views = _read_views(host, manifest, desired)
    view = views.get(manifest.name)
    if view is not None:
        seen = (view.uuid, view.persistent_xml, view.autostart)
        around.memory.keep(find_last(view, around.wall()), seen)
    background = Background(
        around.memory.find_last,
        lambda _key: task.placed,
        around.connect,
        task.in_force.desired.hosts,
    )
    observation = observe(host, desired, views, background)
    world = observation.world
    found = world.domains.get(manifest.name)
    sighting = None if view is None else make_sighting(view)
    owner = found.owner if isinstance(found, Reading) else None

    def show() -> Optional[Sighting]:
        now = observation.world.domains.get(manifest.name)  # with the job that is under way
        if sighting is None or not isinstance(now, Reading):
            return sighting
        return replace(sighting, detail=describe_state(now.view), view=now.view)

    def make(options: PlanOptions) -> Action:
        return observation.make(lambda world: plan_machine(manifest, desired, world, options))

    def plan(options: PlanOptions) -> Action:
        if not manifest.lifecycle.start_after or (view is not None and view.is_active):
            return make(options)
        from reconciler.kinds.machine.start_order import plan_in_loop  # noqa: PLC0415

        return plan_in_loop(manifest, task.in_force.objects, around.find_inside, options, make)

    return Scene(
        desired=desired,
        host=world.host,
        uri=world.uri,
        plan=plan,
        sighting=sighting,
        generation=None if owner is None else owner.generation,
        unreadable=found.reason if isinstance(found, Unknown) else "",
        show=show,
    )


def find_alone(in_force: InForce, manifest: MachineManifest) -> Desired:
    """Return the machine with the templates that its disks name, and nothing else."""
    names = {disk.template for disk in manifest.machine.disks or ()}
    return Desired.of(
        manifest, *(template for template in in_force.desired.templates if template.name in names)
    )


def _read_views(
    host: Host, manifest: MachineManifest, desired: Desired
) -> Mapping[str, DomainView]:
    """Read the machine's domain and its templates'; only libvirt's word means absent."""
    domains = {template.domain for template in desired.templates if template.domain}
    disks = manifest.machine.disks or ()
    domains |= {disk.origin.machine for disk in disks if disk.origin is not None}
    found: Dict[str, DomainView] = {}
    for name in sorted({manifest.name} | domains):
        view = read_former(host, name)
        if view is not None:
            found[name] = view
    return found


def find_missing_networks(host: Host, task: PassTask, scene: Scene) -> str:
    """Say which of a running guest's networks is not there: libvirt does not, until a start."""
    manifest: MachineManifest = task.manifest
    cards = manifest.machine.interfaces or ()
    names = {card.network for card in cards if card.network}
    view = None if scene.shown is None else scene.shown.view
    if not names or view is None or view.live_xml is None:
        return ""
    networks = host.networks.list_networks()
    missing = sorted(name for name in names if not networks.get(name))
    return "; ".join(
        f"network {name} is not active (virsh net-start {shlex.quote(name)})" for name in missing
    )


def find_remnant(sighting: Sighting) -> Optional[Union[Remnant, Unknown]]:
    """Return what our mark in a domain says; cheap for a domain that has none."""
    view: DomainView = sighting.view
    if MARK_NAMESPACE not in view.persistent_xml:
        return None
    reading = understand(view)
    return reading if isinstance(reading, Unknown) else read_remnant(reading)


def read_remnant(reading: Reading) -> Optional[Remnant]:
    """Return what our mark says of the machine's end; None of what is not ours."""
    if reading.owner is None or not is_owned(reading):
        return None
    owner = reading.owner
    return Remnant(reading.view.uuid, read_applied(owner).deletion, owner.generation)


def find_last(view: DomainView, now: float) -> Optional[LastKnown]:
    """Return what is to be kept of a domain, None if nothing is."""
    return keep_last(view, read_owner(parse(view.persistent_xml)), now)


def find_last_known(host: Host, key: Key, now: float) -> Optional[LastKnown]:
    """Return what is to be kept of a machine as it is now."""
    view = read_former(host, key.name)
    return None if view is None else find_last(view, now)


def record_change(
    host: Host, action: Action, cause: ChangeCause, now: float
) -> Optional[ChangeRecord]:
    """Return the record of a change, with the definition that is there before it."""
    former = read_former(host, action.name)
    found = None if former is None else digest(former.persistent_xml)
    if found != action.before.definition:
        return None
    return remember(action, former, cause, now)
