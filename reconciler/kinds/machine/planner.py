"""Make the plan of one machine: what happens to it, as one action.

Pure: the same manifests, world and options give the same plan. One machine that cannot be planned
is a FAILED action with its reason, and never keeps the others from being planned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple, Union

from reconciler.core.faults import isolate
from reconciler.core.frozen import replace
from reconciler.core.guests import describe_unknown, is_windows
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.plan import Action, ActionKind, CreateVolume, PlanOptions, failed_action
from reconciler.core.world import Reading, Unknown, World
from reconciler.errors import FaultError, ReconcilerError
from reconciler.kinds.machine.planning.differences import Holding, Planner, is_applied
from reconciler.kinds.machine.planning.guards import refuse_renamed
from reconciler.kinds.machine.planning.images import find_unfetched
from reconciler.kinds.machine.status import is_unfinished

if TYPE_CHECKING:
    from reconciler.core.libvirt_daemons import DaemonsView

KIND = "VirtualMachine"


def plan_machine(
    manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> Action:
    """Plan one machine; what is impossible becomes the action's reason."""
    if not manifest.lifecycle.start_after:
        return _plan(manifest, desired, world, options)
    from reconciler.kinds.machine.start_order import plan_start  # noqa: PLC0415 - start-up time

    return plan_start(
        manifest, desired, world, options, lambda held: _plan(manifest, desired, world, held)
    )


def _plan(
    manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> Action:
    missing = find_missing(manifest, world.daemons)
    if missing:
        return Action(KIND, manifest.name, ActionKind.WITHHELD, reason=missing)
    try:
        action = isolate(_plan_served, manifest, desired, world, options)
    except FaultError as error:
        return failed_action(KIND, manifest.name, error)
    busy = world.busy.get(manifest.key) or _find_unfetched(
        action, manifest, desired, world, options
    )
    if busy and action.action is not ActionKind.NONE:
        return Action(KIND, manifest.name, ActionKind.WITHHELD, reason=busy, transient=True)
    if not action.changes:
        return action
    warning = describe_unknown(manifest.machine.os)
    notes = (*find_notes(manifest, world), *((warning,) if warning else ()))
    return replace(action, notes=(*action.notes, *notes))


def _find_unfetched(
    action: Action, manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> str:
    """Say which image the action would clone from that this run does not fetch first.

    The daemon works on one object at a time, and on the template first.
    """
    steps = [step for step in action.steps if isinstance(step, CreateVolume) and step.origin]
    names = {disk.name: disk.template for disk in manifest.machine.disks or ()}
    for step in steps:
        template = desired.template(names.get(step.disk) or "")
        image = find_unfetched(template, world) if template is not None else ""
        if template is not None and image and (options.unattended or template.key in world.busy):
            return f"waits for template {template.name}: its image {image} is not there yet"
    return ""


def _plan_served(
    manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> Action:
    reading = world.domains.get(manifest.name)
    if isinstance(reading, Unknown):
        reason = f"cannot be read, so nothing is changed: {reading.reason}"
        return Action(KIND, manifest.name, ActionKind.FAILED, reason=reason, transient=True)
    try:
        if options.migrated and (reading is None or not reading.is_active):
            return _hold_migrated(manifest, reading, desired, world, options)
        if reading is None:
            refuse_renamed(manifest.name, world)
            action = _plan_absent(manifest, desired, world, options)
        else:
            action = _plan_found(manifest, reading, desired, world, options)
        if not action.steps:
            return action
        if is_windows(manifest.machine.os):
            from reconciler.kinds.machine.planning import windows_guests  # noqa: PLC0415

            action = windows_guests.settle_installation(action, manifest, world)
        from reconciler.kinds.machine.planning import requirements  # noqa: PLC0415 - start-up time

        return requirements.settle_requirements(action, manifest, world)
    except ReconcilerError as error:
        return failed_action(KIND, manifest.name, error)


def _hold_migrated(
    manifest: MachineManifest,
    reading: Optional[Reading],
    desired: Desired,
    world: World,
    options: PlanOptions,
) -> Action:
    """Plan a machine that went to another host: it is neither made nor started a second time."""
    from reconciler.kinds.machine.planning import states  # noqa: PLC0415 - start-up time

    if reading is not None:
        away = replace(reading, view=replace(reading.view, state_reason=states.MIGRATED))
        return _plan_found(manifest, away, desired, world, options)
    reason = states.refuse_migrated(manifest.name)
    return Action(KIND, manifest.name, ActionKind.WITHHELD, reason=reason)


def _plan_absent(
    manifest: MachineManifest, desired: Desired, world: World, options: PlanOptions
) -> Action:
    """Plan a machine that is not there: as it was, if that is known, else a new one."""
    # Loaded when it is needed: a plan seldom creates a machine.
    from reconciler.kinds.machine.planning.create import plan_create  # noqa: PLC0415
    from reconciler.kinds.machine.planning.recreate import (  # noqa: PLC0415
        describe_gone,
        find_shared,
        plan_recreate,
    )

    lost = world.lost.get(manifest.name)
    if lost is not None and world.find_holders("uuid", lost.reading.view.uuid):
        lost = None  # it is not lost: it was renamed, and goes by another name now
    elsewhere = world.elsewhere.get(manifest.name, "")
    if lost is not None and not elsewhere:
        elsewhere = find_shared(manifest, lost, world)
    if elsewhere and manifest.name not in options.here:
        held = ActionKind.WITHHELD
        return Action(KIND, manifest.name, held, reason=elsewhere, transient=True)
    action = lost and plan_recreate(manifest, lost, desired, world, _find_planner(options))
    if lost is None or action is not None:
        return action or plan_create(manifest, desired, world)
    created = plan_create(manifest, desired, world)
    return replace(created, notes=(describe_gone(manifest, lost, world), *created.notes))


def _plan_found(
    manifest: MachineManifest,
    reading: Reading,
    desired: Desired,
    world: World,
    options: PlanOptions,
) -> Action:
    holding, is_partial = _find_holding(reading, options), is_unfinished(reading)
    is_ours = holding is Holding.OURS and reading.view.persistent and not is_partial
    if is_ours and is_applied(manifest, reading, world):
        return Action(KIND, manifest.name, ActionKind.NONE)
    # What follows is most of the planner, and most machines do not need it.
    from reconciler.kinds.machine.planning.create import plan_create  # noqa: PLC0415
    from reconciler.kinds.machine.planning.recreate import store_again  # noqa: PLC0415
    from reconciler.kinds.machine.planning.states import refuse_unstored  # noqa: PLC0415
    from reconciler.kinds.machine.planning.update import plan_update  # noqa: PLC0415

    if is_partial:
        return plan_create(manifest, desired, world, reading)
    planner = _find_planner(options)
    if reading.view.persistent:
        return plan_update(manifest, reading, desired, world, planner, holding)
    lost = world.lost.get(manifest.name)
    is_known = lost is not None and lost.reading.view.uuid == reading.view.uuid
    refuse_unstored(reading.view, may_store=is_known and holding is Holding.OURS)
    return store_again(plan_update(manifest, reading, desired, world, planner, holding), reading)


def _find_planner(options: PlanOptions) -> Planner:
    return Planner(options.now, options.unattended, options.left, options.retried, options.aborts)


def _find_holding(reading: Reading, options: PlanOptions) -> Holding:
    name = reading.view.name
    if reading.owner is not None and reading.owner.name == name:
        return Holding.OURS
    return Holding.ADOPTED if options.adopts(name) else Holding.FOREIGN


def find_missing(manifest: MachineManifest, view: Union[DaemonsView, Unknown]) -> str:
    """Say which of the machine's daemons cannot serve it; empty if all can, or it is not known."""
    if isinstance(view, Unknown) or not manifest.required_daemons:
        return ""
    from reconciler.core.daemon_faults import find_hindrance  # noqa: PLC0415 - start-up time
    from reconciler.core.libvirt_daemons import BY_NAME  # noqa: PLC0415

    found = (find_hindrance(BY_NAME[name], view) for name in manifest.required_daemons)
    missing = [hindrance for hindrance in found if hindrance]
    return f"required daemon: {'; '.join(missing)}" if missing else ""


def find_notes(manifest: MachineManifest, world: World) -> Tuple[str, ...]:
    """Return what a reader should know of the machine's daemons."""
    if not manifest.required_daemons or not isinstance(world.daemons, Unknown):
        return ()
    names = ", ".join(manifest.required_daemons)
    return (f"required daemons, not checked ({world.daemons.reason}): {names}",)


def find_served(desired: Desired, view: Union[DaemonsView, Unknown]) -> Tuple[MachineManifest, ...]:
    """Return the machines that no missing daemon holds back."""
    return tuple(machine for machine in desired.machines if not find_missing(machine, view))
