"""Turn decisions into steps: volumes, the definition, live devices, our mark, power. Pure.

The order is the safety. Our mark names unfinished volumes before they exist, until the definition
has them; the definition is stored (and refused by libvirt, if it is wrong) before the running
guest is touched; the mark of the new generation comes when all that can be undone is done; power
comes last, but that a paused guest goes on first.
"""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Callable, Dict, Iterator, List, Mapping, Set, Tuple

from reconciler.core.frozen import replace
from reconciler.core.machine import Disk, Machine
from reconciler.core.names import Owner
from reconciler.core.plan import (
    AttachDevice,
    BlockResize,
    CreateVolume,
    Define,
    DetachDevice,
    Effect,
    RecordStart,
    ResizeVolume,
    Resume,
    SetAutostart,
    SetMemory,
    SetMetadata,
    SetVcpus,
    Shutdown,
    Start,
    Step,
    UpdateDevice,
    Wake,
)
from reconciler.core.secret_refs import SECRETS, find_refs, write_secret
from reconciler.kinds.machine.domain.buses import needed_controllers
from reconciler.kinds.machine.domain.devices import device_xml, live_device, plug
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.features import write_live_display
from reconciler.kinds.machine.domain.mark import owner_xml, set_owner
from reconciler.kinds.machine.domain.overlays import merge_overlays
from reconciler.kinds.machine.domain.soundness import refuse_doubles, refuse_empty_usb
from reconciler.kinds.machine.match import Device, Difference, DifferenceKind
from reconciler.kinds.machine.planning.checks import refuse_borrowed, refuse_template_writes
from reconciler.kinds.machine.planning.decide import Decision
from reconciler.kinds.machine.planning.devices import (
    NewDevice,
    Update,
    drop_leftovers,
    remake_disks,
)
from reconciler.kinds.machine.planning.effects import Route
from reconciler.kinds.machine.planning.guards import (
    begin_owner,
    clean_owner,
    find_readable,
    finish_owner,
    made_with,
    owner_of,
    seal_secrets,
)
from reconciler.kinds.machine.planning.images import volume_at, with_own_images
from reconciler.kinds.machine.planning.sources import chain_of

NOT_IN_XML = frozenset({"power", "autostart", "disks[].size"})

# Fields that are only right together, so that an edit must know all of them that are managed.
_GROUPS = ("cpus", "memory")

Steps = Tuple[Step, ...]


def plan_steps(update: Update, new: Tuple[NewDevice, ...]) -> Steps:
    """Return the steps in order, given the devices to be added.

    Raises TerminalError where the host or another VM forbids one.
    """
    volumes = (*new, *remake_disks(update))
    items = {device.item.name: device.item for device in new}
    paths = _find_made(volumes)
    made = made_with(update.reading.owner, update.manifest.name, paths)
    if update.seed.new is not None:
        paths = (*paths, update.seed.new.path)
    steps = (
        *_bring_back(update),
        *drop_leftovers(update, volumes),
        *update.seed.eject,
        *_volumes(update, volumes, paths, made),
        *_definition(update, new, made),
        *_live(update, items),
        *((update.seed.old,) if update.seed.old is not None else ()),
        *_resizes(update),
        *_mark(update, made),
        *((RecordStart(),) if update.seed.begins else ()),  # in the mark as it is from now on
        *_autostart(update),
        *_power(update),
    )
    return (*_begin(update, steps), *steps)


def _begin(update: Update, steps: Steps) -> Steps:
    """Say whose the domain is before anything is done to it: not all of it has a way back."""
    if not update.adopts or all(isinstance(step, SetMetadata) for step in steps):
        return ()
    owner = begin_owner(update.manifest, update.made, update.formerly, update.seed.mark)
    return (SetMetadata(owner_xml(owner), live=False),)


def _bring_back(update: Update) -> Steps:
    """Let the guest go on before anything is asked of it."""
    routes = {decision.row.route for decision in update.decisions if decision.effect is Effect.LIVE}
    steps: Mapping[Route, Step] = {Route.RESUME: Resume(), Route.WAKE: Wake()}
    return tuple(step for route, step in steps.items() if route in routes)


def _find_made(new: Tuple[NewDevice, ...]) -> Tuple[str, ...]:
    """Return the paths of what is made here, unfinished until stored; not of disks found again."""
    return tuple(
        device.item.source or ""
        for device in new
        if isinstance(device.item, Disk)
        and any(isinstance(step, CreateVolume) for step in device.steps)
    )


def _volumes(
    update: Update, new: Tuple[NewDevice, ...], paths: Tuple[str, ...], made: Tuple[str, ...]
) -> Steps:
    """Make the volumes; our mark names those that are not complete yet, and loses each in turn."""
    if not paths:
        return tuple(step for device in new for step in device.steps)
    former = update.reading.owner
    if update.adopts or former is None:
        former = begin_owner(update.manifest, update.made, update.formerly)
    left = list(paths)
    steps: List[Step] = [_mark_creating(former, left, made)]
    for device in new:
        steps.extend(device.steps)
        source = device.item.source if isinstance(device.item, Disk) else None
        if source in left:
            left.remove(source)
            if left:  # the last is marked by the definition that has the disks
                steps.append(_mark_creating(former, left, made))
    return (*steps, *((update.seed.new,) if update.seed.new else ()))


def _is_complete(owner: Owner) -> bool:
    return not (owner.creating or owner.is_unfinished)


def _mark_creating(former: Owner, creating: List[str], made: Tuple[str, ...]) -> SetMetadata:
    mark = replace(clean_owner(former), creating=tuple(creating), made=made, worker=None)
    return SetMetadata(owner_xml(mark), live=False)


def find_edits(update: Update, new: Tuple[NewDevice, ...]) -> Tuple[Difference, ...]:
    """Return what is to be edited in the stored definition, overlays left out.

    With what is managed and as it should be already, where fields depend on each other.
    """
    items = {device.item.name: device.item for device in new}
    stored = [
        _with_item(decision.stored, items) for decision in update.decisions if decision.stored
    ]
    edits = [edit for edit in stored if edit.field not in NOT_IN_XML and not _is_ours(edit)]
    edits = [edit for edit in edits if not edit.field.startswith("xml[")]
    return (*edits, *_find_settled(update, {edit.field for edit in edits}))


def _find_settled(update: Update, edited: Set[str]) -> Iterator[Difference]:
    """Yield the managed fields of an edited group that are stored as the manifest gives them."""
    password = update.machine.graphics_password
    if "graphics" in edited and password is not None and "graphics_password" not in edited:
        yield Difference("graphics_password", DifferenceKind.CHANGE, None, write_secret(password))
    for group in _GROUPS:
        wanted, found = getattr(update.machine, group), getattr(update.stored, group)
        if not any(name.startswith(f"{group}.") for name in edited) or not (wanted and found):
            continue
        for attribute in fields(wanted):
            field, value = f"{group}.{attribute.name}", getattr(wanted, attribute.name)
            if value is not None and value == getattr(found, attribute.name):
                yield Difference(field, DifferenceKind.CHANGE, value, value)


def _definition(update: Update, new: Tuple[NewDevice, ...], made: Tuple[str, ...]) -> Steps:
    """Edit what is stored; everything that no decision names stays as it is."""
    former = update.reading.view.persistent_xml
    overlays = find_readable(update.manifest.machine, update.world)
    stored = [decision.stored for decision in update.decisions if decision.stored]
    changed = any(difference.field.startswith("xml[") for difference in stored)
    plain = edit_domain(former, (*find_edits(update, new), *update.seed.edits))
    xml = merge_overlays(plain, overlays, update.world.find_secret) if changed else plain
    refuse_borrowed(update.manifest, plain, xml, update.desired, update.world)
    if xml == former:
        return ()
    _refuse_doubles(xml, former, update)
    refuse_empty_usb(xml, former)
    if update.adopts:
        # One call changes the domain and says whose it is: nothing else may change a foreign one.
        mark = begin_owner(update.manifest, made, update.formerly, update.seed.mark)
        return (Define(set_owner(xml, mark)),)
    owner, seed = update.reading.owner, update.seed.mark
    if owner is None or (_is_complete(owner) and (made, seed) == (owner.made, owner.seed)):
        is_clean = owner is None or clean_owner(owner) == owner
        return (Define(xml if owner is None or is_clean else set_owner(xml, clean_owner(owner))),)
    # One call adds a new disk and says that its volume is finished: no kill can come between.
    mark = clean_owner(finish_owner(owner, made, seed))
    if update.seed.old is not None:
        mark = replace(mark, creating=(update.seed.old.path,))
    return (Define(set_owner(xml, mark)),)


def _refuse_doubles(xml: str, former: str, update: Update) -> None:
    near = with_own_images(update.world, update.reading)
    refuse_doubles(xml, former, partial(chain_of, near))


def _is_ours(difference: Difference) -> bool:
    return difference.field.startswith("metadata.")


def _with_item(difference: Difference, items: Mapping[str, Device]) -> Difference:
    if difference.kind is not DifferenceKind.ADD:
        return difference
    return replace(difference, item=items.get(difference.device or "", difference.item))


def _live(update: Update, items: Mapping[str, Device]) -> Steps:
    """Return what is done to the running guest, device by device."""
    if update.reading.view.live_xml is None:
        return ()
    done = [
        decision
        for decision in update.decisions
        if decision.effect is Effect.LIVE and decision.live
    ]
    plain = [step for decision in done for step in _route(decision, update, items)]
    plugged = [step.xml for step in plain if isinstance(step, AttachDevice)]
    if plugged:
        live = update.reading.view.live_xml
        gone = {step.xml for step in plain if isinstance(step, DetachDevice)}
        _refuse_doubles(plug(live, plugged, gone), live, update)
    return (*_once(plain), *_device_updates(update, done))


def _once(steps: List[Step]) -> Steps:
    """Plug in only once what several devices need: their controller."""
    first = {step.xml: step for step in reversed(steps) if isinstance(step, AttachDevice)}
    return tuple(
        step for step in steps if not isinstance(step, AttachDevice) or first[step.xml] is step
    )


def _route(decision: Decision, update: Update, items: Mapping[str, Device]) -> Steps:
    build = ROUTES.get(decision.row.route)
    if build is None or decision.live is None:
        return ()
    return build(_with_item(decision.live, items), update)


def _attach(difference: Difference, update: Update) -> Steps:
    item = difference.item
    assert item is not None  # noqa: S101 - only devices are attached
    live = update.reading.view.live_xml or ""
    controllers = [
        AttachDevice(difference.path, controller) for controller in needed_controllers(live, item)
    ]
    return (*controllers, AttachDevice(difference.path, device_xml(item, live)))


def _detach(difference: Difference, update: Update) -> Steps:
    live = update.reading.view.live_xml or ""
    return (DetachDevice(difference.path, live_device(live, difference)),)


def _set_vcpus(difference: Difference, update: Update) -> Steps:  # noqa: ARG001 - a route's shape
    return (SetVcpus(int(difference.desired or 0)),)


def _set_memory(difference: Difference, update: Update) -> Steps:  # noqa: ARG001
    return (SetMemory(int(difference.desired or 0) // 1024),)


def _block_resize(difference: Difference, update: Update) -> Steps:
    refuse_template_writes(_only(update, difference), update.world, difference.path)
    item = difference.item
    target = (item.target if isinstance(item, Disk) else None) or ""
    return (BlockResize(difference.device or "", target, int(difference.desired or 0)),)


ROUTES: Mapping[Route, Callable[[Difference, Update], Steps]] = {
    Route.ATTACH: _attach,
    Route.DETACH: _detach,
    Route.SET_VCPUS: _set_vcpus,
    Route.SET_MEMORY: _set_memory,
    Route.BLOCK_RESIZE: _block_resize,
}


def _device_updates(update: Update, done: List[Decision]) -> Steps:
    """Update each device once, with all its changes: libvirt takes a whole device."""
    groups: Dict[str, List[Difference]] = {}
    for decision in done:
        if decision.row.route is Route.UPDATE and decision.live:
            groups.setdefault(
                f"{decision.live.field.split('.')[0]}{decision.live.device}", []
            ).append(decision.live)
    live = update.reading.view.live_xml or ""
    return tuple(
        UpdateDevice(changes[0].path, _write_device(live, changes)) for changes in groups.values()
    )


def _write_device(live: str, changes: List[Difference]) -> str:
    if changes[0].field in SECRETS:
        return write_live_display(live, str(changes[0].desired))
    return live_device(live, *changes)


def _resizes(update: Update) -> Steps:
    """Grow images that no running guest has open."""
    steps: List[Step] = []
    for decision in update.decisions:
        item = decision.difference.item
        if (
            decision.row.route is Route.BLOCK_RESIZE
            and decision.live is None
            and isinstance(item, Disk)
        ):
            refuse_template_writes(
                _only(update, decision.difference), update.world, decision.difference.path
            )
            size = int(decision.difference.desired or 0)
            volume = volume_at(update.world, item.source)  # its pool may know it by another name
            path = volume.path if volume is not None else item.source or ""
            steps.append(ResizeVolume(item.name, path, size))
    return tuple(steps)


def _only(update: Update, difference: Difference) -> Machine:
    item = difference.item
    return Machine(update.manifest.name, disks=(item,) if isinstance(item, Disk) else ())


def _mark(update: Update, made: Tuple[str, ...]) -> Steps:
    """Write the new generation, unless it is there already or is not carried out in full.

    A commit that does not change this machine is no reason to write. Who takes a domain over
    writes whose it is, also where the rest has to wait.
    """
    formerly, seed = update.formerly, update.seed.mark
    former = update.reading.owner
    is_new = any(find_refs(str(decision.difference.desired)) for decision in update.decisions)
    known = former.secrets if former is not None and not is_new else ()
    secrets = seal_secrets(update.manifest.machine, update.world) or known
    owner = owner_of(update.manifest, made=made, formerly=formerly, seed=seed, secrets=secrets)
    if update.adopts:
        owner = owner if update.in_full else begin_owner(update.manifest, made, formerly, seed)
        return (SetMetadata(owner_xml(owner), live=update.live is not None),)
    if not update.in_full:
        # What was begun is completed or dropped by now, whatever else is withheld.
        is_clean = former is not None and clean_owner(former) == former
        if former is None or (_is_complete(former) and former.seed == seed and is_clean):
            return ()
        mark = clean_owner(finish_owner(former, made, seed))
        return (SetMetadata(owner_xml(mark), live=update.live is not None and not is_clean),)
    if former and not is_new:
        former = replace(former, secrets=secrets)  # that a digest is missing is nothing to change
    if former and replace(former, revision=owner.revision) == owner:
        return ()
    return (SetMetadata(owner_xml(owner), live=update.live is not None),)


def _autostart(update: Update) -> Steps:
    return tuple(
        SetAutostart(enabled=bool(decision.difference.desired))
        for decision in update.decisions
        if decision.row.route is Route.SET_AUTOSTART
    )


def _power(update: Update) -> Steps:
    lifecycle = update.manifest.lifecycle
    stop = Shutdown(lifecycle.shutdown_timeout, lifecycle.force_off)
    routes = {decision.row.route for decision in update.decisions}
    if Route.SHUT_DOWN in routes:
        return (stop,)
    start: Steps = (Start(), RecordStart()) if update.seed.is_new else (Start(),)
    if any(decision.effect is Effect.RESTART for decision in update.decisions):
        return (stop, *start)
    if Route.START not in routes:
        return ()
    refuse_template_writes(update.stored, update.world, "power")
    return start
