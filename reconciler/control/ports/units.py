"""What the control room needs of the host's service manager, as a Protocol."""

from __future__ import annotations

from typing import Protocol, Tuple, Union

from reconciler.core.daemons.faults import Verb
from reconciler.core.daemons.view import Answer, DaemonsView
from reconciler.core.world import Unknown
from reconciler.errors import TerminalError


class Units(Protocol):
    """libvirt's daemons as systemd has them."""

    def observe(self) -> Union[DaemonsView, Unknown]:
        """Read the state of every daemon's units, and start none; Unknown on another host."""

    def ask(self, path: str) -> Answer:
        """Connect to a socket as a client would, and see who accepts. May start a daemon."""

    def change(self, verb: Verb, units: Tuple[str, ...]) -> None:
        """Do one thing to units, and wait until it is done. Raises TerminalError."""


class NoUnits:
    """Implements `Units` where nobody has said how to see them: everything is unknown."""

    reason = "nothing here can see the host's units"

    def observe(self) -> Union[DaemonsView, Unknown]:
        """Know nothing."""
        return Unknown(self.reason)

    def ask(self, path: str) -> Answer:
        """Know nothing."""
        return Answer(problem=f"{path}: {self.reason}")

    def change(self, verb: Verb, units: Tuple[str, ...]) -> None:
        """Refuse."""
        raise TerminalError(f"cannot {verb.value} {', '.join(units)}: {self.reason}")
