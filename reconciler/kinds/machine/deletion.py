"""Delete one machine whose manifest is gone, by a plan that says everything that will go.

Nothing is deleted on old knowledge: the plan is made anew right before the first step, and again
after the guest has shut down, and must come out the same. Nothing here decides that a machine goes.
"""

from __future__ import annotations

from typing import List, Tuple

from reconciler.control.ports import Host
from reconciler.core.frozen import replace
from reconciler.core.manifest import Desired
from reconciler.core.plan import (
    Action,
    ActionKind,
    DeleteVolume,
    Shutdown,
    Step,
)
from reconciler.core.world import Reading
from reconciler.errors import NotFoundError, ReconcilerError, RefusedError, TerminalError
from reconciler.kinds.api import ActionTask
from reconciler.kinds.machine.answers import read, understand
from reconciler.kinds.machine.execute import PERFORM, StepContext, read_former
from reconciler.kinds.machine.observe import ObservedHost, begin
from reconciler.kinds.machine.planning.delete import plan_delete


def plan_deletion(host: Host, desired: Desired, name: str, uuid: str = "") -> Action:
    """Read the host and plan the machine's end, as the spec last applied to it says.

    `uuid` is that of the domain that is meant, where it is known. Raises NotFoundError when there
    is no such domain, or another has its name by now; TransientError when it cannot be read now.
    """
    view = host.domains.read_domain(name)
    job = host.domains.find_job(name) if view.is_active else ""
    reading = read(replace(view, job=job))
    if uuid not in ("", reading.view.uuid):
        raise NotFoundError(
            f"domain {name}: another domain has this name now (UUID {reading.view.uuid})"
        )
    snapshots = host.domains.list_snapshots(name)
    observation = _observe(host, desired, reading)
    return observation.make(lambda world: plan_delete(reading, world, desired, snapshots))


def execute_delete(task: ActionTask) -> Tuple[str, ...]:
    """Carry out a DELETE action.

    After a failure the machine is still there, and may be planned and deleted again.
    """
    host, action = task.host, task.action
    task.refuse()
    refuse_other_plan(action, plan_deletion(host, task.desired, action.name))
    former = read_former(host, action.name)
    work = StepContext(host, task.clock, action.name, former, task.progress)
    stops = tuple(step for step in action.steps if isinstance(step, Shutdown))
    rest = action.steps[len(stops) :]
    if stops:
        for step in stops:
            PERFORM[type(step)](work, step)
        # That may have taken hours, in which anybody could begin to use one of the volumes, or
        # have brought the manifest back.
        task.refuse()
        _refuse_other_steps(rest, plan_deletion(host, task.desired, action.name))
    _perform_all(work, rest)
    _refuse_left(work)
    return ()


def _observe(host: Host, desired: Desired, reading: Reading) -> ObservedHost:
    """Return the host with every domain of it: any of them may depend on what is to go."""
    views = host.domains.list_domains()
    domains = {name: understand(view) for name, view in views.items()}
    return begin(host, desired, {**domains, reading.view.name: reading}, views)


def refuse_other_plan(planned: Action, again: Action) -> None:
    """Refuse to delete by a plan that was made for another world."""
    _refuse_other_steps(planned.steps, again)
    if planned.before != again.before:
        raise RefusedError("the domain was changed since the plan was made; plan again")


def _refuse_other_steps(steps: Tuple[Step, ...], again: Action) -> None:
    if again.action is not ActionKind.DELETE:
        raise RefusedError(again.reason or "it no longer needs to be deleted; plan again")
    if again.steps != steps:
        raise RefusedError("the objects to delete have changed since the plan was made; plan again")


def _perform_all(work: StepContext, steps: Tuple[Step, ...]) -> None:
    """Carry out the steps; an error says which volumes are gone already."""
    gone: List[str] = []
    try:
        for step in steps:
            PERFORM[type(step)](work, step)
            if isinstance(step, DeleteVolume):
                gone.append(f"{step.pool}/{step.name}")
    except ReconcilerError as error:
        if not gone:
            raise
        raise type(error)(f"{error}; deleted before that: {', '.join(gone)}") from error


def _refuse_left(work: StepContext) -> None:
    """Raise TerminalError if the domain is there still; only libvirt's own word means gone."""
    if read_former(work.host, work.name) is not None:
        raise TerminalError("it still exists, although libvirt removed its definition")
