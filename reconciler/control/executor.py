"""Carry out a plan: its actions in order, several at a time where nothing needs to wait.

Ctrl-C reaches a process's main thread only. Each lane sees it at its next step, wait or report of
progress, and once: it puts back in peace what it has half done. Nothing is begun after it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import (
    AbstractSet,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from reconciler.control.ports import Clock, Host, Progress, Reporter
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import Desired
from reconciler.core.names import name_place
from reconciler.core.plan import Action, ActionKind, Effect, Outcome, Plan, failed_outcome
from reconciler.errors import BusyError, ReconcilerError, TransientError
from reconciler.kinds.api import ActionTask, Awaiting, find_kind

# Python runs a signal's handler between two of its instructions: one that comes right before a wait
# would be seen when that is over.
LOOK_EVERY = 0.25  # seconds
LOCK_LIMIT = 5.0  # seconds to wait for another run that is about to end
LOCK_POLL = 0.1  # seconds


class Interruption:
    """Ctrl-C as one lane sees it: an exception, once."""

    def __init__(self, asked: threading.Event) -> None:
        """Wait for `asked`."""
        self._asked = asked
        self._seen = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it came, and was not raised here before."""
        if self._asked.is_set() and not self._seen:
            self._seen = True
            raise KeyboardInterrupt

    def watch(self, progress: Progress) -> Progress:
        """Return the same with Ctrl-C seen at each report."""

        def report(what: str, done: int, total: int) -> None:
            progress(what, done, total)
            self.check()

        return report


@frozen
class LaneClock:
    """A clock whose waits end with Ctrl-C. Implements `Clock`."""

    clock: Clock
    interruption: Interruption

    def now(self) -> float:
        """Ask the other clock."""
        return self.clock.now()

    def wall(self) -> float:
        """Ask the other clock."""
        return self.clock.wall()

    def local(self) -> datetime:
        """Ask the other clock."""
        return self.clock.local()

    def sleep(self, seconds: float) -> None:
        """Wait, for as long as one poll lasts."""
        self.interruption.check()
        self.clock.sleep(seconds)
        self.interruption.check()


@frozen
class Order:
    """Which of a plan's actions come before others, by key.

    `first` only come first; of those in `needed` none may fail. `waiting` are those that wait
    themselves, for what others have started.
    """

    first: Mapping[Key, AbstractSet[Key]]
    needed: Mapping[Key, AbstractSet[Key]]
    waiting: AbstractSet[Key] = frozenset()

    def before(self, key: Key) -> AbstractSet[Key]:
        """Return what must be over before this begins."""
        return self.first.get(key, frozenset()) | self.needed.get(key, frozenset())


def find_order(actions: Sequence[Action], desired: Desired) -> Order:
    """Return the order of a plan's actions: each comes after what it needs.

    What is to be deleted goes after what needs it.
    """
    by_key = {action.key: action for action in actions}
    first = {key for key in by_key if find_row(key.kind).comes_first}
    needed: Dict[Key, Set[Key]] = {}
    for key, action in by_key.items():
        for origin in _find_origins(action, desired) & (by_key.keys() - {key}):
            is_last = by_key[origin].action is ActionKind.DELETE
            successor, predecessor = (origin, key) if is_last else (key, origin)
            needed.setdefault(successor, set()).add(predecessor)
    before: Dict[Key, AbstractSet[Key]] = dict.fromkeys(by_key.keys() - first, first)
    waiting = set()
    for key, action in by_key.items():
        manifest = desired.objects.get(key)
        awaited = manifest and find_row(key.kind).awaits(manifest, action)
        if awaited:
            waiting.add(key)
            before[key] = before.get(key, frozenset()) | (awaited & by_key.keys())
    return Order(before, needed, waiting)


def _find_origins(action: Action, desired: Desired) -> Set[Key]:
    """Return the planned objects that an action needs, itself or by what it refers to."""
    manifest = desired.objects.get(action.key)
    if manifest is None:
        return set()
    todo = set(find_row(action.kind).needs_of_action(manifest, action, desired))
    found: Set[Key] = set()
    while todo:
        key = todo.pop()
        referred = desired.objects.get(key)
        if referred is None or find_row(key.kind).is_planned(referred):
            found.add(key)
        else:
            todo |= find_row(key.kind).needs(referred, desired) - found
    return found


class ActionLanes:
    """Actions of one plan, and how those that are over have ended."""

    def __init__(
        self,
        actions: Sequence[Action],
        order: Order,
        carry: Callable[[Action, Interruption], Outcome],
        withhold: Callable[[Action, Outcome], None],
    ) -> None:
        """`carry` carries out one action; `withhold` is told of one that is not begun, and why."""
        self._left = list(actions)
        self._order = order
        self._carry = carry
        self._withhold = withhold
        self._keys = [action.key for action in actions]
        self._unfinished = set(self._keys)
        self._running: Set[Key] = set()
        self._aside = 0  # of those that run: they wait, and use no lane
        self._lanes = 1
        self._outcomes: Dict[Key, Outcome] = {}
        self._errors: List[BaseException] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()

    def run(self, lanes: int) -> Tuple[Outcome, ...]:
        """Carry out all, at most `lanes` at a time; return how each ended, in the given order."""
        self._lanes = min(lanes, len(self._left))
        if self._lanes <= 1 and not self._order.waiting:
            self._work()  # in this thread, where Ctrl-C comes by itself
        else:
            self._run_threads(self._lanes)
        if self._errors:
            raise self._errors[0]
        return tuple(self._outcomes[key] for key in self._keys)

    def _run_threads(self, lanes: int) -> None:
        try:
            for _ in range(lanes):
                self._start_lane()
            self._wait_for_end()
        except KeyboardInterrupt:
            self._stop.set()
            self._wait_for_end()
            raise

    def _start_lane(self) -> None:
        threading.Thread(target=self._work, name="lane", daemon=True).start()

    @contextmanager
    def step_aside(self) -> Iterator[None]:
        """Give the lane of an action that waits to another; it goes on without one."""
        with self._changed:
            self._aside += 1
        self._start_lane()
        try:
            yield
        finally:
            with self._changed:
                self._aside -= 1

    def find_outcome(self, key: Key) -> Optional[Outcome]:
        """Return how an action has ended, None if it has not."""
        with self._changed:
            return self._outcomes.get(key)

    def _wait_for_end(self) -> None:
        with self._changed:
            while self._running or (self._left and not self.is_over()):
                self._changed.wait(LOOK_EVERY)

    def is_over(self) -> bool:
        """Whether nothing more begins."""
        return bool(self._errors) or self._stop.is_set()

    def _work(self) -> None:
        """Carry out one action after the other until none is left for this lane."""
        action = self._take()
        while action is not None:
            outcome, error = None, None
            try:
                failed = self._find_failed(action)
                if failed:
                    outcome = _not_begun(action, failed)
                    self._withhold(action, outcome)
                else:
                    outcome = self._carry(action, Interruption(self._stop))
            except BaseException as fault:  # noqa: BLE001 - raised again where `run` was called
                error = fault
            self._end(action.key, outcome, error)
            action = self._take()

    def _find_failed(self, action: Action) -> str:
        """Return the name of what failed that this action needs, or nothing."""
        needed = self._order.needed.get(action.key, frozenset())
        with self._changed:
            ended = {key.name: self._outcomes.get(key) for key in sorted(needed)}
        return next((name for name, outcome in ended.items() if outcome and outcome.error), "")

    def _take(self) -> Optional[Action]:
        """Return the next action, or None if nothing is left or nothing more may begin."""
        with self._changed:
            while self._left and not self.is_over():
                is_free = len(self._running) - self._aside < self._lanes
                action = self._find_ready() if is_free else None
                if action is not None:
                    self._left.remove(action)
                    self._running.add(action.key)
                    return action
                self._changed.wait()
        return None

    def _find_ready(self) -> Optional[Action]:
        """Return the first action with nothing before it; of a circle any, for no one is first."""
        for action in self._left:
            if self._unfinished.isdisjoint(self._order.before(action.key)):
                return action
        return None if self._running else self._left[0]

    def _end(self, key: Key, outcome: Optional[Outcome], error: Optional[BaseException]) -> None:
        with self._changed:
            self._running.discard(key)
            self._unfinished.discard(key)
            if outcome is not None:
                self._outcomes[key] = outcome
            if error is not None:
                self._errors.append(error)
            self._changed.notify_all()


def _not_begun(action: Action, failed: str) -> Outcome:
    if action.action is ActionKind.DELETE:
        text = f"not begun: {failed}, which is cloned from it, was not deleted; apply again"
    else:
        text = (
            f"not begun: {failed}, which a disk is cloned from, failed; correct that, then apply "
            "again"
        )
    return Outcome(action.name, action.action, text, cause=TransientError(text))


def _describe_held(action: Action) -> str:
    """Say why a plan does not do all that is desired of an object; empty if it does."""
    held = [change.reason for change in action.changes if change.effect is Effect.WITHHELD]
    reasons = [action.reason, *held]
    return next((f"its plan says: {reason}" for reason in reasons if reason), "")


def _raise_nothing() -> None:
    """Have nothing against a change."""


@frozen
class Executor:
    """Carries out actions on one host.

    The one place that takes an object's lock and says how an action ended. `report_on` returns whom
    to tell of an action. `awaiting` is how actions wait for guests. With `is_held` the caller holds
    the lock already, for longer than that.
    """

    host: Host
    desired: Desired
    clock: Clock
    report_on: Callable[[Action], Reporter]
    awaiting: Awaiting = Awaiting()
    is_held: bool = False

    def carry_out(
        self,
        action: Action,
        interruption: Optional[Interruption] = None,
        refuse: Callable[[], None] = _raise_nothing,
    ) -> Outcome:
        """Carry out one action under its object's lock, and return how it ended.

        `refuse` raises if the object is not to be changed any more.
        """
        kind, report, clock = find_kind(action.kind), self.report_on(action), self.clock
        progress: Progress = report.progress
        if interruption is not None:
            clock, progress = LaneClock(clock, interruption), interruption.watch(progress)
        try:
            is_taken = kind.is_locked and not self.is_held
            with holding(self.host, action.key, clock) if is_taken else nullcontext():
                report.started(action)
                task = ActionTask(
                    host=self.host,
                    desired=self.desired,
                    action=action,
                    clock=clock,
                    progress=progress,
                    refuse=refuse,
                    awaiting=self.awaiting,
                )
                try:
                    pending = kind.find_executor(action)(task)
                    outcome = Outcome(action.name, action.action, pending=pending)
                except ReconcilerError as error:
                    outcome = failed_outcome(action, error, tuple(task.kept))
                report.finished(outcome)
        except BusyError as error:
            outcome = failed_outcome(action, error)
            report.finished(outcome)
        return outcome

    def withhold(self, action: Action, outcome: Outcome) -> None:
        """Tell of an action that is not begun."""
        self.report_on(action).finished(outcome)


@contextmanager
def holding(host: Host, key: Key, clock: Clock) -> Iterator[None]:
    """Hold the lock of an object. Raises BusyError if another run keeps it for longer."""
    place = name_place(host.domains.host, host.domains.uri)
    deadline = clock.now() + LOCK_LIMIT
    while True:
        try:
            release = host.locks.take(place, key)
            break
        except BusyError:
            if clock.now() >= deadline:
                raise
        clock.sleep(LOCK_POLL)
    try:
        yield
    finally:
        release()


def make_lanes(executor: Executor, todo: Plan) -> ActionLanes:
    """Return the lanes in which every action of a plan that has steps is carried out."""
    actions = [action for action in todo.actions if action.steps]
    planned = {action.key: action for action in todo.actions}

    def find_fate(key: Key) -> str:
        outcome, action = lanes.find_outcome(key), planned.get(key)
        if outcome is not None and outcome.error is not None:
            return "it failed in this run"
        return "" if action is None else _describe_held(action)

    awaiting = replace(
        executor.awaiting,
        find_fate=find_fate,
        aside=lambda: lanes.step_aside(),
        is_over=lambda: lanes.is_over(),
    )
    executor = replace(executor, awaiting=awaiting)
    order = find_order(actions, executor.desired)
    lanes = ActionLanes(actions, order, executor.carry_out, executor.withhold)
    return lanes
