"""What the loop knows at this moment, shared by its threads, and the services it is made of."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Callable, Dict, FrozenSet, Optional

from reconciler.control.attempts import Attempts
from reconciler.control.ledger import Ledger
from reconciler.control.manifest_sets import ManifestsInForce
from reconciler.control.ports import Clock, Host, News
from reconciler.control.service_ports import History, HostSigns, Journal, Meter, Store
from reconciler.core.frozen import frozen


@frozen
class LoopServices:
    """The outside world as the loop sees it.

    `wall` is seconds since the epoch; `chance` gives numbers in [0, 1). `connect` reaches another
    host, None where nobody else is to be asked. `signs` shows what has come to this host where
    libvirt announces nothing; of another host there are none.
    """

    host: Host
    news: News
    store: Store
    journal: Journal
    meter: Meter
    clock: Clock
    wall: Callable[[], float]
    chance: Callable[[], float]
    history: History
    connect: Optional[Callable[[str], Host]] = None
    signs: Callable[[], HostSigns] = HostSigns


QEMU = "qemu"
# Each has a daemon of its own on a modular host, and a connection of its own here.
DRIVERS = (QEMU, "network", "storage")
_NOT_YET = "not connected to libvirt yet"


@dataclass
class LoopState:
    """One host's knowledge. Each field is replaced as a whole, never changed in part.

    `unreached` maps a driver to why it is not reached; `host` is the host's name, once asked for.
    `left` maps a machine to when it was migrated to another host, on the monotonic clock.
    `moved` is when long work last showed that it goes on, on the monotonic clock.
    """

    parts: LoopServices
    ledger: Ledger
    wanted: ManifestsInForce = field(default_factory=ManifestsInForce)
    attempts: Attempts = field(default_factory=Attempts)
    suspended: FrozenSet[str] = frozenset()
    unreached: Dict[str, str] = field(default_factory=lambda: {QEMU: _NOT_YET})
    host: Optional[str] = None
    moved: float = 0.0
    left: Dict[str, float] = field(default_factory=dict)

    def forget(self, name: str) -> None:
        """Remember nothing more of an object that is gone."""
        self.ledger.forget(name)
        self.attempts.release(name)
        self.left.pop(name, None)

    def move(self) -> None:
        """Take note that long work goes on."""
        self.moved = time.monotonic()

    def find_host(self) -> str:
        """Return the host's name; libvirt is asked once. Raises TransientError."""
        if self.host is None:
            self.host = self.parts.host.domains.host
        return self.host
