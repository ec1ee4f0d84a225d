"""Carry out one action on a machine, and read back that nothing is left over.

The action is checked against the world it was planned for, carried out, verified by reading it
back, and undone as far as it can be when a step fails.
"""

from __future__ import annotations

from typing import FrozenSet, Optional, Tuple, Type

from reconciler.control.ports import Host
from reconciler.core import plan
from reconciler.core.guest_states import describe_state
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.names import BUS_CHANGE
from reconciler.core.plan import (
    Action,
    ActionKind,
    Change,
    Effect,
    PlanOptions,
    Step,
    Value,
)
from reconciler.core.preparation import PrepareVolume
from reconciler.core.render.words import say_value, show_path
from reconciler.core.secrets import hide_sides
from reconciler.core.world import DomainView
from reconciler.core.xmltree import digest, parse
from reconciler.errors import (
    AwaitedError,
    NotFoundError,
    ReconcilerError,
    RefusedError,
    StoppingError,
    TerminalError,
    TransientError,
)
from reconciler.kinds.api import ActionTask, wait_until
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.domain.overlays import compare_overlays
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.execute import PERFORM, StepContext, read_former, reveal
from reconciler.kinds.machine.image_steps import takes_long
from reconciler.kinds.machine.match import Difference, align, compare
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planner import plan_machine
from reconciler.kinds.machine.planning.states import describe_job
from reconciler.kinds.machine.undo import UndoTrail

_MEANWHILE = "the guest did not follow, or another program changed it meanwhile; apply again"
SETTLE_LIMIT = 30.0  # seconds that a balloon or a device may take to follow


def refuse_lost_edits(
    work: StepContext, manifest: MachineManifest, action: Action, xml: str
) -> None:
    """Raise TerminalError if libvirt's stored definition is not as `xml` was to make it.

    It lacks something that was asked for, or something else that the manifest gives has changed.
    """
    mark = read_owner(parse(xml))
    if mark is not None and mark.is_unfinished:
        return  # the whole definition is still to come
    kept = work.stored[-1]  # read back just now
    wanted = align(manifest.machine, read_machine(parse(xml)))
    found = align(wanted, read_machine(parse(kept)))
    lost = compare(wanted, found) + compare_overlays(kept, manifest.machine.overlays)
    paths = {difference.path for difference in lost} & _promised(action.changes)
    if paths:
        raise TerminalError(f"libvirt did not keep {', '.join(sorted(paths))} as it was stored")
    _refuse_damage(work, manifest, action, kept)


def _refuse_damage(work: StepContext, manifest: MachineManifest, action: Action, kept: str) -> None:
    """Raise TerminalError if a managed field was as the manifest has it, and is not any more."""
    if work.former is None:
        return
    before = {difference.path for difference in _compare(manifest, work.former.persistent_xml)}
    before |= {change.path for change in action.changes}
    spoiled = [
        difference for difference in _compare(manifest, kept) if difference.path not in before
    ]
    if spoiled:
        words = "; ".join(
            _describe(difference.path, difference.observed, difference.desired)
            for difference in spoiled
        )
        raise TerminalError(f"the change would alter more than it should: {words}")


def _compare(manifest: MachineManifest, xml: str) -> Tuple[Difference, ...]:
    found = compare(manifest.machine, align(manifest.machine, read_machine(parse(xml))))
    return tuple(difference for difference in found if difference.field.startswith(_TOGETHER))


# Fields that depend on each other, so that changing one may spoil another.
_TOGETHER = ("cpus.", "memory.", "disks[].boot", "cdroms[].boot", "interfaces[].boot")


def _promised(changes: Tuple[Change, ...]) -> FrozenSet[str]:
    return frozenset(change.path for change in changes if change.effect is not Effect.WITHHELD)


def verify(
    work: StepContext, manifest: MachineManifest, desired: Desired, done: Action
) -> Tuple[str, ...]:
    """Plan the machine anew and return what waits for its next cold start.

    Raises TransientError naming what is still different after a while: someone else may have
    changed it meanwhile, and the next plan says.
    """
    live = frozenset(change.path for change in done.changes if change.effect is Effect.LIVE)
    # What was not to be done is not missed; after an adoption it is the next plan's to do.
    held = frozenset(change.path for change in done.changes if change.effect is Effect.WITHHELD)
    promised = _promised(done.changes)
    last = [_plan_again(work, manifest, desired)]

    def left(*, again: bool = False) -> Tuple[str, ...]:
        if again:
            last[0] = _plan_again(work, manifest, desired)
        return _left(last[0], live, promised, held)

    if left() and not wait_until(work.clock, SETTLE_LIMIT, lambda: not left(again=True)):
        why = "" if last[0].action is ActionKind.FAILED else f": {_MEANWHILE}"
        raise TransientError(f"{'; '.join(left())}{why}")
    return last[0].pending


def _plan_again(work: StepContext, manifest: MachineManifest, desired: Desired) -> Action:
    alone = Desired.of(manifest, *desired.templates)
    try:
        views = {work.name: work.host.domains.read_domain(work.name)}
    except NotFoundError as error:
        raise TransientError("the domain disappeared during the change") from error
    if not views[work.name].persistent:
        raise TransientError("the domain was undefined during the change; apply again")
    options = PlanOptions(unattended=True)
    return observe(work.host, alone, views).make(
        lambda world: plan_machine(manifest, alone, world, options)
    )


def _left(
    action: Action,
    live: FrozenSet[str],
    promised: FrozenSet[str] = frozenset(),
    held: FrozenSet[str] = frozenset(),
) -> Tuple[str, ...]:
    """Return what differs, and what was promised live and the guest has not followed in.

    What was promised and is withheld now was not done.
    """
    if action.action is ActionKind.FAILED:
        return (action.reason,)
    slow = sorted(live.intersection(action.pending))
    return tuple(f"the guest has not followed in {path}, which is stored" for path in slow) + tuple(
        _describe_change(change) for change in action.changes if _is_left(change, promised, held)
    )


def _is_left(change: Change, promised: FrozenSet[str], held: FrozenSet[str]) -> bool:
    if change.path == BUS_CHANGE:
        return False  # its next step is the next plan's
    if change.path in promised:
        return True
    return change.effect is not Effect.WITHHELD and change.path not in held


def _describe_change(change: Change) -> str:
    reason = f" ({change.reason})" if change.effect is Effect.WITHHELD else ""
    return _describe(change.path, change.observed, change.desired) + reason


def _describe(path: str, observed: Value, desired: Value) -> str:
    old, new = hide_sides(path, observed, desired)
    return f"{show_path(path)} is {say_value(path, old)}, should be {say_value(path, new)}"


def execute_machine(task: ActionTask) -> Tuple[str, ...]:
    """Carry out the steps of one machine; return what waits for its next cold start."""
    host, action, manifest = task.host, task.action, task.desired.objects[task.action.key]
    assert isinstance(manifest, MachineManifest)  # noqa: S101 - a key has one kind
    former = _refuse_moved(host, action)
    _refuse_unread(host, action)
    work = StepContext(
        host=host,
        clock=task.clock,
        name=action.name,
        former=former,
        progress=task.progress,
        takes_long=any(map(takes_long, action.steps)),
    )
    trail = UndoTrail(work, task)
    step: Optional[Step] = None
    try:
        for following in action.steps:
            if step is not None:
                work.clock.sleep(0)  # Ctrl-C may come here; `step` is done
            if isinstance(following, plan.Start) and _await_others(task, manifest, trail):
                continue  # somebody else has started it meanwhile
            step = following
            shown = reveal(host, manifest.machine, step)
            trail.add(step, PERFORM[type(step)](work, shown))
            if isinstance(shown, plan.Define):
                refuse_lost_edits(work, manifest, action, shown.xml)
        trail.remember_definition()
    except (StoppingError, AwaitedError):
        raise  # what was begun is sound as it stands, and the next start goes on from there
    except ReconcilerError as error:
        kind, words = _explain(work, error)
        raise kind(trail.explain(words, step) if step else words) from error
    except (Exception, KeyboardInterrupt):
        # Ctrl-C, or a fault of our own: the object is not left half done, and it is not hidden.
        trail.give_up(step)
        raise
    try:
        return verify(work, manifest, task.desired, action)
    except StoppingError:
        raise
    except ReconcilerError as error:
        raise type(error)(trail.explain_difference(str(error))) from error


def _await_others(task: ActionTask, manifest: MachineManifest, trail: UndoTrail) -> bool:
    """Wait for the guests that must be ready first; return whether it was started meanwhile."""
    if task.awaiting.look is None or not manifest.lifecycle.start_after:
        return False
    from reconciler.kinds.machine.start_order import await_others  # noqa: PLC0415 - start-up time

    try:
        has_waited = await_others(task, manifest)
    except AwaitedError as error:
        raise AwaitedError(trail.explain_wait(str(error))) from error
    return has_waited and task.host.domains.read_domain(manifest.name).is_active


def _refuse_unread(host: Host, action: Action) -> None:
    """Raise TransientError, before anything is made, if a clone could not be prepared later."""
    for step in action.steps:
        for ref in step.preparation.refs if isinstance(step, PrepareVolume) else ():
            host.secrets.read(ref)


def _refuse_moved(host: Host, action: Action) -> DomainView | None:
    """Return the domain as it is now, or refuse: the plan was made for another world."""
    former = read_former(host, action.name)
    found = None if former is None else digest(former.persistent_xml)
    if found != action.before.definition:
        happened = "is gone" if former is None else "was changed or made"
        raise RefusedError(f"the domain {happened} since the plan was made; plan again")
    if former is not None and former.state is not action.before.state:
        raise RefusedError(
            f"the guest is {describe_state(former)} now, and was {action.before.state.value} when "
            "the plan was made; plan again"
        )
    return former


def _explain(work: StepContext, error: ReconcilerError) -> Tuple[Type[ReconcilerError], str]:
    """Return the kind of a failure and its words; a job of libvirt's that is in the way is named.

    Such a failure passes by itself, whatever libvirt calls it.
    """
    if isinstance(error, RefusedError) or work.former is None or not work.former.is_active:
        return type(error), str(error)
    try:
        job = work.host.domains.find_job(work.name)
    except ReconcilerError:
        job = ""
    if not job:
        return type(error), str(error)
    kind = type(error) if isinstance(error, TransientError) else TransientError
    return kind, f"{describe_job(job)} is under way; apply again when it is done ({error})"
