"""One pass over one object: look, plan, carry out, and say how it ended.

Reads everything anew; what brought the pass about is not known here. Every way out is a `Result`.
What an object is, and how it is read, planned and changed, is its kind's.
"""

from __future__ import annotations

from typing import Callable, FrozenSet, Optional

from reconciler.control.change_recorder import DaemonRecorder
from reconciler.control.executor import Executor
from reconciler.control.journal_reporter import JournalReporter
from reconciler.control.ports import Clock
from reconciler.control.service_ports import Journal, Meter
from reconciler.control.state import Attempt, Attempts, describe_left
from reconciler.core import events, metrics
from reconciler.core.conditions import (
    MOST,
    MOST_MISSING,
    Again,
    Conditions,
    Done,
    Result,
    Stalled,
    failed,
    find_delay,
    fingerprint,
    kind_of,
    planned,
    unknown,
)
from reconciler.core.events import Event
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key
from reconciler.core.overview import LEFT_ALONE
from reconciler.core.plan import Action, ActionKind, Effect, Outcome, PlanOptions
from reconciler.errors import (
    BusyError,
    MissingError,
    NotFoundError,
    ReconcilerError,
    RefusedError,
    StoppingError,
    TransientError,
)
from reconciler.kinds.api import PassTask, Scene, Sighting, Surroundings, find_kind


@frozen
class PassResult:
    """How a pass ended; `done` are the changes that were carried out, for people.

    `tried` is False when a former failure kept the pass from trying again. `is_settled` says that
    nothing is left to do that a start of the host may have changed.
    """

    result: Result
    verdict: Conditions
    sighting: Optional[Sighting] = None
    done: str = ""
    tried: bool = True
    is_settled: bool = False


@frozen
class ObjectPass:
    """What passes work with. `chance` in [0, 1) spreads what is tried again.

    `is_suspended` looks at the orders themselves: one holds for every change that has not begun.
    `moved` is called as long work goes on, with how far it is.
    """

    around: Surroundings
    clock: Clock
    attempts: Attempts
    journal: Journal
    meter: Meter
    chance: Callable[[], float]
    recorder: DaemonRecorder
    is_suspended: Callable[[Key], bool]
    moved: Callable[[Key, str], None]

    def run(self, task: PassTask) -> PassResult:
        """Bring one object to what its manifest says, if possible."""
        try:
            return self._look(task, find_kind(task.key.kind).look(self.around, task))
        except TransientError as error:
            self._count(error)
            self._tell(task, str(error))
            return PassResult(self._again(task, error), unknown(str(error), again=str(error)))
        except ReconcilerError as error:
            self._count(error)
            self._tell(task, str(error))
            return PassResult(Stalled(str(error)), unknown(str(error)))

    def look_only(self, key: Key, why: str) -> PassResult:
        """Read the object for those who want to see its state, and do nothing to it."""
        sighting = find_kind(key.kind).find_sighting(self.around.host, key)
        return PassResult(Done(), unknown(why), sighting)

    def _look(self, task: PassTask, scene: Scene) -> PassResult:
        if scene.unreadable:
            error = TransientError(f"cannot be read, so nothing is changed: {scene.unreadable}")
            self._count(error)
            self._tell(task, str(error))
            return PassResult(self._again(task, error), unknown(str(error)), scene.sighting)
        # What was stored by a pass that could not do the rest is that pass's own, and no drift.
        is_known = scene.generation is not None and not task.failures
        if is_known and scene.generation == task.manifest.generation:
            task = replace(task, drift=True)
        action = self._plan(task, scene)
        seen = _print(task, scene.sighting)
        if not action.steps:
            found = self._idle(task, action, scene, seen)
            return replace(found, is_settled=_is_settled(action))
        held = self._find_hold(task, seen)
        if held is not None:
            return PassResult(held, _held(held), scene.shown, tried=False)
        if self.is_suspended(task.key):
            return PassResult(Done(), unknown(LEFT_ALONE), scene.shown)
        return self._carry_out(task, action, scene, seen)

    def _plan(self, task: PassTask, scene: Scene) -> Action:
        """Plan the object; a field that someone else keeps changing back is left alone."""
        now = self.clock.local()
        corrections = self.attempts.corrections(task.key, task.manifest.generation)
        while True:
            left = describe_left(task.key, corrections)
            options = PlanOptions(
                now=now,
                unattended=True,
                left=left,
                migrated=task.migrated,
                retried=task.retried,
            )
            action = scene.plan(options)
            again = corrections.leave(self.clock.now(), _contested(task, action))
            if not task.drift or again == corrections:
                return action
            corrections = again
            self.attempts.correct(task.key, corrections)

    def _idle(self, task: PassTask, action: Action, scene: Scene, seen: str) -> PassResult:
        verdict, shown = planned(action), scene.shown
        if action.action is ActionKind.FAILED or verdict.stalled:
            self._tell(task, action.reason or verdict.stalled)
        if action.transient:
            is_busy = action.action is ActionKind.WITHHELD and action.reason
            error = (BusyError if is_busy else MissingError)(action.reason or verdict.reason)
            return PassResult(self._again(task, error), verdict, shown)
        if verdict.stalled:
            return PassResult(Stalled(verdict.stalled), verdict, shown)
        if action.action is ActionKind.NONE:
            lack = find_kind(task.key.kind).find_lack(self.around.host, task, scene)
            if lack:
                lacking = Conditions(ready=False, reason=lack, pending=action.pending)
                return PassResult(Done(), lacking, shown)
            self.attempts.succeed(task.key, seen)
            if action.is_unsettled:
                self.attempts.soil(task.key)
        return PassResult(Done(), verdict, shown)

    def _find_hold(self, task: PassTask, seen: str) -> Optional[Result]:
        """Return why a plan that would change something is not carried out now."""
        last = self.attempts.find(task.key, task.manifest.generation, seen)
        if last is not None and last.not_before is None:
            return Stalled(last.reason)
        if last is not None and last.not_before is not None:
            wait = last.not_before - self.clock.now()
            return Again(last.reason, wait) if wait > 0 else None
        return None

    def _carry_out(self, task: PassTask, action: Action, scene: Scene, seen: str) -> PassResult:
        revision, kind = task.in_force.revision, find_kind(task.key.kind)
        telling = JournalReporter(
            self.journal,
            self.meter,
            revision,
            drift=task.drift,
            moved=self.moved,
            last_error=task.last_error,
            booted=_find_booted(task),
        )
        self.attempts.soil(task.key)
        recording = self.recorder.on(telling, revision)
        executor = Executor(self.around.host, scene.desired, self.clock, lambda _: recording)
        outcome = executor.carry_out(action)
        sighting = kind.find_sighting(self.around.host, task.key)
        if outcome.cause is not None:
            if kind.rewrites(action):
                seen = _print(task, sighting)
            return self._fail(task, outcome.cause, sighting, seen)
        if task.drift:
            made = self.attempts.corrections(task.key, task.manifest.generation)
            self.attempts.correct(task.key, made.plus(self.clock.now(), _contested(task, action)))
        verdict = _after(action, outcome)
        again = self._again(task, BusyError(verdict.reason)) if action.transient else None
        return PassResult(
            again or Done(), verdict, sighting, _summary(action), is_settled=_is_settled(action)
        )

    def _fail(
        self, task: PassTask, cause: ReconcilerError, sighting: Optional[Sighting], seen: str
    ) -> PassResult:
        """Say how it failed; it is not tried again in vain at the object that was `seen`."""
        # An object that went meanwhile is planned anew, as one that was changed meanwhile is.
        passes = isinstance(cause, (TransientError, RefusedError, NotFoundError))
        result = self._again(task, cause) if passes else Stalled(str(cause))
        self._count(cause)
        if not isinstance(cause, StoppingError):
            until = self.clock.now() + result.after if isinstance(result, Again) else None
            self.attempts.fail(task.key, Attempt(task.manifest.generation, seen, str(cause), until))
        return PassResult(result, failed(str(cause), again=passes), sighting)

    def _tell(self, task: PassTask, text: str) -> None:
        """Tell what was found before anything was carried out; a failed try tells by itself."""
        if text != task.last_error:
            revision = task.in_force.revision
            event = Event(events.FAILED, text, object=task.key, revision=revision)
            self.journal.tell(event)

    def _count(self, error: ReconcilerError) -> None:
        if not isinstance(error, StoppingError):
            self.meter.count(metrics.ERRORS, kind=kind_of(error))

    def _again(self, task: PassTask, error: ReconcilerError) -> Again:
        passing = isinstance(error, (BusyError, MissingError))
        most = MOST_MISSING if passing else MOST
        return Again(str(error), find_delay(task.failures + 1, self.chance(), most))


def _print(task: PassTask, sighting: Optional[Sighting]) -> str:
    return fingerprint(task.manifest.generation, None if sighting is None else sighting.parts)


def _held(result: Result) -> Conditions:
    if isinstance(result, Again):
        return failed(result.reason, again=True)
    return failed(result.reason if isinstance(result, Stalled) else "", again=False)


def _after(action: Action, outcome: Outcome) -> Conditions:
    """Judge by what is left: what the plan withheld, and what waits for the next cold start."""
    held = tuple(change for change in action.changes if change.effect is Effect.WITHHELD)
    kind = ActionKind.WITHHELD if held else ActionKind.NONE
    left = Action(action.kind, action.name, kind, held, pending=outcome.pending)
    return planned(replace(left, transient=action.transient))


def _paths(action: Action) -> FrozenSet[str]:
    return frozenset(
        change.path for change in action.changes if change.effect is not Effect.WITHHELD
    )


def _contested(task: PassTask, action: Action) -> FrozenSet[str]:
    """Return what an action changes and somebody else may keep changing back."""
    return _paths(action) - find_kind(action.kind).find_uncontested(action) - _find_booted(task)


def _find_booted(task: PassTask) -> FrozenSet[str]:
    """Return what differs because the host was started, and not because somebody changed it."""
    return find_kind(task.key.kind).changed_by_boot if task.drift and task.booted else frozenset()


def _is_settled(action: Action) -> bool:
    """Whether nothing that a start of the host may have changed is left as it is."""
    if not action.changes:
        return action.action is ActionKind.NONE
    held = {change.path for change in action.changes if change.effect is Effect.WITHHELD}
    return not held & find_kind(action.kind).changed_by_boot


def _summary(action: Action) -> str:
    if action.action is ActionKind.CREATE:
        return "created"
    return ", ".join(sorted(_paths(action)))
