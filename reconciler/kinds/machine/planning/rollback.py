"""Plan the way back to a former definition, by the effect table of every change. Pure."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import FrozenSet, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.history import ChangeRecord
from reconciler.core.machine import Disk, Machine
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.names import Owner
from reconciler.core.plan import (
    Action,
    ActionKind,
    AttachDevice,
    Before,
    Change,
    Define,
    Effect,
    SetMetadata,
    Step,
)
from reconciler.core.secrets import fill_secrets
from reconciler.core.world import Reading, World
from reconciler.core.xmltree import copy_of, digest, fragment, parse
from reconciler.errors import RefusedError, TerminalError
from reconciler.kinds.machine.domain.bus_change import drop_own
from reconciler.kinds.machine.domain.consequences import find_all, find_rest, is_like
from reconciler.kinds.machine.domain.edit import carry_image, carry_seed, edit_domain
from reconciler.kinds.machine.domain.layout import find_device, remove_children
from reconciler.kinds.machine.domain.mark import owner_xml, read_owner, set_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import Difference, DifferenceKind, by_name
from reconciler.kinds.machine.planning.decide import (
    Decision,
    Weighing,
    decide,
    follow_power,
    passes_by_itself,
    withhold,
)
from reconciler.kinds.machine.planning.devices import NewDevice, Update, complete_devices
from reconciler.kinds.machine.planning.differences import Found, Planner, find, find_differences
from reconciler.kinds.machine.planning.holds import GROWS_OTHER, hold_chains, hold_with_image
from reconciler.kinds.machine.planning.images import all_volumes, with_own_images
from reconciler.kinds.machine.planning.recreate import store_again
from reconciler.kinds.machine.planning.states import refuse_unstored
from reconciler.kinds.machine.planning.steps import NOT_IN_XML, plan_steps
from reconciler.kinds.machine.planning.update import (
    describe_new,
    find_standing,
    to_update,
    weigh,
)
from reconciler.kinds.machine.status import is_owned, read_lifecycle


@frozen
class Target:
    """What the domain shall be again: its definition, and the same as a manifest.

    `missing` are places in it whose secrets are not known any more.
    """

    xml: str
    manifest: MachineManifest
    owner: Optional[Owner]
    was_running: bool = False
    missing: Tuple[str, ...] = ()


def find_target(past: ChangeRecord, present: Reading, sizes: Mapping[str, int]) -> Target:
    """Return what it was before that change; `sizes` are those of disks that were grown since.

    Raises RefusedError where there is no way back.
    """
    view, former = present.view, past.former
    _refuse_moving(past.name, present)
    begun = None if former is None else read_owner(parse(former.xml))
    if former is None or (begun is not None and begun.is_unfinished):
        raise RefusedError(
            f"change {past.number} is the creation of {past.name}; there is no earlier state, "
            "and a rollback deletes nothing: remove its manifest, see `prune`"
        )
    if former.uuid != view.uuid:
        raise RefusedError(
            f"{past.name} is another domain now (UUID {view.uuid}, then {former.uuid}); `history "
            f"{past.name} {past.number}` shows the former definition"
        )
    filled, missing = fill_secrets(former.xml, view.persistent_xml)
    filled = carry_seed(drop_own(filled), view.persistent_xml, (present.owner, begun))
    owner = _keep_volumes(read_owner(parse(filled)), present.owner)
    xml = (
        filled if owner is None or owner == read_owner(parse(filled)) else set_owner(filled, owner)
    )
    machine = replace(read_machine(parse(xml)), autostart=former.autostart)
    manifest = MachineManifest(
        machine=replace(machine, os=_find_os(owner, present.owner), disks=_size(machine, sizes)),
        generation=owner.generation if owner else "",
        spec=owner.spec if owner else "{}",
        place=Place("history", past.number, 1),
        lifecycle=read_lifecycle(present.owner),
        revision=owner.revision if owner else None,
    )
    return Target(
        xml=xml, manifest=manifest, owner=owner, was_running=former.running, missing=missing
    )


def _refuse_moving(name: str, present: Reading) -> None:
    """Raise RefusedError while disks are moved to another bus step by step."""
    mark = present.owner.bus_change if present.owner is not None else None
    if mark is not None and not mark.is_over:
        raise RefusedError(
            f"a staged bus change of {name} to {mark.aim} is under way; end it first: "
            f"virt-reconciler apply --abort-bus-change {shlex.quote(name)} MANIFESTS"
        )


def _keep_volumes(former: Optional[Owner], present: Optional[Owner]) -> Optional[Owner]:
    """Return the former mark, with the volumes that were made since, and none unfinished.

    They are there still, and their making cannot be taken back. A volume that was unfinished then
    may be full of data now, and must never be made anew.
    """
    if former is None:
        return None
    if present is None:
        return replace(former, creating=(), seed=None, bus_change=None)
    made = tuple(sorted({*former.made, *present.made}))
    same = former.generation == present.generation
    spec = present.spec if same else former.spec  # whole, where the former's secrets are hidden
    former = replace(former, creating=(), made=made, spec=spec, seed=present.seed)
    return replace(former, bus_change=present.bus_change)


def _find_os(*owners: Optional[Owner]) -> Optional[str]:
    return next((owner.os for owner in owners if owner is not None and owner.os), None)


def _size(machine: Machine, sizes: Mapping[str, int]) -> Tuple[Disk, ...]:
    return tuple(replace(disk, size=sizes.get(disk.name)) for disk in machine.disks or ())


KIND = "VirtualMachine"
REST = "xml[/domain]"
ORDER = "the order of its elements"
GONE = "its volume is gone: a deleted volume cannot be restored"
GIVEN_UP = "as before its adoption: it is no longer managed"


def plan_rollback(
    target: Target, reading: Reading, world: World, now: Optional[datetime]
) -> Action:
    """Return the UPDATE, WITHHELD or NONE action that leads back.

    Of a machine that was undefined while it runs, the definition is stored again first. Raises
    TerminalError where a change is impossible, TransientError where it is not possible yet.
    """
    refuse_unstored(reading.view, may_store=is_owned(reading))
    target = _keep_images(target, reading, with_own_images(world, reading))
    found = find(target.manifest, reading, world)
    stored, live = find_differences(found, world)
    standing = find_standing(found, Planner(now), world, (*stored, *live))
    weighing = weigh(found, stored, live, standing, world.images)
    held = hold_chains(decide(stored, live, weighing), found, reading, world)
    held = hold_with_image(tuple(_keep_gone(decision, world) for decision in held))
    # How large a disk was says nothing of an image that it had before.
    decisions = follow_power(tuple(decision for decision in held if decision.row.id != GROWS_OTHER))
    if all(map(_is_done, decisions)):
        decisions += _decide_rest(target, found, decisions, weighing)
    is_whole = not weighing.held and all(map(_is_done, decisions))
    update = to_update(found, decisions, Desired.of(found.manifest), world)
    update = replace(update, in_full=is_whole)
    new = complete_devices(update)
    steps = _steps(target, update, new)
    changes = tuple(decision.change for decision in describe_new(decisions, new) if decision.change)
    if is_whole and steps:
        changes += _mark(target, reading, alone=not changes)
    action = _action(target, reading, decisions, changes, steps)
    action = replace(action, transient=passes_by_itself(weighing, decisions))
    return action if reading.view.persistent else store_again(action, reading)


def _keep_images(target: Target, reading: Reading, world: World) -> Target:
    """Return the target with the images that disks are on now, where these lie over the former."""
    found = find(target.manifest, reading, world)
    xml, machine = target.xml, target.manifest.machine
    for chain in found.chains:
        then, now = by_name(machine.disks, chain.disk), by_name(found.stored.disks, chain.disk)
        is_over = world.images.is_in_chain(chain.named, chain.present, (now and now.format) or "")
        if then is None or now is None or chain.named == chain.present or not is_over:
            continue
        xml = carry_image(xml, then, reading.view.persistent_xml, now)
        disks = tuple(
            replace(disk, source=now.source, format=now.format) if disk is then else disk
            for disk in machine.disks or ()
        )
        machine = replace(machine, disks=disks)
    return replace(target, xml=xml, manifest=replace(target.manifest, machine=machine))


def _is_done(decision: Decision) -> bool:
    """Whether the definition may be as it was, as far as this is concerned."""
    is_stored = decision.stored is not None and decision.difference.field not in NOT_IN_XML
    return not is_stored or decision.effect is not Effect.WITHHELD


def _keep_gone(decision: Decision, world: World) -> Decision:
    """Withhold a disk whose volume is certainly not there any more."""
    if decision.change is None or not _is_gone(_find_image(decision), world):
        return decision
    return withhold(decision, GONE)


def _find_image(decision: Decision) -> str:
    """Return the image that a disk is to have again."""
    difference = decision.difference
    if difference.field == "disks[].source":
        return str(difference.desired or "")
    item = difference.item
    is_new = difference.kind is DifferenceKind.ADD and isinstance(item, Disk)
    return (item.source or "") if is_new and isinstance(item, Disk) else ""


def _is_gone(path: str, world: World) -> bool:
    folder, _, name = path.rpartition("/")
    if not name:
        return False
    in_pool = any(pool.path.rstrip("/") == folder for pool in world.list_pools())
    return in_pool and all(volume.path != path for volume in all_volumes(world))


def _decide_rest(
    target: Target, found: Found, decisions: Tuple[Decision, ...], weighing: Weighing
) -> Tuple[Decision, ...]:
    """Return the change of what no field speaks of, if there is any."""
    present = found.reading.view.persistent_xml
    if digest(present) == digest(target.xml):
        return ()
    old, new = find_rest(_edit(present, decisions), target.xml, _find_new(decisions))
    if not (old or new) and not any(_is_edit(decision) for decision in decisions):
        old, new = find_all(present, target.xml)
        if not (old or new) and _is_marked_alike(target, found.reading):
            old, new = (ORDER,), (ORDER,)
    if not (old or new):
        return ()
    rest = Difference(REST, DifferenceKind.CHANGE, "\n".join(old) or None, "\n".join(new) or None)
    live_xml = found.reading.view.live_xml
    waits = live_xml is not None and not is_like(live_xml, old, new)
    return decide((rest,), (rest,) if waits else (), weighing)


def _is_marked_alike(target: Target, reading: Reading) -> bool:
    return target.owner == reading.owner


def _edit(xml: str, decisions: Tuple[Decision, ...]) -> str:
    edits = [
        decision.stored
        for decision in decisions
        if decision.stored is not None and _is_edit(decision)
    ]
    try:
        return edit_domain(xml, edits)
    except TerminalError:
        return xml  # what cannot be edited is shown as what it is: other lines


def _is_edit(decision: Decision) -> bool:
    return decision.stored is not None and decision.difference.field not in NOT_IN_XML


def _find_new(decisions: Tuple[Decision, ...]) -> FrozenSet[str]:
    return frozenset(
        decision.difference.device
        for decision in decisions
        if decision.difference.kind is DifferenceKind.ADD and decision.difference.device
    )


def _steps(target: Target, update: Update, new: Tuple[NewDevice, ...]) -> Tuple[Step, ...]:
    """Return the steps; the former definition as it was, where it can be stored whole."""
    steps = plan_steps(update, new)
    if not update.in_full:
        return tuple(step for step in steps if not isinstance(step, SetMetadata))
    reading = update.reading
    head: List[Step] = []
    if digest(reading.view.persistent_xml) != digest(target.xml):
        if reading.is_active and target.owner is not None:
            # Before the definition, which has the mark as it was written then, byte for byte.
            head.append(SetMetadata(owner_xml(target.owner), live=True))
        head.append(Define(target.xml))
    rest = (step for step in steps if not isinstance(step, (Define, SetMetadata)))
    return (*head, *(_as_it_was(step, target) for step in rest))


def _as_it_was(step: Step, target: Target) -> Step:
    """Plug in the whole device as it was defined, not only what the model knows of it."""
    if not isinstance(step, AttachDevice):
        return step
    kind, _, name = step.path.partition("[")
    try:
        element = find_device(
            parse(target.xml), Difference(f"{kind}[]", DifferenceKind.ADD, device=name[:-1])
        )
    except TerminalError:
        return step
    made, device = parse(step.xml), copy_of(element)
    if made.tag != device.tag or _targets(made) != _targets(device):
        return step  # its controller, or a place that is taken in the running guest
    remove_children(device, "boot", "address")
    return replace(step, xml=fragment(device))


def _targets(device: object) -> Tuple[Optional[str], ...]:
    return tuple(element.get("dev") for element in device.findall("target"))  # type: ignore[attr-defined]


def _mark(target: Target, reading: Reading, *, alone: bool) -> Tuple[Change, ...]:
    """Say whose it is afterwards, where that changes."""
    effect = Effect.LIVE if reading.is_active else Effect.OFFLINE
    before = reading.owner.name if reading.owner else None
    after = target.owner.name if target.owner else None
    if before != after:
        reason = GIVEN_UP if after is None else ""
        return (Change("metadata.owner", before, after, effect, reason=reason),)
    old = reading.owner.generation if reading.owner else None
    if alone:
        return (Change("metadata.generation", old, target.manifest.generation, effect),)
    return ()


def _action(
    target: Target,
    reading: Reading,
    decisions: Tuple[Decision, ...],
    changes: Tuple[Change, ...],
    steps: Tuple[Step, ...],
) -> Action:
    view = reading.view
    kind = ActionKind.WITHHELD if changes else ActionKind.NONE
    return Action(
        kind=KIND,
        name=view.name,
        action=ActionKind.UPDATE if steps else kind,
        changes=changes,
        steps=steps,
        before=Before(digest(view.persistent_xml), view.state) if steps else Before(None),
        pending=tuple(
            decision.difference.path for decision in decisions if decision.change is None
        ),
        notes=(*_notes(target, decisions), *_say_left(target, reading, decisions)),
    )


def _say_left(target: Target, reading: Reading, decisions: Tuple[Decision, ...]) -> Iterator[str]:
    """Say what is left as it is now."""
    if not all(map(_is_done, decisions)) and not any(
        decision.difference.field == REST for decision in decisions
    ):
        yield "not everything can go back, so what no field describes stays as it is now"
    if target.was_running and not reading.is_active:
        yield "the guest ran then and is off now; it stays off"
    if reading.is_active and not target.was_running:
        yield "the guest was off then and runs now; it keeps running"


def _notes(target: Target, decisions: Tuple[Decision, ...]) -> Tuple[str, ...]:
    notes = [f"{path}: the former secret is not stored; set it again" for path in target.missing]
    for decision in decisions:
        item = decision.difference.item
        if (
            decision.difference.kind is DifferenceKind.REMOVE
            and isinstance(item, Disk)
            and decision.is_done
        ):
            notes.append(f"disks[{item.name}]: {item.source or 'its image'} stays")
    return tuple(notes)
