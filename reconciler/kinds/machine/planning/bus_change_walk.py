"""Set a staged bus change beside all else that a plan does to a machine. Pure.

Other changes come first, and the bus change goes on when they are done; but a guest that is off is
never started before its disks are where they are to be.
"""

from __future__ import annotations

from typing import AbstractSet, Callable, Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import replace
from reconciler.core.guest import GuestProof
from reconciler.core.guest_states import find_state
from reconciler.core.guests import may_be_windows
from reconciler.core.machine import Power
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import BusChangeMark, MovedDevice
from reconciler.core.plan import Action, ActionKind, Before, Change, Define, Effect, SetMetadata
from reconciler.core.world import GuestState, Reading, World
from reconciler.core.xmltree import digest
from reconciler.errors import ReconcilerError, TransientError
from reconciler.kinds.machine.domain import bus_change as edits
from reconciler.kinds.machine.match import Difference, DifferenceKind, by_name
from reconciler.kinds.machine.planning import bus_change_ends as ends
from reconciler.kinds.machine.planning import bus_change_steps as steps
from reconciler.kinds.machine.planning.bus_change import (
    Phase,
    Walk,
    find_evidence,
    find_missing,
    find_phase,
    was_asked,
)
from reconciler.kinds.machine.planning.bus_change_driver import await_driver
from reconciler.kinds.machine.planning.bus_change_stage import BusWalk, Stage
from reconciler.kinds.machine.planning.consequences import NEW_ADAPTER
from reconciler.kinds.machine.planning.decide import Decision, Weighing, withhold
from reconciler.kinds.machine.planning.differences import Found, Planner
from reconciler.kinds.machine.planning.effects import Route
from reconciler.kinds.machine.planning.guards import STAGED_BUSES, settle_boot_effect
from reconciler.kinds.machine.planning.holds import explain_snapshot

GENERATION = "metadata.generation"
LATER = "another bus change is under way; it is moved when that is over"
AFTER = "waits for the step of the staged bus change; apply again"


def plan_bus_change(
    found: Found,
    decisions: Tuple[Decision, ...],
    weighing: Weighing,
    world: World,
    planner: Planner,
) -> Tuple[Tuple[Decision, ...], BusWalk]:
    """Return the decisions, with those withheld that are the bus change's, and what that does."""
    owner = found.reading.owner
    assert owner is not None  # noqa: S101 - only machines of ours come here
    mark = owner.bus_change
    under_way = mark if mark is not None and not mark.is_over else None
    candidates = _find_candidates(found, decisions, planner)
    if under_way is None:  # where no driver at hand suits it, another ISO is needed first
        candidates = tuple(each for each in candidates if each.path not in weighing.left)
    is_ended = under_way is not None and found.manifest.name in planner.aborts
    if is_ended and weighing.waits:
        raise TransientError(weighing.held)
    if (weighing.held and not is_ended) or (mark is None and not candidates):
        return decisions, BusWalk()
    moved = _find_moved(candidates, under_way)
    names = {each.device for each in moved} | (under_way.names if under_way else set())
    mine = tuple(decision for decision in decisions if _is_moved(decision, names))
    others = [decision for decision in decisions if decision not in mine]
    stage = _set_stage(found, world, planner, moved, others)
    result = replace(plan_walk(stage), is_active=mark is not None, names=frozenset(names))
    decisions = tuple(_withhold(decision, mine, result) for decision in decisions)
    return tuple(_warn(decision, found.manifest) for decision in decisions), result


def _find_moved(
    candidates: Tuple[Difference, ...], under_way: Optional[BusChangeMark]
) -> Tuple[Difference, ...]:
    """Return the changes that are made together, and none that comes in between.

    Those are disks to one bus, and cards to one model.
    """
    if under_way is not None:
        aims = {"disks[].bus": under_way.bus, "interfaces[].model": under_way.model}
        candidates = tuple(each for each in candidates if each.device in under_way.names)
    else:
        aims = {each.field: str(each.desired) for each in reversed(candidates)}
    return tuple(each for each in candidates if each.desired == aims[each.field])


def _set_stage(
    found: Found,
    world: World,
    planner: Planner,
    moved: Tuple[Difference, ...],
    others: Sequence[Decision],
) -> Stage:
    manifest, owner = found.manifest, found.reading.owner
    assert owner is not None  # noqa: S101 - only machines of ours come here
    mark = owner.bus_change
    walk, proof = look_around(
        manifest,
        found.reading,
        world,
        is_wanted=_is_staged(found, planner) and _is_wanted(found, moved),
        is_moved=mark is not None and not mark.is_over and not moved,
        retried=bool(planner.retried),
        aborts=manifest.name in planner.aborts,
    )
    effect, policy = settle_boot_effect(manifest.lifecycle, planner.now)
    return Stage(
        manifest=manifest,
        reading=found.reading,
        owner=owner,
        world=world,
        walk=walk,
        proof=proof,
        differences=moved,
        effect=effect,
        policy=policy,
        local=planner.now,
        may_start=_may_start(found, others, walk),
        held=_find_snapshot(found, {each.device for each in moved}),
        is_alone=all(decision.change is None for decision in others if not _is_start(decision)),
        retried=planner.retried,
    )


def _find_snapshot(found: Found, names: AbstractSet[Optional[str]]) -> str:
    """Say which disk of the change is on an external snapshot; empty if none is."""
    name = found.reading.view.name
    held = [chain for chain in found.chains if chain.snapshot and chain.disk in names]
    return "; ".join(f"disks[{chain.disk}]: {explain_snapshot(chain, name)}" for chain in held)


def _find_candidates(
    found: Found, decisions: Tuple[Decision, ...], planner: Planner
) -> Tuple[Difference, ...]:
    """Return the changes of a bus or of a card's model that are made step by step."""
    if not _is_staged(found, planner):
        return ()
    stored = (decision.stored for decision in decisions)
    return tuple(each for each in stored if each is not None and _is_move(each))


def _is_staged(found: Found, planner: Planner) -> bool:
    """Whether the devices are moved step by step.

    What was moved so is proved so, and what failed so stays, whatever way the manifest has now.
    """
    manifest, owner = found.manifest, found.reading.owner
    mark = owner.bus_change if owner is not None else None
    if manifest.lifecycle.bus_change.is_staged(manifest.machine.os):
        return True
    if mark is None or not mark.is_over:
        return mark is not None and bool(mark.switched)
    return mark.generation == manifest.generation and not planner.retried


def _is_move(difference: Difference) -> bool:
    is_disk = difference.field == "disks[].bus" and difference.desired in STAGED_BUSES
    return is_disk or difference.needs_card_driver


def _is_wanted(found: Found, moved: Tuple[Difference, ...]) -> bool:
    """Whether the manifest has what is moved as the change makes it.

    Devices that it removes do not count, as long as there are others for each helper.
    """
    owner = found.reading.owner
    mark = owner.bus_change if owner is not None else None
    if mark is None or mark.is_over:
        return bool(moved)
    kept = [device for device in mark.moved if not _is_removed(found, device)]
    kinds, helped = ({each.is_card for each in devices} for devices in (kept, mark.moved))
    is_enough = bool(kept) if mark.switched else kinds == helped
    return is_enough and all(_has_aim(found, mark, device) for device in kept)


def _is_removed(found: Found, moved: MovedDevice) -> bool:
    """Whether the manifest's list of devices is given, and does not have this one."""
    machine = found.machine
    if moved.is_card:
        return machine.interfaces is not None and by_name(machine.interfaces, moved.name) is None
    return machine.disks is not None and by_name(machine.disks, moved.name) is None


def _has_aim(found: Found, mark: BusChangeMark, moved: MovedDevice) -> bool:
    if moved.is_card:
        card = by_name(found.machine.interfaces, moved.name)
        return card is not None and card.model == mark.model
    disk = by_name(found.machine.disks, moved.name)
    return disk is not None and disk.bus == mark.bus


def _is_moved(decision: Decision, names: AbstractSet[Optional[str]]) -> bool:
    difference = decision.difference
    is_field = difference.field in ("disks[].bus", "interfaces[].model")
    is_change = is_field and difference.kind is DifferenceKind.CHANGE
    return is_change and difference.device in names


def _is_start(decision: Decision) -> bool:
    return decision.difference.field == "power" and decision.row.route is Route.START


def _may_start(found: Found, others: Sequence[Decision], walk: Walk) -> bool:
    """Whether a guest that is off is started with the step that comes now."""
    if not walk.is_off:
        return False
    for decision in others:
        if _is_start(decision):
            return decision.is_done
    resumes = walk.mark is not None and walk.mark.resumes
    return resumes and found.machine.power is not Power.STOPPED


def _withhold(decision: Decision, mine: Tuple[Decision, ...], walk: BusWalk) -> Decision:
    if decision in mine:
        return withhold(decision, walk.reason) if walk.reason else decision
    if walk.names and _is_move(decision.difference):
        return withhold(decision, LATER)
    return decision


def _warn(decision: Decision, manifest: MachineManifest) -> Decision:
    """Say of a card of a Windows what it loses."""
    change = decision.change
    if change is None or not decision.difference.needs_card_driver:
        return decision
    if not may_be_windows(manifest.machine.os):
        return decision
    reason = "; ".join(filter(None, (change.reason, NEW_ADAPTER)))
    return replace(decision, change=replace(change, reason=reason))


def join_walk(
    action: Action, decisions: Tuple[Decision, ...], walk: BusWalk, reading: Reading
) -> Action:
    """Return the action with the lines of the bus change, or its steps, if it is their turn."""
    is_now = bool(walk.steps) and (walk.is_first or not action.steps)
    waits = walk.waits or (bool(walk.steps) and not is_now)
    # The last step writes the generation.
    changes = tuple(each for each in action.changes if each.path != GENERATION)
    action = replace(
        action,
        transient=action.transient or waits,
        stalled=walk.stalled,
        awaits_window=action.awaits_window or walk.awaits_window,
    )
    if not is_now:
        changes += () if walk.steps else walk.changes
        idle = ActionKind.WITHHELD if changes else ActionKind.NONE
        return replace(action, action=action.action if action.steps else idle, changes=changes)
    mine = {decision.difference.path for decision in decisions if _is_moved(decision, walk.names)}
    stored = any(isinstance(step, (Define, SetMetadata)) for step in action.steps)
    rest = action.steps if walk.is_before and not stored else ()
    if not rest:
        changes = tuple(_settle_line(change, mine, walk) for change in changes)
    view = reading.view
    return replace(
        action,
        action=ActionKind.UPDATE,
        changes=(*changes, *walk.changes),
        steps=(*walk.steps, *rest),
        before=Before(digest(view.persistent_xml), view.state),
        is_unsettled=True,
    )


def _settle_line(change: Change, mine: AbstractSet[str], walk: BusWalk) -> Change:
    """Return the line of another change as it is when the steps of the bus change are made."""
    if change.path in mine:
        return change if walk.moves is None else replace(change, effect=walk.moves)
    if change.effect is Effect.WITHHELD or (change.path == "power" and walk.starts):
        return change
    return replace(change, effect=Effect.WITHHELD, reason=AFTER)


def plan_walk(stage: Stage) -> BusWalk:
    """Return what is done about the change now."""
    phase = find_phase(stage.walk)
    if phase is None:
        return BusWalk()
    try:
        return _PLANS[phase](stage)
    except ReconcilerError as error:  # all else of the machine is done nevertheless
        if stage.walk.is_moved or stage.walk.aborts:
            raise
        waits = isinstance(error, TransientError)
        return BusWalk(reason=f"the bus change waits: {error}", waits=waits)


def look_around(
    manifest: MachineManifest,
    reading: Reading,
    world: World,
    *,
    is_wanted: bool,
    is_moved: bool,
    retried: bool,
    aborts: bool,
) -> Tuple[Walk, GuestProof]:
    """Return what the phase depends on. Asks for the guest's answer where it matters."""
    mark = reading.owner.bus_change if reading.owner is not None else None
    if mark is not None and mark.is_over and not is_wanted and not mark.resumes:
        return Walk(mark, is_wanted=False), GuestProof()
    proof = world.find_driver(manifest.name) or GuestProof()
    live, view = reading.view.live_xml, reading.view
    walk = Walk(
        mark=mark,
        is_running=reading.is_running,
        is_off=not reading.is_active and not view.saved,
        is_between=not reading.is_running and (reading.is_active or view.saved),
        is_crashed=find_state(view) is GuestState.CRASHED or view.state_reason == "watchdog",
        is_ending=view.state is GuestState.SHUTTING_DOWN,
        is_wanted=is_wanted,
        is_moved=is_moved,
        has_helper=_has_own(mark, view.persistent_xml),
        has_plug=_has_own(mark, live),
        can_plug=mark is None or live is None or steps.has_slot(live, mark),
        retries=retried or (mark is not None and mark.generation != manifest.generation),
        aborts=aborts,
        now=max(round(proof.now), 1),
        limit=manifest.lifecycle.bus_change.timeout,
    )
    if mark is None or mark.is_over or not reading.is_running:
        return walk, proof
    if mark.switched:
        shows_moved = not find_missing(mark, reading, proof)
        return replace(
            walk, shows_moved=shows_moved, was_asked=was_asked(proof.report, live)
        ), proof
    is_proved = not find_evidence(mark, reading, proof).lack
    return replace(walk, is_proved=is_proved), proof


def _has_own(mark: Optional[BusChangeMark], xml: Optional[str]) -> bool:
    """Whether a configuration has all the helpers of a change."""
    return mark is not None and all(edits.find_own(xml, name) is not None for name in mark.own)


_PLANS: Mapping[Phase, Callable[[Stage], BusWalk]] = {
    Phase.PREPARE: steps.prepare,
    Phase.AWAIT_PLUG: steps.await_plug,
    Phase.AWAIT_DRIVER: await_driver,
    Phase.PROVED: steps.prove,
    Phase.SWITCH: steps.switch,
    Phase.AWAIT_GUEST: steps.await_guest,
    Phase.AWAIT_START: steps.await_start,
    Phase.BEGIN_CHECK: steps.begin_check,
    Phase.AWAIT_SHOWN: steps.await_shown,
    Phase.FINISH: steps.finish,
    Phase.GO_BACK: ends.go_back,
    Phase.GIVE_UP: ends.give_up,
    Phase.RESUME: ends.resume,
    Phase.FAILED: ends.fail,
    Phase.FORGET: ends.forget,
}
