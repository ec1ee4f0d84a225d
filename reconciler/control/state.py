"""What the loop knows at this moment, what was tried last, and the services it is made of."""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass, field
from typing import Callable, Dict, FrozenSet, Mapping, Optional, Tuple, Union

from reconciler.control.ledger import Ledger
from reconciler.control.manifest_follower import ManifestsInForce
from reconciler.control.ports import Clock, Host, News
from reconciler.control.service_ports import History, HostSigns, Journal, Meter, Store
from reconciler.core.conditions import Result
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key, show_key
from reconciler.core.records import Record
from reconciler.core.world import Unknown
from reconciler.kinds.api import ObjectKind

WINDOW = 600.0  # seconds
MOST = 5  # corrections of one field within the window


@frozen
class Corrections:
    """When which fields of one object were brought back, the oldest first.

    `left` are the fields that are left alone. All of it is about one `generation` of the manifest.
    """

    generation: str = ""
    made: Tuple[Tuple[float, FrozenSet[str]], ...] = ()
    left: FrozenSet[str] = frozenset()

    def plus(self, now: float, paths: FrozenSet[str]) -> Corrections:
        """Return these and one more, without those that are too old to matter."""
        recent = tuple(correction for correction in self.made if correction[0] > now - WINDOW)
        return replace(self, made=(*recent, (now, paths)))

    def leave(self, now: float, paths: FrozenSet[str]) -> Corrections:
        """Return these, with those of the fields left alone that were brought back too often."""
        recent = [fields for at, fields in self.made if at > now - WINDOW]
        often = {path for path in paths if sum(path in each for each in recent) >= MOST}
        return replace(self, left=self.left | often)


def describe_left(key: Key, corrections: Corrections) -> Mapping[str, str]:
    """Return what to say of each field that is left alone, and what to do."""
    return {
        path: f"{path} was changed back by someone {MOST} times in {WINDOW / 60:.0f} min; left "
        f"alone. Find out who, then: virt-reconciler resume {shlex.quote(show_key(key))}"
        for path in sorted(corrections.left)
    }


@frozen
class Attempt:
    """A failed try: at which manifest and observed object, and when it may be tried again.

    `not_before` is on the monotonic clock; None is never, until manifest or domain change.
    """

    generation: str
    seen: str
    reason: str
    not_before: Optional[float]


class Attempts:
    """Failed tries and corrections of all objects; each object is used by one thread at a time."""

    def __init__(self) -> None:
        """Begin with none."""
        self._failed: Dict[Key, Attempt] = {}
        self._corrections: Dict[Key, Corrections] = {}
        self._clean: Dict[Key, str] = {}
        self._lock = threading.Lock()

    def fail(self, key: Key, attempt: Attempt) -> None:
        """Remember a failed try."""
        with self._lock:
            self._failed[key] = attempt

    def find(self, key: Key, generation: str, seen: str) -> Optional[Attempt]:
        """Return the failed try at exactly this manifest and domain, or None."""
        with self._lock:
            last = self._failed.get(key)
        if last is None or (last.generation, last.seen) != (generation, seen):
            return None
        return last

    def hurry(self, key: Key) -> None:
        """Let an object be tried again without its wait; what only a change mends stays held."""
        with self._lock:
            last = self._failed.get(key)
            if last is not None and last.not_before is not None:
                del self._failed[key]

    def succeed(self, key: Key, seen: str) -> None:
        """Remember at which manifest and observed object nothing was left to do."""
        with self._lock:
            self._failed.pop(key, None)
            self._clean[key] = seen

    def is_clean(self, key: Key, seen: str) -> bool:
        """Whether nothing was left to do at exactly this manifest and domain."""
        with self._lock:
            return self._clean.get(key) == seen

    def soil(self, key: Key) -> None:
        """Look at the object in full the next time."""
        with self._lock:
            self._clean.pop(key, None)

    def corrections(self, key: Key, generation: str) -> Corrections:
        """Return what was brought back lately, to what this manifest says."""
        with self._lock:
            known = self._corrections.get(key)
        if known is None or known.generation != generation:
            return Corrections(generation)
        return known

    def correct(self, key: Key, corrections: Corrections) -> None:
        """Remember what was brought back."""
        with self._lock:
            self._corrections[key] = corrections

    def release(self, key: Key) -> None:
        """Forget failures and corrections of an object: it is tried as if for the first time."""
        with self._lock:
            for memory in (self._failed, self._corrections, self._clean):
                memory.pop(key, None)


@frozen
class LoopServices:
    """The outside world as the loop sees it.

    `chance` gives numbers in [0, 1). `connect` reaches another
    host, None where nobody else is to be asked. `signs` shows what has come to this host where
    libvirt announces nothing; of another host there are none. `boot` identifies the host's boot,
    '' where that is not known.
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
    boot: str = ""


QEMU = "qemu"
# Each has a daemon of its own on a modular host, and a connection of its own here.
DRIVERS = (QEMU, "network", "storage")
_NOT_YET = "not connected to libvirt yet"


@frozen
class PassStatus:
    """How a pass over an object ended, and what is to be remembered of it from now on.

    None: nothing else than before. `is_gone`: nothing at all.
    """

    result: Result
    record: Optional[Record] = None
    is_gone: bool = False


def _request_nothing(_key: Key) -> None:
    """Do nothing: there is no queue yet."""


@dataclass
class LoopState:
    """One host's knowledge. Each field is replaced as a whole, never changed in part.

    `unreached` maps a driver to why it is not reached; `hosts` maps a kind to this host's name as
    it is known to that. `left` maps a guest to when it was migrated to another host, on the
    monotonic clock. `retried` are objects that a person asked to
    try again. `request_pass` has an object looked at in full. `moved` is when long work last
    showed that it goes on, on the monotonic clock.
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
    retried: Dict[Key, float] = field(default_factory=dict)
    request_pass: Callable[[Key], None] = _request_nothing

    def __post_init__(self) -> None:
        """Begin with no manifests."""
        self.wanted = ManifestsInForce(self.services.clock.now)

    def forget(self, key: Key) -> None:
        """Remember nothing more of an object that is gone."""
        self.ledger.forget(key)
        self.attempts.release(key)
        self.left.pop(key, None)

    def move(self, key: Key, progress: str) -> None:
        """Take note that long work on an object goes on; `status` shows how far it is."""
        self.moved = self.services.clock.now()
        if progress:
            self.ledger.show_progress(key, progress)

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
