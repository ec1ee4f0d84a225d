"""Plan a machine that exists: ours, or one to be taken over.

What differs in the stored and in the running configuration is decided by the effect table; here
the decisions become an action: its lines and its steps. Pure.
"""

from __future__ import annotations

import shlex
from typing import Iterator, Mapping, Tuple

from reconciler.core.faults import Fact, Section
from reconciler.core.frozen import replace
from reconciler.core.guest_states import describe_state
from reconciler.core.guests import is_windows
from reconciler.core.images import Images
from reconciler.core.machine import describe_device
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import HELPER, HELPER_CARD
from reconciler.core.plan import Action, ActionKind, Before, Change, Effect, Step
from reconciler.core.world import DomainView, GuestState, Reading, World
from reconciler.core.xmltree import digest
from reconciler.errors import RefusedError
from reconciler.kinds.machine.domain.devices import find_cramped
from reconciler.kinds.machine.match import (
    Difference,
    DifferenceKind,
)
from reconciler.kinds.machine.planning.checks import refuse_ambiguous, refuse_misaliased
from reconciler.kinds.machine.planning.consequences import find_neighbours, find_remarks
from reconciler.kinds.machine.planning.decide import (
    Decision,
    Weighing,
    awaits_window,
    decide,
    explain_secrets,
    follow_power,
    passes_by_itself,
    withhold,
)
from reconciler.kinds.machine.planning.devices import NewDevice, Update, complete_devices
from reconciler.kinds.machine.planning.differences import (
    Found,
    Holding,
    Planner,
    creating,
    find,
    find_differences,
)
from reconciler.kinds.machine.planning.disk_images import find_moved
from reconciler.kinds.machine.planning.first_boot import plan_seed
from reconciler.kinds.machine.planning.guards import (
    Guest,
    describe_cleaning,
    find_uncompared,
    find_unreadable,
    inherit_mark,
)
from reconciler.kinds.machine.planning.holds import (
    find_chain_notes,
    hold_chains,
    hold_growth,
    hold_with_image,
)
from reconciler.kinds.machine.planning.images import explain_unfinished, settle_sources
from reconciler.kinds.machine.planning.states import Standing, find_full, find_saved_hold, find_wait
from reconciler.kinds.machine.planning.steps import plan_steps

NOT_OURS = "not managed yet: adopt it with `adopt` or `apply --adopt`"
KEPT = "not removed while the domain is adopted; the next apply removes it"


def plan_update(
    manifest: MachineManifest,
    reading: Reading,
    desired: Desired,
    world: World,
    planner: Planner,
    holding: Holding,
) -> Action:
    """Return the UPDATE, ADOPT, WITHHELD or NONE action.

    Raises TerminalError where a change is impossible.
    """
    if holding is not Holding.OURS:
        reading = replace(reading, owner=inherit_mark(reading, world))
    found = find(manifest, reading, world)
    if holding is not Holding.OURS:
        refuse_misaliased(manifest.name, settle_sources(manifest.machine, world), found.stored)
    is_ours = holding is Holding.OURS
    decisions, weighing, unreadable = _decide(found, world, planner, holding)
    walk = None
    if is_ours and _may_walk(found, decisions, planner):
        from reconciler.kinds.machine.planning import bus_change_walk  # noqa: PLC0415 - seldom

        moving = bus_change_walk.plan_bus_change(found, decisions, weighing, world, planner)
        decisions, walk = moving
    update = to_update(found, decisions, desired, world)
    if walk is not None and walk.is_active:
        update = replace(update, in_full=False)
    seed = plan_seed(manifest, desired, reading, world, may_change=is_ours and not weighing.held)
    update = replace(update, adopts=holding is Holding.ADOPTED, seed=seed)
    new = complete_devices(update)
    passes = passes_by_itself(weighing, decisions) or bool(unreadable)
    if holding is Holding.FOREIGN:
        action = _action(found, describe_new(decisions, new), (), holding)
        return replace(action, notes=_find_state_notes(found, decisions), transient=passes)
    steps = plan_steps(update, new)
    neighbours, notes = find_neighbours(update, new), find_remarks(update)
    beside = (*neighbours, *_unfinished(found, world), *seed.changes)
    action = _action(found, describe_new(decisions, new), steps, holding, beside)
    window = awaits_window(decisions, weighing)
    notes = (*find_chain_notes(found.chains, decisions), *notes, *seed.notes)
    notes += () if unreadable else find_uncompared(manifest.machine, world)
    if holding is Holding.ADOPTED:
        notes = (*_find_state_notes(found, decisions), *notes)
    action = replace(action, notes=notes, transient=passes, awaits_window=window)
    action = replace(action, is_unsettled=seed.is_unsettled)
    if walk is None:
        return action
    return bus_change_walk.join_walk(action, decisions, walk, found.reading)


def _decide(
    found: Found, world: World, planner: Planner, holding: Holding
) -> Tuple[Tuple[Decision, ...], Weighing, Mapping[str, str]]:
    """Return what becomes of each difference, and which secrets cannot be read."""
    stored, live = find_differences(found, world)
    standing = find_standing(found, planner, world, (*stored, *live))
    held = NOT_OURS if holding is Holding.FOREIGN else ""
    weighing = weigh(found, stored, live, standing, world.images, held)
    unreadable = find_unreadable((*stored, *live), world)
    left = _find_left(found.manifest, stored, world, planner, unreadable)
    weighing = replace(weighing, left=left)
    decisions = explain_secrets(decide(stored, live, weighing), found.reading, world)
    decisions = hold_chains(decisions, found, found.reading, world)
    decisions = hold_with_image(hold_growth(decisions, found.manifest.name, world))
    is_ours = holding is Holding.OURS
    refuse_ambiguous((decision.difference for decision in decisions), is_ours=is_ours)
    if not is_ours:
        decisions = tuple(_keep(decision) for decision in decisions)
    return follow_power(decisions), weighing, unreadable


def _may_walk(found: Found, decisions: Tuple[Decision, ...], planner: Planner) -> bool:
    """Whether a staged bus change is under way, or may begin.

    Raises RefusedError if one is to end and none is under way.
    """
    owner = found.reading.owner
    mark = owner.bus_change if owner is not None else None
    if found.manifest.name in planner.aborts and (mark is None or mark.is_over):
        ended = f" any more: it ended ({mark.failed})" if mark is not None else ""
        raise RefusedError(f"no staged bus change of it is under way{ended}")
    if owner is None or not found.reading.view.persistent:
        return False
    moves = any(_may_be_staged(decision.difference) for decision in decisions)
    return owner.bus_change is not None or moves


def _may_be_staged(difference: Difference) -> bool:
    return difference.field == "disks[].bus" or difference.needs_card_driver


def _find_left(
    manifest: MachineManifest,
    stored: Tuple[Difference, ...],
    world: World,
    planner: Planner,
    unreadable: Mapping[str, str],
) -> Mapping[str, str]:
    """Return why single paths are left alone.

    A disk of a Windows stays on its bus where no driver at hand suits it, and so does a card that
    is moved step by step.
    """
    left = {**unreadable, **planner.left}
    moves = any(map(_may_be_staged, stored))
    if not moves or not is_windows(manifest.machine.os):
        return left
    from reconciler.kinds.machine.planning.windows_guests import find_unsuited  # noqa: PLC0415

    return {**find_unsuited(manifest, stored, world), **left}


def _find_state_notes(found: Found, decisions: Tuple[Decision, ...]) -> Tuple[str, ...]:
    """Say how the guest of a domain that is taken over is, if it neither runs nor is simply off.

    Also whether the domain is a copy that has the helpers of another machine's bus change.
    """
    view, strays = found.reading.view, tuple(_find_strays(found.reading.view))
    is_plain = view.state in (GuestState.OFF, GuestState.RUNNING) and not view.saved
    if is_plain or any(decision.difference.field == "power" for decision in decisions):
        return strays
    return (f"the guest is {describe_state(view)}, and stays so", *strays)


def _find_strays(view: DomainView) -> Iterator[str]:
    if not any(name in view.persistent_xml for name in (HELPER, HELPER_CARD)):
        return
    from reconciler.kinds.machine.domain import bus_change  # noqa: PLC0415 - seldom
    from reconciler.kinds.machine.domain.buses import target_of  # noqa: PLC0415

    name = shlex.quote(view.name)
    helper = bus_change.find_own(view.persistent_xml)
    if helper is not None:
        target = target_of(helper)
        yield (
            f"disk {target} is the helper disk of a bus change of another machine, and nothing "
            f"manages it here: virsh detach-disk {name} {target} --config"
        )
    card = bus_change.find_own(view.persistent_xml, HELPER_CARD)
    if card is not None:
        mac = bus_change.read_mac(card)
        yield (
            f"interface {mac} is the helper card of a bus change of another machine, and nothing "
            f"manages it here: virsh detach-interface {name} {card.get('type')} --mac {mac} "
            "--config"
        )


def find_standing(
    found: Found, planner: Planner, world: World, differences: Tuple[Difference, ...]
) -> Standing:
    """Return how the guest stands, for what its state allows where something differs.

    Asks what libvirt does at this moment to a guest that is to be changed, and why one is off that
    is to be started.
    """
    view = found.reading.view
    if view.is_active and differences:
        world.ask(Fact(Section.JOB, view.name))
    elif not view.is_active and any(difference.field == "power" for difference in differences):
        world.ask(Fact(Section.OFF_REASON, view.name))
    return Standing(
        view=view,
        lifecycle=found.manifest.lifecycle,
        now=planner.now,
        power=found.machine.power,
        unattended=planner.unattended,
        full=find_full(found.reading, world),
    )


def weigh(
    found: Found,
    stored: Tuple[Difference, ...],
    live: Tuple[Difference, ...],
    standing: Standing,
    images: Images,
    held: str = "",
) -> Weighing:
    """Return what the decisions about this machine depend on besides what differs.

    `held` is why nothing at all may be changed, whatever the guest does; else empty.
    """
    fields = {difference.field for difference in (*stored, *live)}
    wait = find_wait(standing.view, fields)
    held = held or wait or find_saved_hold(found.reading, fields, images)
    moved = find_moved(found.chains, (*stored, *live))
    os, live_xml = found.manifest.machine.os, found.reading.view.live_xml
    staged = found.manifest.lifecycle.bus_change.is_staged(os)
    cramped = find_cramped(live_xml, live) if live_xml else frozenset()
    live_guest = None
    if found.live is not None:
        live_guest = Guest(
            observed=found.live,
            os=os,
            stored=found.stored,
            cramped=cramped,
            moved=moved,
            staged=staged,
        )
    return Weighing(
        stored_guest=Guest(found.stored, os, moved=moved, staged=staged),
        live_guest=live_guest,
        lifecycle=found.manifest.lifecycle,
        now=standing.now,
        held=held,
        waits=bool(wait) and held == wait,
        standing=standing,
    )


def describe_new(
    decisions: Tuple[Decision, ...], new: Tuple[NewDevice, ...]
) -> Tuple[Decision, ...]:
    """Say of each device to be added what it will be, now that it is known."""
    words = {device.path: describe_device(device.item, device.about) for device in new}
    return tuple(
        replace(decision, change=replace(decision.change, desired=words[decision.change.path]))
        if decision.change
        and decision.difference.kind is DifferenceKind.ADD
        and decision.change.path in words
        else decision
        for decision in decisions
    )


def _keep(decision: Decision) -> Decision:
    """Withhold the removal of a device from a domain that is only now taken over."""
    is_removal = decision.difference.kind is DifferenceKind.REMOVE
    return withhold(decision, KEPT) if is_removal else decision


def to_update(
    found: Found, decisions: Tuple[Decision, ...], desired: Desired, world: World
) -> Update:
    """Return what is to be done of the decisions; whole if nothing is withheld."""
    return Update(
        manifest=found.manifest,
        machine=found.machine,
        stored=found.stored,
        live=found.live,
        reading=found.reading,
        decisions=tuple(decision for decision in decisions if decision.is_done),
        in_full=all(decision.effect is not Effect.WITHHELD for decision in decisions),
        desired=desired,
        world=world,
    )


def _action(
    found: Found,
    decisions: Tuple[Decision, ...],
    steps: Tuple[Step, ...],
    holding: Holding,
    beside: Tuple[Change, ...] = (),
) -> Action:
    changes = tuple(decision.change for decision in decisions if decision.change) + beside
    changes += _mark(found, holding, alone=not changes)
    if holding is Holding.OURS:
        changes += describe_cleaning(found.reading)
    view = found.reading.view
    return Action(
        "VirtualMachine",
        found.manifest.name,
        _kind(changes, steps, holding),
        changes=changes,
        steps=steps,
        # A digest costs more than the whole comparison, and what does nothing expects nothing.
        before=Before(digest(view.persistent_xml), view.state) if steps else Before(None),
        pending=tuple(
            decision.difference.path for decision in decisions if decision.change is None
        ),
        reason=NOT_OURS if holding is Holding.FOREIGN else "",
    )


def _mark(found: Found, holding: Holding, *, alone: bool) -> Tuple[Change, ...]:
    """Show our mark where writing it is news: on adoption, or when nothing else changes."""
    owner = found.reading.owner
    wanted = found.manifest.generation
    effect = Effect.LIVE if found.reading.is_active else Effect.OFFLINE
    if holding is Holding.ADOPTED:
        former = owner.formerly[0] if owner and owner.formerly else None
        return (Change("metadata.owner", former, found.manifest.name, effect),)
    if holding is Holding.OURS and alone and owner and owner.generation != wanted:
        reason = "the manifest changed, but no field of the domain does"
        return (Change("metadata.generation", owner.generation, wanted, effect, reason=reason),)
    return ()


def _unfinished(found: Found, world: World) -> Tuple[Change, ...]:
    """Say what becomes of the volumes that an interrupted run did not complete."""
    return tuple(
        Change("volume", path, path, Effect.OFFLINE, reason=explain_unfinished(path, world))
        for path in creating(found.reading)
    )


def _kind(changes: Tuple[Change, ...], steps: Tuple[Step, ...], holding: Holding) -> ActionKind:
    if holding is not Holding.OURS:
        return ActionKind.ADOPT
    if steps:
        return ActionKind.UPDATE
    return ActionKind.WITHHELD if changes else ActionKind.NONE
