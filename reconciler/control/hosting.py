"""Carry out what a plan does to the daemons of this host, and see that it took hold."""

from __future__ import annotations

from typing import Tuple, Union

from reconciler.control.ports import Clock, Reporter
from reconciler.control.ports.units import Units
from reconciler.control.steps import wait_until
from reconciler.core.daemons.faults import Verb
from reconciler.core.daemons.view import DaemonsView
from reconciler.core.manifest import Desired, HostManifest
from reconciler.core.plan import Action, ChangeUnits, Effect, Outcome
from reconciler.core.planning.hosts import find_guests, plan_host
from reconciler.core.world import Unknown, World
from reconciler.errors import ReconcilerError, RefusedError, TerminalError

SETTLE_LIMIT = 30.0  # seconds that a unit may take to come up
STOPPING = frozenset({Verb.STOP, Verb.DISABLE, Verb.MASK})


def is_asked_for(desired: Desired) -> bool:
    """Whether a manifest says anything about daemons, so that they must be looked at."""
    return any(one.mode for one in desired.hosts) or any(
        one.required_daemons for one in desired.machines
    )


def read_daemons(units: Units, desired: Desired) -> Union[DaemonsView, Unknown]:
    """Look at the daemons if a manifest asks for it."""
    return units.observe() if is_asked_for(desired) else World("", "").daemons


def execute_host(
    units: Units, manifest: HostManifest, action: Action, report: Reporter, clock: Clock
) -> Outcome:
    """Carry out the action's steps in order, and read back."""
    report.started(action)
    try:
        for step in action.steps:
            if isinstance(step, ChangeUnits):
                _refuse_guests(units, step)
                units.change(step.verb, step.units)
        _verify(units, manifest, clock)
        outcome = Outcome(action.name, action.action)
    except ReconcilerError as error:
        outcome = Outcome(action.name, action.action, str(error), cause=error)
    report.finished(outcome)
    return outcome


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
        raise TerminalError(f"not as planned after all: {'; '.join(left[0])}")


def _left(units: Units, manifest: HostManifest) -> Tuple[str, ...]:
    """Return what a new plan would still do."""
    again = plan_host(manifest, World("", "", daemons=units.observe()))
    return tuple(
        f"{one.path}: {one.reason}" for one in again.changes if one.effect is not Effect.WITHHELD
    )
