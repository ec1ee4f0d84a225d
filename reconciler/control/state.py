"""What the loop knows at this moment, shared by its threads, and the services it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, FrozenSet, Optional, Union

from reconciler.control.attempts import Attempts
from reconciler.control.ledger import Ledger
from reconciler.control.manifest_sets import ManifestsInForce
from reconciler.control.ports import Clock, Host, News
from reconciler.control.service_ports import History, HostSigns, Journal, Meter, Store
from reconciler.core.frozen import frozen
from reconciler.core.key import Key
from reconciler.core.world import Unknown
from reconciler.kinds.api import ObjectKind


@frozen
class LoopServices:
    """The outside world as the loop sees it.

    `chance` gives numbers in [0, 1). `connect` reaches another
    host, None where nobody else is to be asked. `signs` shows what has come to this host where
    libvirt announces nothing; of another host there are none.
    """

    host: Host
    news: News
    store: Store
    journal: Journal
    meter: Meter
    clock: Clock
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

    `unreached` maps a driver to why it is not reached; `hosts` maps a kind to this host's name as
    it is known to that. `left` maps a guest to when it was migrated to another host, on the
    monotonic clock. `moved` is when long work last showed that it goes on, on the monotonic clock.
    """

    services: LoopServices
    ledger: Ledger
    wanted: ManifestsInForce = field(init=False)
    attempts: Attempts = field(default_factory=Attempts)
    suspended: FrozenSet[Key] = frozenset()
    unreached: Dict[str, str] = field(default_factory=lambda: {QEMU: _NOT_YET})
    hosts: Dict[str, str] = field(default_factory=dict)
    moved: float = 0.0
    left: Dict[Key, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with no manifests."""
        self.wanted = ManifestsInForce(self.services.clock.now)

    def forget(self, key: Key) -> None:
        """Remember nothing more of an object that is gone."""
        self.ledger.forget(key)
        self.attempts.release(key)
        self.left.pop(key, None)

    def move(self) -> None:
        """Take note that long work goes on."""
        self.moved = self.services.clock.now()

    def find_host(self, kind: ObjectKind) -> Union[str, Unknown]:
        """Return the host's name; it is asked for once. Raises TransientError."""
        if kind.name not in self.hosts:
            found = kind.find_here(self.services.host)
            if isinstance(found, Unknown):
                return found
            self.hosts[kind.name] = found
        return self.hosts[kind.name]

    def find_unreached(self, kind: ObjectKind) -> str:
        """Return why nothing can be said of objects of a kind now; empty if something can."""
        reasons = (self.unreached.get(driver, "") for driver in kind.drivers)
        return next((reason for reason in reasons if reason), "")
