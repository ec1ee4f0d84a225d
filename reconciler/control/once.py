"""Try what may fail again and again: the journal is told when a trouble comes, not at each try."""

from __future__ import annotations

from typing import Callable

from reconciler.control.ports.service import Journal
from reconciler.core.loop import events
from reconciler.core.loop.events import Event
from reconciler.errors import ReconcilerError


class Once:
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
