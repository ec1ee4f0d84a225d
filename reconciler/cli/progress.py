"""Tell a person how an apply goes: a clone's progress, and one line for each object.

A reader that goes away (`apply | head`) must never stop an apply halfway, so a broken pipe only
silences this. Implements the `Reporter` port.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Dict, List, Optional, Tuple

from reconciler.cli.console import Console
from reconciler.control.ports import Clock
from reconciler.core.plan import Action, ActionKind, Effect, Outcome, Start
from reconciler.core.render.summary import shuts_down
from reconciler.core.render.values import escape
from reconciler.core.render.words import count

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP = 1024
_TENTH = 10  # percent between two plain progress lines


class LineReporter:
    """Writes to a console as the executor goes along."""

    def __init__(self, console: Console, clock: Clock) -> None:
        """Begin with nothing under way."""
        self._console = console
        self._clock = clock
        self._action: Optional[Action] = None
        self._begun: Dict[str, Tuple[float, int]] = {}
        self._tenths: Dict[str, int] = {}
        self._line_open = False

    def started(self, action: Action) -> None:
        """Remember what is under way."""
        self._action = action
        self._begun.clear()
        self._tenths.clear()

    def progress(self, what: str, done: int, total: int) -> None:
        """Show how far something long has come."""
        if total <= 0:
            return
        text = f"{self._label(what)}: {self._measure(what, done, total)}"
        if self._console.can_rewrite:
            self._write(f"\r{text}\033[K")
            self._line_open = True
        elif self._is_news(what, 100 * done // total):
            self._write(f"{text}\n")

    def finished(self, outcome: Outcome) -> None:
        """Say how the object's action ended."""
        self._close_line()
        if outcome.error is None:
            self._write(f"{escape(outcome.name)}: {describe_result(self._action, outcome)}\n")
        else:
            self._complain(f"{escape(outcome.name)}: {escape(outcome.error)}")

    def interrupted(self) -> None:
        """Say what was under way when the person stopped it."""
        self._close_line()
        if self._action is not None:
            name = escape(self._action.name)
            self._complain(f"interrupted at {name}; what was not begun is left as it was")

    def _label(self, what: str) -> str:
        name = self._action.name if self._action else ""
        return escape(what if what.startswith(name) else f"{name}: {what}")

    def _measure(self, what: str, done: int, total: int) -> str:
        now = self._clock.now()
        since, before = self._begun.setdefault(what, (now, done))
        seconds = now - since
        rate = f", {roughly(int((done - before) / seconds))}/s" if seconds > 0 else ""
        return f"{100 * done // total:3d}% of {roughly(total)} ({roughly(done)}{rate})"

    def _is_news(self, what: str, percent: int) -> bool:
        tenth = percent // _TENTH
        if tenth <= self._tenths.get(what, 0):
            return False
        self._tenths[what] = tenth
        return True

    def _close_line(self) -> None:
        if self._line_open:
            self._write("\r\033[K")
            self._line_open = False

    def _write(self, text: str) -> None:
        with suppress(BrokenPipeError):
            self._console.write(text)

    def _complain(self, text: str) -> None:
        with suppress(BrokenPipeError):
            self._console.error(text)


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


def roughly(size: int) -> str:
    """Return a number of bytes in few digits: `25.2GiB`."""
    value, unit = float(size), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.1f}{_UNITS[unit]}" if unit else f"{size}B"
