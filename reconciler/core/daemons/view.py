"""What was seen of a host's daemons: units, listening sockets, who answered. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, Mapping, Optional, Tuple

_ON = frozenset({"active", "activating", "reloading"})
# States of a unit file that start the unit at boot; "-runtime" ones are forgotten then.
_ENABLED = frozenset({"enabled", "generated", "alias"})
_ASKED_FOR = _ENABLED | {"enabled-runtime", "linked-runtime"}


@dataclass(frozen=True)
class Unit:
    """A systemd unit in systemd's own words: LoadState, ActiveState, UnitFileState, Result."""

    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    result: str = "success"

    @property
    def is_there(self) -> bool:
        """Whether it is installed, masked or not."""
        return self.load != "not-found"

    @property
    def is_masked(self) -> bool:
        """Whether nothing can start it."""
        return self.load == "masked" or self.enabled.startswith("masked")

    @property
    def is_usable(self) -> bool:
        """Whether it is installed and may be started."""
        return self.is_there and not self.is_masked

    @property
    def is_active(self) -> bool:
        """Whether it runs or listens, or is about to."""
        return self.active in _ON

    @property
    def is_failed(self) -> bool:
        """Whether systemd gave it up."""
        return self.active == "failed"

    @property
    def is_enabled(self) -> bool:
        """Whether it starts with the host."""
        return self.enabled in _ENABLED

    @property
    def is_on(self) -> bool:
        """Whether it runs now, or somebody asked for it to be started."""
        return self.is_active or self.enabled in _ASKED_FOR


@dataclass(frozen=True)
class Answer:
    """Who accepted a connection: a process and the unit it is of (empty: of none).

    `problem` says why that could not be found out; the rest is empty then. `refused`: nobody did.
    """

    unit: str = ""
    process: str = ""
    pid: int = 0
    problem: str = ""
    refused: bool = False


@dataclass(frozen=True)
class DaemonsView:
    """One host's daemons at one moment.

    `uri` is the connection in use, `client` the path of the socket that it goes to. `listening` are
    paths that somebody listens at. `guests` are those that run, None where that cannot be seen.
    `answers` maps those paths to which a connection was made; making one may start a daemon.
    """

    host: str
    uri: str
    client: str
    units: Mapping[str, Unit] = field(default_factory=dict)
    listening: FrozenSet[str] = frozenset()
    guests: Optional[Tuple[str, ...]] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def unit(self, name: str) -> Unit:
        """Return the unit's state; one that was not seen is not installed."""
        return self.units.get(name, Unit())
