"""Carry out a plan: its steps, in order, and nothing else.

Each action is checked against the world it was planned for, carried out, verified by reading it
back, and undone as far as it can be when a step fails. One failed action never stops the others.
"""

from __future__ import annotations

from typing import List, Tuple, Type

from reconciler.control.deleting import execute_delete
from reconciler.control.hosting import execute_host
from reconciler.control.object_lock import holding
from reconciler.control.ports import Clock, Host, Reporter
from reconciler.control.steps import LASTING, Undo, Work, perform, read_former
from reconciler.control.verify import refuse_lost_edits, verify
from reconciler.core import plan
from reconciler.core.domain import digest
from reconciler.core.manifest import Desired, MachineManifest
from reconciler.core.plan import Action, ActionKind, Outcome, Plan
from reconciler.core.planning.hosts import KIND as HOST
from reconciler.core.planning.states import describe_job
from reconciler.core.world import DomainView, describe_state
from reconciler.errors import (
    BusyError,
    ReconcilerError,
    RefusedError,
    StoppingError,
    TransientError,
)

# From the first of these on an action is not undone: the object is as it was asked for.
COMMITTING = (plan.SetAutostart, plan.Shutdown, plan.Start)


def execute(
    host: Host, desired: Desired, todo: Plan, report: Reporter, clock: Clock
) -> Tuple[Outcome, ...]:
    """Carry out every action that has steps, and return how each ended."""
    machines = {one.name: one for one in desired.machines}
    hosts = {one.name: one for one in desired.hosts}

    def carry(action: Action) -> Outcome:
        if action.kind == HOST:
            return execute_host(host.units, hosts[action.name], action, report, clock)
        if action.action is ActionKind.DELETE:
            return execute_delete(host, desired, action, report, clock)
        return _execute_one(host, machines[action.name], desired, action, report, clock)

    return tuple(carry(one) for one in todo.actions if one.steps)


def _execute_one(
    host: Host,
    manifest: MachineManifest,
    desired: Desired,
    action: Action,
    report: Reporter,
    clock: Clock,
) -> Outcome:
    try:
        with holding(host, (action.kind, action.name), clock):
            return _execute_alone(host, manifest, desired, action, report, clock)
    except BusyError as error:
        outcome = Outcome(action.name, action.action, str(error), cause=error)
        report.finished(outcome)
        return outcome


def _execute_alone(
    host: Host,
    manifest: MachineManifest,
    desired: Desired,
    action: Action,
    report: Reporter,
    clock: Clock,
) -> Outcome:
    report.started(action)
    try:
        former = _refuse_moved(host, action)
        work = Work(host, clock, action.name, former, report.progress)
        _carry_out(work, manifest, action)
        pending = verify(work, manifest, desired, action)
        outcome = Outcome(action.name, action.action, None, pending)
    except ReconcilerError as error:
        outcome = Outcome(action.name, action.action, str(error), cause=error)
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


def _carry_out(work: Work, manifest: MachineManifest, action: Action) -> None:
    undo: List[Tuple[str, Undo]] = []
    lasting: List[str] = []
    try:
        for step in action.steps:
            if isinstance(step, COMMITTING):
                undo.clear()
            taken_back = perform(work, step)
            if taken_back is not None:
                undo.append((type(step).__name__, taken_back))
            elif type(step) in LASTING:
                lasting.append(LASTING[type(step)](step))
            if isinstance(step, plan.Define):
                refuse_lost_edits(work, manifest, action, step.xml)
    except StoppingError:
        raise  # what was begun is sound as it stands, and the next start goes on from there
    except ReconcilerError as error:
        kind, words = _explain(work, error)
        raise kind(f"{words}{_take_back(undo, lasting)}") from error
    except (Exception, KeyboardInterrupt):
        # Ctrl-C, or a fault of our own: the object is not left half done, and it is not hidden.
        _take_back(undo, lasting)
        raise


def _explain(work: Work, error: ReconcilerError) -> Tuple[Type[ReconcilerError], str]:
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


def _take_back(undo: List[Tuple[str, Undo]], lasting: List[str]) -> str:
    """Undo in reverse order; stop at the first that fails, and say what is left."""
    if not undo:
        return ""
    for name, one in reversed(undo):
        try:
            one()
        except ReconcilerError as error:
            return f"; undoing {name} failed too, and what came before it was left: {error}"
    if lasting:
        return f"; put back as it was, but for what was done already: {', '.join(lasting)}"
    return "; everything was put back as it was"
