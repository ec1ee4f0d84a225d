"""Carry out a plan with a person watching: progress, one result line for each object, the sum.

Several objects may be under way at once, so each line names its object and is written in one piece.
A reader that goes away (`apply | head`) and a log whose disk is full must never stop an apply
halfway, so they only silence this.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Dict, FrozenSet, List, Optional, Sequence, Tuple

from reconciler.cli.console import Console, Exit
from reconciler.cli.names import list_names
from reconciler.cli.plans import Prepared
from reconciler.cli.services import Services
from reconciler.control.change_recorder import ChangeRecorder
from reconciler.control.executor import Executor, make_lanes
from reconciler.control.guest_looks import GuestLooks
from reconciler.control.ports import Clock, Reporter
from reconciler.core.frozen import frozen, replace
from reconciler.core.plan import Action, ActionKind, Effect, Outcome, Start
from reconciler.core.render.words import count, escape, shuts_down
from reconciler.core.units import format_roughly
from reconciler.errors import BusyError, OutputError
from reconciler.kinds.api import Awaiting

UNHEARD = (BrokenPipeError, OutputError)  # nobody reads any more, or the disk of the log is full
AWAIT_LIMIT = 600.0  # seconds that a machine waits for the guests that it is started after
_TENTH = 10  # percent between two plain progress lines
_BETWEEN = " · "


class ProgressBoard:
    """What a person sees of an apply: the objects under way, and how each ended."""

    def __init__(self, console: Console, clock: Clock) -> None:
        """Begin with nothing under way."""
        self._console = console
        self._clock = clock
        self._lock = threading.RLock()
        self._running: List[LineReporter] = []
        self._line_open = False

    def report_on(self, action: Action) -> LineReporter:
        """Return the reporter of one action."""
        return LineReporter(self, action, self._clock)

    @property
    def can_rewrite(self) -> bool:
        """Whether progress is shown on a line that is written over."""
        return self._console.can_rewrite

    def started(self, reporter: LineReporter) -> None:
        """Count an object among those under way."""
        with self._lock:
            self._running.append(reporter)

    def ended(self, reporter: LineReporter, line: str, error: str = "") -> None:
        """Write how an object's action ended."""
        with self._lock, suppress(*UNHEARD):
            if reporter in self._running:
                self._running.remove(reporter)
            self._close_line()
            if error:
                self._console.error(error)
            else:
                self._console.line(line)

    def show(self, news: str) -> None:
        """Write a plain line of progress, or show on one line what everything long is at."""
        with self._lock, suppress(*UNHEARD):
            if not self.can_rewrite:
                self._console.line(news)
                return
            lines = [reporter.line for reporter in self._running if reporter.line]
            self._console.write(f"\r{self._fit(lines)}\033[K")
            self._line_open = True

    def note(self, text: str) -> None:
        """Write a note between the other lines."""
        with self._lock, suppress(*UNHEARD):
            self._close_line()
            self._console.note(text)

    def interrupted(self) -> None:
        """Say what was under way when the person stopped it."""
        with self._lock, suppress(*UNHEARD):
            self._close_line()
            names = ", ".join(sorted(escape(reporter.name) for reporter in self._running))
            place = f" at {names}" if names else ""
            self._console.error(f"interrupted{place}; the rest was not started")

    def _fit(self, lines: List[str]) -> str:
        """Return the lines as one that does not wrap, or it could not be written over."""
        text = _BETWEEN.join(lines) if self._console.style().unicode else " | ".join(lines)
        width = self._console.width()
        return text if len(text) < width else f"{text[: max(width - 4, 0)]}..."

    def _close_line(self) -> None:
        if self._line_open:
            self._console.write("\r\033[K")
            self._line_open = False


class LineReporter:
    """Tells of one object. Implements the `Reporter` port."""

    def __init__(self, board: ProgressBoard, action: Action, clock: Clock) -> None:
        """Begin with nothing told."""
        self.name = action.name
        self.line = ""
        self._board = board
        self._action = action
        self._clock = clock
        self._begun: Dict[str, Tuple[float, int]] = {}
        self._tenths: Dict[str, int] = {}

    def started(self, action: Action) -> None:  # noqa: ARG002 - the port's shape
        """Have it seen as under way."""
        self._board.started(self)

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far something long has come."""
        if total == 0:
            return
        if total < 0:  # nobody knows how far it is
            is_news, self.line = self._label(what) != self.line, self._label(what)
        else:
            is_news = self._is_news(what, 100 * done // total)
            self.line = f"{self._label(what)}: {self._measure(what, done, total)}"
        if is_news or self._board.can_rewrite:
            self._board.show(self.line)

    def finished(self, outcome: Outcome) -> None:
        """Say how the object's action ended."""
        name = escape(outcome.name)
        error = "" if outcome.error is None else f"{name}: {escape(outcome.error)}"
        self._board.ended(self, f"{name}: {describe_result(self._action, outcome)}", error)

    def _label(self, what: str) -> str:
        return escape(what if what.startswith(self.name) else f"{self.name}: {what}")

    def _measure(self, what: str, done: int, total: int) -> str:
        now = self._clock.now()
        since, before = self._begun.setdefault(what, (now, done))
        seconds = now - since
        rate = f", {format_roughly(int((done - before) / seconds))}/s" if seconds > 0 else ""
        size = f"{format_roughly(total)} ({format_roughly(done)}{rate})"
        return f"{100 * done // total:3d}% of {size}"

    def _is_news(self, what: str, percent: int) -> bool:
        tenth = percent // _TENTH
        if tenth <= self._tenths.get(what, 0):
            return False
        self._tenths[what] = tenth
        return True


def describe_result(action: Optional[Action], outcome: Outcome) -> str:
    """Return what was done to an object, and what waits for its next cold start."""
    words = _deeds(action, outcome)
    if outcome.pending:
        verb = "waits" if len(outcome.pending) == 1 else "wait"
        words.append(f"{len(outcome.pending)} {verb} for the next boot")
    return ", ".join(words)


def _deeds(action: Optional[Action], outcome: Outcome) -> List[str]:
    steps = action.steps if action else ()
    started = any(isinstance(step, Start) for step in steps)
    if outcome.action is ActionKind.CREATE:
        return ["created and started" if started else "created"]
    if outcome.action is ActionKind.DELETE:
        return ["deleted"]
    words = ["adopted"] if outcome.action is ActionKind.ADOPT else []
    words += _changes(action, len(words))
    if action and shuts_down(action):
        words.append("restarted" if started else "shut down")
    elif started:
        words.append("started")
    return words


def _changes(action: Optional[Action], marks: int) -> List[str]:
    changes = action.changes if action else ()
    done = sum(change.effect is not Effect.WITHHELD for change in changes) - marks
    words = [f"{count(done, 'change')} applied"] if done > 0 or not marks else []
    withheld = sum(change.effect is Effect.WITHHELD for change in changes)
    return [*words, f"{withheld} withheld"] if withheld else words


class NoteReporter:
    """Tells in notes how far a copy is, and nothing else. Implements the `Reporter` port."""

    def __init__(self, console: Console) -> None:
        """Begin with nothing told."""
        self._console, self._told = console, ""

    def started(self, action: Action) -> None:
        """Say nothing."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Tell of each tenth."""
        tenth = _TENTH * (done * _TENTH // total) if total > 0 else 0
        line = f"{what}: {tenth}%" if tenth else what
        if line != self._told:
            self._told = line
            self._console.note(line)

    def finished(self, outcome: Outcome) -> None:
        """Say nothing."""


@frozen
class Carried:
    """How many objects failed; `busy` of them because another run works on them.

    `done` are the names of those that did not.
    """

    failed: int
    busy: int
    done: FrozenSet[str] = frozenset()

    @property
    def status(self) -> Exit:
        """The exit status."""
        if not self.failed:
            return Exit.DONE
        return Exit.REFUSED if self.failed == self.busy else Exit.FAILED


def carry_out(
    prepared: Prepared,
    chronicle: ChangeRecorder,
    console: Console,
    services: Services,
    lanes: int = 1,
    patience: Optional[float] = None,
) -> Carried:
    """Execute the plan, write down what is done, and return how many of its objects failed.

    `lanes` is the number of objects that are worked on at a time. `patience` is how many seconds a
    machine waits for the guests that it is started after; None: it does not wait.
    """
    board = ProgressBoard(console, services.clock)
    quiet = replace(chronicle, tell=board.note)

    def report_on(action: Action) -> Reporter:
        return quiet.on(prepared.host, board.report_on(action))

    executor = Executor(prepared.host, prepared.desired, services.clock, report_on)
    if patience is not None:
        looks = GuestLooks(prepared.host, services.clock)
        executor = replace(executor, awaiting=Awaiting(looks.look, patience))
    try:
        outcomes = make_lanes(executor, prepared.plan).run(lanes)
    except KeyboardInterrupt:
        board.interrupted()
        raise
    console.line(sum_up(outcomes))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    busy = sum(isinstance(outcome.cause, BusyError) for outcome in failed)
    done = frozenset(outcome.name for outcome in outcomes if outcome.error is None)
    return Carried(len(failed), busy, done)


def sum_up(outcomes: Sequence[Outcome]) -> str:
    """Return the last line of an apply; what failed and was not all put back counts twice."""
    failed = [outcome.name for outcome in outcomes if outcome.error is not None]
    counts = ", ".join(_count(outcomes, *row) for row in _ROWS)
    names = f" ({list_names(failed)})" if failed else ""
    return f"Applied: {counts}, {len(failed)} failed{names}."


# Kind, the word for it, and the word for one that failed and of which something stays.
_ROWS = (
    (ActionKind.CREATE, "created", "not started"),
    (ActionKind.UPDATE, "changed", "in part"),
    (ActionKind.ADOPT, "adopted", "in part"),
    (ActionKind.DELETE, "deleted", "in part"),
)


def _count(outcomes: Sequence[Outcome], kind: ActionKind, word: str, partly: str) -> str:
    """Return like `2 created`, or `2 created (1 not started)` where the start of one failed."""
    alike = [
        outcome
        for outcome in outcomes
        if outcome.action is kind and (outcome.error is None or outcome.kept)
    ]
    parts = sum(outcome.error is not None for outcome in alike)
    return f"{len(alike)} {word}" + (f" ({parts} {partly})" if parts else "")
