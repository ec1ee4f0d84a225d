"""Tell the journal and the meter what became of one object, and of a trouble once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, FrozenSet, Optional

from reconciler.control.service_ports import Journal, Meter
from reconciler.core import events, metrics
from reconciler.core.events import Event
from reconciler.core.frozen import regex
from reconciler.core.key import Key
from reconciler.core.plan import Action, ActionKind, Change, Effect, Outcome, Value
from reconciler.core.render.words import show_path, show_value
from reconciler.core.secrets import hide_sides
from reconciler.core.units import format_roughly
from reconciler.errors import ReconcilerError

_NAMES = regex(r"\[[^]]*\]")


@dataclass
class JournalReporter:
    """One object's action as it goes along.

    `drift` says that the manifest was carried out before: what differs now was changed by somebody
    else, but for the paths in `booted`, which the host's start has changed. `last_error` has been
    told already and is not told again. `moved` is called as it goes on, with how far it is whenever
    that is worth showing.
    """

    journal: Journal
    meter: Meter
    revision: Optional[str]
    drift: bool
    moved: Callable[[Key, str], None]
    last_error: str = ""
    booted: FrozenSet[str] = frozenset()
    _action: Optional[Action] = None
    _shown: str = ""

    def started(self, action: Action) -> None:
        """Count what was found to differ."""
        self._action = action
        self._count(metrics.DRIFT_FOUND, action)

    def progress(self, what: str, done: int, total: int) -> None:
        """Keep quiet: the journal is no progress bar. But it does go on."""
        if self._action is None:
            return
        tenths = 10 * done // total if total > 0 else 0
        text = f"{what}: {10 * tenths}% of {format_roughly(total)}" if total > 0 else what
        self.moved(self._action.key, text if text != self._shown else "")
        self._shown = text

    def finished(self, outcome: Outcome) -> None:
        """Tell each change, or the failure."""
        action = self._action
        if action is None:
            return
        if outcome.error is not None:
            self._tell_failure(action, outcome.error)
            return
        self._count(metrics.DRIFT_REPAIRED, action)
        if action.action is ActionKind.CREATE:
            self._tell(action, "created", "", is_drift=self.drift)
            return
        for change in action.changes:
            if change.effect is not Effect.WITHHELD:
                is_drift, cause = self._is_drift(change), ""
                if self.drift:
                    cause = "; someone had changed it" if is_drift else "; the host was restarted"
                text = f"{describe(change)}{cause}"
                self._tell(action, text, change.effect.value, is_drift=is_drift)

    def _is_drift(self, change: Change) -> bool:
        return self.drift and change.path not in self.booted

    def _tell(self, action: Action, text: str, effect: str, *, is_drift: bool) -> None:
        self.journal.tell(
            Event(
                events.DRIFT if is_drift else events.CHANGED,
                text,
                object=action.key,
                action=action.action.value,
                effect=effect or None,
                revision=self.revision,
            )
        )

    def _tell_failure(self, action: Action, error: str) -> None:
        if error != self.last_error:
            event = Event(
                events.FAILED,
                error,
                object=action.key,
                action=action.action.value,
                revision=self.revision,
            )
            self.journal.tell(event)

    def _count(self, name: str, action: Action) -> None:
        for change in action.changes:
            if self._is_drift(change) and change.effect is not Effect.WITHHELD:
                self.meter.count(name, field=field_of(change.path))


def field_of(path: str) -> str:
    """Return a path without names: `disks[root].bus` is `disks[].bus`."""
    return _NAMES.sub("[]", path)


def describe(change: Change) -> str:
    """Return a change as one line, without secrets, in the manifest's units."""
    old, new = hide_sides(change.path, change.observed, change.desired)
    path = change.path
    return f"{show_path(path)}: {_show(path, old)} -> {_show(path, new)}"


def _show(path: str, value: Value) -> str:
    return "none" if value is None else show_value(path, value)


class TroubleReporter:
    """One thing that is tried; `trouble` is what to say in front of an error."""

    def __init__(self, journal: Journal, trouble: str) -> None:
        """Begin with nothing told."""
        self._journal = journal
        self._trouble = trouble
        self._told = ""

    @property
    def trouble(self) -> str:
        """What went wrong at the last try; empty if nothing did."""
        return self._told

    def run(self, do: Callable[[], None]) -> bool:
        """Do it, and return whether it was done; an error stops nothing."""
        try:
            do()
        except ReconcilerError as error:
            if str(error) != self._told:
                self._journal.tell(Event(events.FAILED, f"{self._trouble}: {error}"))
            self._told = str(error)
            return False
        self._told = ""
        return True
