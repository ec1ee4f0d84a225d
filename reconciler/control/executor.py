"""Carry out a plan: its actions in order, several at a time where nothing needs to wait.

Ctrl-C reaches a process's main thread only. Each lane sees it at its next step, wait or report of
progress, and once: it puts back in peace what it has half done. Nothing is begun after it.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import AbstractSet, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from reconciler.control.ports import Clock, Host, Reporter
from reconciler.core.frozen import frozen
from reconciler.core.key import Key
from reconciler.core.kinds import find_row
from reconciler.core.manifest import Desired
from reconciler.core.plan import Action, ActionKind, Outcome, Plan
from reconciler.errors import TransientError
from reconciler.kinds.api import find_kind

# Python runs a signal's handler between two of its instructions: one that comes right before a wait
# would be seen when that is over.
LOOK_EVERY = 0.25  # seconds


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
class LaneReporter:
    """A reporter whose reports of progress end with Ctrl-C. Implements `Reporter`."""

    told: Reporter
    interruption: Interruption

    def started(self, action: Action) -> None:
        """Pass it on."""
        self.told.started(action)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        self.told.progress(what, done, total)
        self.interruption.check()

    def finished(self, outcome: Outcome) -> None:
        """Pass it on."""
        self.told.finished(outcome)


@frozen
class Order:
    """Which of a plan's actions come before others, by key.

    `first` only come first; of those in `needed` none may fail.
    """

    first: Mapping[Key, AbstractSet[Key]]
    needed: Mapping[Key, AbstractSet[Key]]

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
    return Order(dict.fromkeys(by_key.keys() - first, first), needed)


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
        if referred is None or find_row(key.kind).is_reconciled:
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
        self._outcomes: Dict[Key, Outcome] = {}
        self._errors: List[BaseException] = []
        self._changed = threading.Condition()
        self._stop = threading.Event()

    def run(self, lanes: int) -> Tuple[Outcome, ...]:
        """Carry out all, at most `lanes` at a time; return how each ended, in the given order."""
        lanes = min(lanes, len(self._left))
        if lanes <= 1:
            self._work()  # in this thread, where Ctrl-C comes by itself
        else:
            self._run_threads(lanes)
        if self._errors:
            raise self._errors[0]
        return tuple(self._outcomes[key] for key in self._keys)

    def _run_threads(self, lanes: int) -> None:
        try:
            for number in range(lanes):
                name = f"lane {number + 1}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
            self._wait_for_end()
        except KeyboardInterrupt:
            self._stop.set()
            self._wait_for_end()
            raise

    def _wait_for_end(self) -> None:
        with self._changed:
            while self._running or (self._left and not self._is_over()):
                self._changed.wait(LOOK_EVERY)

    def _is_over(self) -> bool:
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
            while self._left and not self._is_over():
                action = self._find_ready()
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
        text = f"not begun: {failed}, which a disk is cloned from, failed; mend that, apply again"
    return Outcome(action.name, action.action, text, cause=TransientError(text))


def execute(
    host: Host, desired: Desired, todo: Plan, report: Reporter, clock: Clock
) -> Tuple[Outcome, ...]:
    """Carry out every action that has steps, one after the other; return how each ended."""
    return execute_in_lanes(host, desired, todo, lambda _: report, clock, lanes=1)


def execute_in_lanes(
    host: Host,
    desired: Desired,
    todo: Plan,
    report_on: Callable[[Action], Reporter],
    clock: Clock,
    lanes: int,
) -> Tuple[Outcome, ...]:
    """Carry out every action that has steps, `lanes` at a time, and return how each ended.

    `report_on` returns whom to tell of an action.
    """
    actions = [action for action in todo.actions if action.steps]

    def carry(action: Action, interruption: Interruption) -> Outcome:
        report = LaneReporter(report_on(action), interruption)
        timer = LaneClock(clock, interruption)
        return find_kind(action.kind).find_executor(action)(host, desired, action, report, timer)

    def withhold(action: Action, outcome: Outcome) -> None:
        report_on(action).finished(outcome)

    return ActionLanes(actions, find_order(actions, desired), carry, withhold).run(lanes)
