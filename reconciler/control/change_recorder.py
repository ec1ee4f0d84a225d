"""Write down each change of an object before it is made, and how it ended. Implements `Reporter`.

Stands before the reporter that tells people. A history that cannot be written is told, and never
keeps a change from being made.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Dict, Iterator, Optional

from reconciler.control.ports import Host, Reporter
from reconciler.core.frozen import frozen
from reconciler.core.history import DAEMON, ChangeCause, ChangeRecord, LastKnown, conclude
from reconciler.core.key import Key, show_key
from reconciler.core.plan import Action, Outcome
from reconciler.errors import ReconcilerError
from reconciler.kinds.api import find_kind

if TYPE_CHECKING:
    from reconciler.control.service_ports import History
    from reconciler.control.state import LoopServices


@frozen
class ChangeRecorder:
    """Where changes are written down, who makes them, and whom to tell if that fails.

    `wall` is seconds since the epoch.
    """

    history: History
    cause: ChangeCause
    wall: Callable[[], float]
    tell: Callable[[str], None]

    def on(self, host: Host, told: Reporter) -> RecordingReporter:
        """Return the reporter that records what is done on a host, and tells another."""
        return RecordingReporter(self, host, told)


class DaemonRecorder:
    """The daemon's own entries; a trouble with them is told when it comes, not at each change."""

    def __init__(self, services: LoopServices) -> None:
        """Begin with nothing told."""
        self._services = services
        self._told = ""
        self._kept: Dict[Key, int] = {}  # hashes of the definitions that were kept

    def keep(self, last: Optional[LastKnown], seen: object) -> None:
        """Keep how an object was last seen, unless that was kept for the same `seen` before."""
        if last is None or self._kept.get(last.key) == hash(seen):
            return
        try:
            self._services.history.keep(last)
        except ReconcilerError as error:
            self._tell(
                f"the last known definition of {show_key(last.key)} cannot be stored: {error}"
            )
            return
        self._kept[last.key] = hash(seen)

    def find_last(self, key: Key) -> Optional[LastKnown]:
        """Return an object's last known definition; None also if it cannot be read."""
        try:
            return self._services.history.find_last(key)
        except ReconcilerError as error:
            self._tell(f"the last known definition of {show_key(key)} cannot be read: {error}")
            return None

    def on(self, told: Reporter, revision: Optional[str]) -> RecordingReporter:
        """Return the reporter of one action that manifests of this revision cause."""
        services, cause = self._services, ChangeCause(DAEMON, "run", revision)
        return ChangeRecorder(services.history, cause, services.clock.wall, self._tell).on(
            services.host, told
        )

    def _tell(self, text: str) -> None:
        why = text.rpartition(": ")[2]  # the same trouble with every machine's folder
        if why != self._told:
            from reconciler.core.events import FAILED, Event  # noqa: PLC0415 - start-up time

            self._services.journal.tell(Event(FAILED, text))
        self._told = why


class RecordingReporter:
    """Records the actions of one run, one after the other."""

    def __init__(self, chronicle: ChangeRecorder, host: Host, told: Reporter) -> None:
        """Begin with nothing under way."""
        self._chronicle = chronicle
        self._host = host
        self._told = told
        self._past: Optional[ChangeRecord] = None

    def started(self, action: Action) -> None:
        """Write down what is about to be done, and what is there before."""
        chronicle, self._past = self._chronicle, None
        with self._reporting_trouble():
            now = chronicle.wall()
            entry = find_kind(action.kind).record_change(self._host, action, chronicle.cause, now)
            if entry is not None:
                self._past = chronicle.history.begin(entry)
        self._told.started(action)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        self._told.progress(what, done, total)

    def finished(self, outcome: Outcome) -> None:
        """Write down how it ended, and the object as it is now.

        Of one that is gone, what was known stays.
        """
        chronicle, past, self._past = self._chronicle, self._past, None
        if past is not None:
            with self._reporting_trouble():
                chronicle.history.end(conclude(past, outcome))
            with self._reporting_trouble():
                kind = find_kind(past.key.kind)
                last = kind.find_last_known(self._host, past.key, chronicle.wall())
                if last is not None:
                    chronicle.history.keep(last)
        self._told.finished(outcome)

    @contextmanager
    def _reporting_trouble(self) -> Iterator[None]:
        try:
            yield
        except ReconcilerError as error:
            self._chronicle.tell(
                f"the history cannot be written; the change is applied without a record: {error}"
            )
