"""Carry out what a plan does to the daemons of this host, and ask them who they are."""

from __future__ import annotations

from typing import Tuple, Union

from reconciler.control.ports import Clock, Units
from reconciler.core.frozen import replace
from reconciler.core.libvirt_daemons import Verb
from reconciler.core.manifest import Desired, HostManifest
from reconciler.core.plan import ChangeUnits, Effect
from reconciler.core.world import Unknown, World
from reconciler.errors import RefusedError, TerminalError
from reconciler.kinds.api import ActionTask, wait_until
from reconciler.kinds.host.judgement import Report, find_askable, make_report
from reconciler.kinds.host.planning import find_guests, plan_host

SETTLE_LIMIT = 30.0  # seconds that a unit may take to come up
STOPPING = frozenset({Verb.STOP, Verb.DISABLE, Verb.MASK})


def execute_host(task: ActionTask) -> Tuple[str, ...]:
    """Carry out the action's steps in order, and read back. Needs no libvirt."""
    units, manifest = task.host.units, task.desired.objects[task.action.key]
    assert isinstance(manifest, HostManifest)  # noqa: S101 - a key has one kind
    for step in task.action.steps:
        if isinstance(step, ChangeUnits):
            _refuse_guests(units, step)
            units.change(step.verb, step.units)
    _verify(units, manifest, task.clock)
    return ()


def _refuse_guests(units: Units, step: ChangeUnits) -> None:
    """Look once more right before anything is stopped: a guest may have been started since."""
    if step.verb not in STOPPING:
        return
    view = units.observe()
    why = view.reason if isinstance(view, Unknown) else find_guests(view)
    if why:
        raise RefusedError(f"{step.verb.value} {', '.join(step.units)}: {why}; plan again")


def _verify(units: Units, manifest: HostManifest, clock: Clock) -> None:
    left = [_left(units, manifest)]

    def is_settled() -> bool:
        left[0] = _left(units, manifest)
        return not left[0]

    if left[0] and not wait_until(clock, SETTLE_LIMIT, is_settled):
        raise TerminalError(f"not as planned: {'; '.join(left[0])}")


def _left(units: Units, manifest: HostManifest) -> Tuple[str, ...]:
    """Return what a new plan would still do."""
    again = plan_host(manifest, World("", "", daemons=units.observe()))
    return tuple(
        f"{change.path}: {change.reason}"
        for change in again.changes
        if change.effect is not Effect.WITHHELD
    )


def check_daemons(units: Units, desired: Desired) -> Union[Report, Unknown]:
    """Return the daemons judged, with who answers; no daemon that must be off is connected to.

    The units are shown as they were before anybody was asked, as asking starts what is idle.
    """
    view = units.observe()
    if isinstance(view, Unknown):
        return view
    rows = tuple(row.judgement for row in make_report(view, desired).rows)
    answers = {path: units.ask(path) for path in find_askable(rows, view)}
    if any(answer.refused for answer in answers.values()):
        again = units.observe()  # what was asked may have failed at starting
        view = view if isinstance(again, Unknown) else again
    return make_report(replace(view, answers=answers), desired)
