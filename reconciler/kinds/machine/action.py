"""Carry out what is planned for one machine: its steps, in order, and nothing else.

The action is checked against the world it was planned for, carried out, verified by reading it
back, and undone as far as it can be when a step fails.
"""

from __future__ import annotations

from typing import Optional, Tuple, Type

from reconciler.control.ports import Clock, Host, Reporter
from reconciler.core import plan
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.plan import Action, Outcome, Step, failed_outcome
from reconciler.core.world import DomainView, describe_state
from reconciler.core.xmltree import digest
from reconciler.errors import (
    BusyError,
    ReconcilerError,
    RefusedError,
    StoppingError,
    TransientError,
)
from reconciler.kinds.api import holding
from reconciler.kinds.machine.execute import StepContext, perform, read_former
from reconciler.kinds.machine.planning.states import describe_job
from reconciler.kinds.machine.undo import UndoTrail
from reconciler.kinds.machine.verify import refuse_lost_edits, verify


def execute_machine(
    host: Host, desired: Desired, action: Action, report: Reporter, clock: Clock
) -> Outcome:
    """Carry out the steps of one machine under its lock."""
    manifest = desired.objects[action.key]
    assert isinstance(manifest, MachineManifest)  # noqa: S101 - a key has one kind
    kept: Tuple[str, ...] = ()
    try:
        with holding(host, action.key, clock):
            report.started(action)
            try:
                work = StepContext(
                    host, clock, action.name, _refuse_moved(host, action), report.progress
                )
                trail = UndoTrail(work, action)
                try:
                    _carry_out(work, manifest, action, trail)
                    pending = _verify(work, manifest, desired, action, trail)
                finally:
                    kept = trail.kept
                outcome = Outcome(action.name, action.action, None, pending)
            except ReconcilerError as error:
                outcome = failed_outcome(action, error, kept)
            report.finished(outcome)
    except BusyError as error:
        outcome = failed_outcome(action, error)
        report.finished(outcome)
    return outcome


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


def _carry_out(
    work: StepContext, manifest: MachineManifest, action: Action, trail: UndoTrail
) -> None:
    step: Optional[Step] = None
    try:
        for following in action.steps:
            if step is not None:
                work.clock.sleep(0)  # Ctrl-C may come here; `step` is done
            step = following
            trail.add(step, perform(work, step))
            if isinstance(step, plan.Define):
                refuse_lost_edits(work, manifest, action, step.xml)
        trail.remember_definition()
    except StoppingError:
        raise  # what was begun is sound as it stands, and the next start goes on from there
    except ReconcilerError as error:
        kind, words = _explain(work, error)
        raise kind(trail.explain(words, step) if step else words) from error
    except (Exception, KeyboardInterrupt):
        # Ctrl-C, or a fault of our own: the object is not left half done, and it is not hidden.
        trail.give_up(step)
        raise


def _verify(
    work: StepContext, manifest: MachineManifest, desired: Desired, action: Action, trail: UndoTrail
) -> Tuple[str, ...]:
    try:
        return verify(work, manifest, desired, action)
    except StoppingError:
        raise
    except ReconcilerError as error:
        raise type(error)(trail.explain_difference(str(error))) from error


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
