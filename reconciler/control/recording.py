"""Write down each change of a machine before it is made, and how it ended. Implements `Reporter`.

Stands before the reporter that tells people. A history that cannot be written is told, and never
keeps a change from being made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from reconciler.control.parts import Parts
from reconciler.control.ports import Host, Reporter
from reconciler.control.ports.service import History
from reconciler.control.steps import read_former
from reconciler.core.domain import digest
from reconciler.core.history import DAEMON, Cause, Past, conclude, remember
from reconciler.core.loop import events
from reconciler.core.loop.events import Event
from reconciler.core.plan import Action, Outcome
from reconciler.errors import ReconcilerError

MACHINE = "VirtualMachine"


@dataclass(frozen=True)
class Chronicle:
    """Where changes are written down, who makes them, and whom to tell if that fails.

    `wall` is seconds since the epoch.
    """

    history: History
    cause: Cause
    wall: Callable[[], float]
    tell: Callable[[str], None]

    def on(self, host: Host, told: Reporter) -> Recording:
        """Return the reporter that records what is done on a host, and tells another."""
        return Recording(self, host, told)


class Book:
    """The daemon's own entries; a trouble with them is told when it comes, not at each change."""

    def __init__(self, parts: Parts) -> None:
        """Begin with nothing told."""
        self._parts = parts
        self._told = ""

    def on(self, told: Reporter, revision: Optional[str]) -> Recording:
        """Return the reporter of one action that manifests of this revision cause."""
        parts, cause = self._parts, Cause(DAEMON, "run", revision)
        return Chronicle(parts.history, cause, parts.wall, self._tell).on(parts.host, told)

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._parts.journal.tell(Event(events.FAILED, text))
        self._told = text


class Recording:
    """Records the actions of one run, one after the other."""

    def __init__(self, chronicle: Chronicle, host: Host, told: Reporter) -> None:
        """Begin with nothing under way."""
        self._chronicle = chronicle
        self._host = host
        self._told = told
        self._past: Optional[Past] = None

    def started(self, action: Action) -> None:
        """Write down what is about to be done, and what is there before."""
        self._past = None
        if action.kind == MACHINE:
            self._try(lambda: self._begin(action))
        self._told.started(action)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        self._told.progress(what, done, total)

    def finished(self, outcome: Outcome) -> None:
        """Write down how it ended."""
        past, self._past = self._past, None
        if past is not None:
            self._try(lambda: self._chronicle.history.end(conclude(past, outcome)))
        self._told.finished(outcome)

    def _begin(self, action: Action) -> None:
        former = read_former(self._host, action.name)
        found = None if former is None else digest(former.persistent_xml)
        if found != action.before.definition:
            return  # it has moved on since the plan was made, and nothing will be done
        entry = remember(action, former, self._chronicle.cause, self._chronicle.wall())
        self._past = self._chronicle.history.begin(entry)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except ReconcilerError as error:
            self._chronicle.tell(f"the history is not written, and the work goes on: {error}")
