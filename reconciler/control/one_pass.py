"""One pass over one virtual machine: look, plan, carry out, and say how it ended.

Reads everything anew; what brought the pass about is not known here. Every way out is a `Result`.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import datetime
from typing import Callable, Dict, FrozenSet, Optional, Tuple

from reconciler.control.attempts import Attempt, Attempts, describe_left
from reconciler.control.change_recorder import DaemonRecorder
from reconciler.control.executor import execute
from reconciler.control.journal_reporter import JournalReporter
from reconciler.control.ports import Clock, Host
from reconciler.control.service_ports import Journal, Meter
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
from reconciler.core.frozen import frozen
from reconciler.core.manifest import Desired, HostManifest, MachineManifest
from reconciler.core.overview import LEFT_ALONE
from reconciler.core.plan import (
    Action,
    ActionKind,
    Define,
    Effect,
    Outcome,
    Plan,
    Resume,
    SetMetadata,
)
from reconciler.core.world import DomainView, Reading, Unknown, World
from reconciler.errors import (
    BusyError,
    MissingError,
    NotFoundError,
    ReconcilerError,
    RefusedError,
    StoppingError,
    TransientError,
)
from reconciler.kinds.machine.elsewhere import Background, Connect
from reconciler.kinds.machine.observe import ObservedHost, observe
from reconciler.kinds.machine.planner import PlanOptions


@frozen
class Task:
    """One machine to look at: what is wanted, and what is known from earlier passes.

    `desired` holds the machine alone, and the templates that its disks name. `failures` in a row
    lengthen the wait for the next try; `drift` says that this manifest was carried out before.
    `hosts` are those of the repository; `placed` is the other host that the machine was on before.
    `migrated` says that the guest went to another host, where it may run.
    """

    manifest: MachineManifest
    desired: Desired
    failures: int = 0
    drift: bool = False
    last_error: str = ""
    hosts: Tuple[HostManifest, ...] = ()
    placed: str = ""
    migrated: bool = False

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.manifest.name


@frozen
class PassResult:
    """How a pass ended; `done` are the changes that were carried out, for people.

    `tried` is False when a former failure kept the pass from trying again.
    """

    result: Result
    verdict: Conditions
    view: Optional[DomainView] = None
    done: str = ""
    tried: bool = True


@frozen
class ObjectPass:
    """What passes work with. `chance` in [0, 1) spreads what is tried again.

    `is_suspended` looks at the orders themselves: one holds for every change that has not begun.
    `moved` is called as long work goes on. `connect` reaches another host, to ask whether it has a
    machine that is to be made here.
    """

    host: Host
    clock: Clock
    attempts: Attempts
    journal: Journal
    meter: Meter
    chance: Callable[[], float]
    book: DaemonRecorder
    is_suspended: Callable[[str], bool]
    moved: Callable[[], None]
    connect: Optional[Connect] = None

    def run(self, task: Task) -> PassResult:
        """Bring one machine to what its manifest says, as far as may be."""
        try:
            views = self._read_views(task)
            view = views.get(task.name)
            return self._look(task, views, view)
        except TransientError as error:
            self._count(error)
            self._tell(task, str(error))
            return PassResult(self._again(task, error), unknown(str(error), again=str(error)))
        except ReconcilerError as error:
            self._count(error)
            self._tell(task, str(error))
            return PassResult(Stalled(str(error)), unknown(str(error)))

    def look_only(self, name: str, why: str) -> PassResult:
        """Read the domain for those who want to see its state, and do nothing to it."""
        return PassResult(Done(), unknown(why), self._read_view(name))

    def _read_views(self, task: Task) -> Dict[str, DomainView]:
        """Read the machine's domain and its templates'; only libvirt's word means absent."""
        names = {task.name} | {
            template.domain for template in task.desired.templates if template.domain
        }
        found = {name: self._read_view(name) for name in sorted(names)}
        return {name: view for name, view in found.items() if view is not None}

    def _read_view(self, name: str) -> Optional[DomainView]:
        try:
            return self.host.domains.read_domain(name)
        except NotFoundError:
            return None

    def _look(
        self, task: Task, views: Dict[str, DomainView], view: Optional[DomainView]
    ) -> PassResult:
        if view is not None:
            self.book.keep(view)
        background = Background(
            self.book.find_last, lambda _name: task.placed, self.connect, task.hosts
        )
        observation = observe(self.host, task.desired, views, background)
        found = observation.world.domains.get(task.name)
        if isinstance(found, Unknown):
            error = TransientError(f"cannot be read, so nothing is changed: {found.reason}")
            self._count(error)
            self._tell(task, str(error))
            return PassResult(self._again(task, error), unknown(str(error)), view)
        if found and found.owner and found.owner.generation == task.manifest.generation:
            task = replace(task, drift=True)
        action = self._plan(task, observation)
        world = observation.world
        seen = fingerprint(task.manifest.generation, view)
        found = world.domains.get(task.name)
        view = found.view if isinstance(found, Reading) else view  # with the job under way
        if not action.steps:
            return self._idle(task, action, view, seen)
        held = self._find_hold(task, seen)
        if held is not None:
            return PassResult(held, _held(held), view, tried=False)
        if self.is_suspended(task.name):
            return PassResult(Done(), unknown(LEFT_ALONE), view)
        return self._carry_out(task, action, world, seen)

    def _plan(self, task: Task, observation: ObservedHost) -> Action:
        """Plan the machine; a field that someone else keeps changing back is left alone."""
        now = datetime.now().astimezone().replace(tzinfo=None)
        corrections = self.attempts.corrections(task.name, task.manifest.generation)
        while True:
            left = describe_left(task.name, corrections)
            options = PlanOptions(now=now, unattended=True, left=left, migrated=task.migrated)
            action = observation.plan_machine(task.manifest, options)
            again = corrections.leave(self.clock.now(), _paths(action) - _resumed(action))
            if not task.drift or again == corrections:
                return action
            corrections = again
            self.attempts.correct(task.name, corrections)

    def _idle(
        self, task: Task, action: Action, view: Optional[DomainView], seen: str
    ) -> PassResult:
        verdict = planned(action)
        if action.action is ActionKind.FAILED or verdict.stalled:
            self._tell(task, action.reason or verdict.stalled)
        if action.transient:
            kind = (
                BusyError
                if action.action is ActionKind.WITHHELD and action.reason
                else MissingError
            )
            error = kind(action.reason or verdict.reason)
            return PassResult(self._again(task, error), verdict, view)
        if verdict.stalled:
            return PassResult(Stalled(verdict.stalled), verdict, view)
        if action.action is ActionKind.NONE:
            missing = self._find_missing_networks(task, view)
            if missing:
                return PassResult(
                    Done(), Conditions(ready=False, reason=missing, pending=action.pending), view
                )
            self.attempts.succeed(task.name, seen)
        return PassResult(Done(), verdict, view)

    def _find_missing_networks(self, task: Task, view: Optional[DomainView]) -> str:
        """Say which of a running guest's networks is not there: libvirt does not, until a start."""
        wanted = {
            interface.network
            for interface in task.manifest.machine.interfaces or ()
            if interface.network
        }
        if not wanted or view is None or view.live_xml is None:
            return ""
        networks = self.host.networks.list_networks()
        missing = sorted(one for one in wanted if not networks.get(one))
        return "; ".join(
            f"network {one} is not active (virsh net-start {shlex.quote(one)})" for one in missing
        )

    def _find_hold(self, task: Task, seen: str) -> Optional[Result]:
        """Return why a plan that would change something is not carried out now."""
        last = self.attempts.find(task.name, task.manifest.generation, seen)
        if last is not None and last.not_before is None:
            return Stalled(last.reason)
        if last is not None and last.not_before is not None:
            wait = last.not_before - self.clock.now()
            return Again(last.reason, wait) if wait > 0 else None
        return None

    def _carry_out(self, task: Task, action: Action, world: World, seen: str) -> PassResult:
        revision = task.manifest.revision
        telling = JournalReporter(
            self.journal, self.meter, revision, task.drift, self.moved, task.last_error
        )
        todo = Plan(world.host, world.uri, (action,), task.manifest.revision)
        self.attempts.soil(task.name)
        recording = self.book.on(telling, task.manifest.revision)
        [outcome] = execute(self.host, task.desired, todo, recording, self.clock)
        view = self._read_view(task.name)
        if outcome.cause is not None:
            if _stores(action):
                seen = fingerprint(task.manifest.generation, view)
            return self._fail(task, outcome.cause, view, seen)
        if task.drift:
            made = self.attempts.corrections(task.name, task.manifest.generation)
            brought_back = _paths(action) - _resumed(action)
            self.attempts.correct(task.name, made.plus(self.clock.now(), brought_back))
        verdict = _after(action, outcome)
        again = self._again(task, BusyError(verdict.reason)) if action.transient else None
        return PassResult(again or Done(), verdict, view, done=_summary(action))

    def _fail(
        self, task: Task, cause: ReconcilerError, view: Optional[DomainView], seen: str
    ) -> PassResult:
        """Say how it failed; it is not tried again in vain at the domain that was `seen`."""
        # A domain that went meanwhile is planned anew, as one that was changed meanwhile is.
        passes = isinstance(cause, (TransientError, RefusedError, NotFoundError))
        result = self._again(task, cause) if passes else Stalled(str(cause))
        self._count(cause)
        if not isinstance(cause, StoppingError):
            until = self.clock.now() + result.after if isinstance(result, Again) else None
            self.attempts.fail(
                task.name, Attempt(task.manifest.generation, seen, str(cause), until)
            )
        return PassResult(result, failed(str(cause), again=passes), view)

    def _tell(self, task: Task, text: str) -> None:
        """Tell what was found before anything was carried out; a failed try tells by itself."""
        if text != task.last_error:
            revision = task.manifest.revision
            event = Event(events.FAILED, text, object=task.name, revision=revision)
            self.journal.tell(event)

    def _count(self, error: ReconcilerError) -> None:
        if not isinstance(error, StoppingError):
            self.meter.count(metrics.ERRORS, kind=kind_of(error))

    def _again(self, task: Task, error: ReconcilerError) -> Again:
        passing = isinstance(error, (BusyError, MissingError))
        most = MOST_MISSING if passing else MOST
        return Again(str(error), find_delay(task.failures + 1, self.chance(), most))


def _stores(action: Action) -> bool:
    """Whether it changes the definition itself, so that another one afterwards may be its own.

    Else somebody has changed it meanwhile, and at that it has not been tried.
    """
    return any(isinstance(step, (Define, SetMetadata)) for step in action.steps)


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


def _resumed(action: Action) -> FrozenSet[str]:
    """Return `power` of a guest that goes on after an I/O error: nobody fights about that."""
    steps = (step for step in action.steps if isinstance(step, Resume))
    return frozenset({"power"} if any(steps) else ())


def _summary(action: Action) -> str:
    if action.action is ActionKind.CREATE:
        return "created"
    return ", ".join(sorted(_paths(action)))
