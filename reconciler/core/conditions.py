"""How a pass over one object can end, as the conditions that people read. Pure."""

from __future__ import annotations

import hashlib
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.names import CLOUD_INIT, IGNITION, IS_ON, SNAPSHOT, WINDOWS
from reconciler.core.plan import Action, ActionKind, Effect
from reconciler.errors import FaultError, ReconcilerError, RefusedError, TransientError


@frozen
class Condition:
    """One condition. `holds` is None when it is not known."""

    type: str
    holds: Optional[bool]
    reason: str = ""

    @property
    def word(self) -> str:
        """True, False or Unknown."""
        return "Unknown" if self.holds is None else str(self.holds)


@frozen
class Status:
    """What is known of one machine. `generation` is that last applied in full.

    `state` is the guest's state in one word, `guest` the same with what else is known of it.
    """

    name: str
    state: str
    conditions: Tuple[Condition, ...]
    generation: Optional[str] = None
    guest: str = ""

    def condition(self, type_: str) -> Condition:
        """Return the condition of that type; Unknown if nothing is said about it."""
        return next(
            (condition for condition in self.conditions if condition.type == type_),
            Condition(type_, holds=None),
        )


READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
RESTART_REQUIRED = "RestartRequired"
GUEST_READY = "GuestReady"


@frozen
class Conditions:
    """`ready` is None when it is not known; a reason that is not empty makes its condition hold."""

    ready: Optional[bool]
    reason: str = ""
    reconciling: str = ""
    stalled: str = ""
    pending: Tuple[str, ...] = ()

    def conditions(self) -> Tuple[Condition, ...]:
        """Return the four conditions."""
        return (
            Condition(READY, self.ready, self.reason),
            Condition(RECONCILING, bool(self.reconciling), self.reconciling),
            Condition(STALLED, bool(self.stalled), self.stalled),
            Condition(RESTART_REQUIRED, bool(self.pending), ", ".join(self.pending)),
        )


def unknown(reason: str, *, again: str = "") -> Conditions:
    """Say that nothing is known of the object now; `again` is set when it is tried again."""
    return Conditions(None, reason, reconciling=again)


def show_progress(conditions: Sequence[Condition], text: str) -> Tuple[Condition, ...]:
    """Return the conditions of an object that is worked on: what was known of it stays."""
    return tuple(
        Condition(RECONCILING, holds=True, reason=text) if known.type == RECONCILING else known
        for known in conditions or unknown("").conditions()
    )


def failed(reason: str, *, again: bool) -> Conditions:
    """Say that what was to be done failed, and whether it is tried again."""
    return Conditions(
        ready=False,
        reason=reason,
        reconciling=f"tried again after: {reason}" if again else "",
        stalled="" if again else reason,
    )


def planned(action: Action) -> Conditions:
    """Judge an object by its plan, all that the plan does being done."""
    if action.action is ActionKind.FAILED:
        return failed(action.reason, again=action.transient)
    if action.transient and action.reason:
        return Conditions(
            ready=False, reason=f"withheld: {action.reason}", reconciling=action.reason
        )
    if action.action is ActionKind.ADOPT:
        return failed(action.reason or "not managed yet", again=False)
    held = [change for change in action.changes if change.effect is Effect.WITHHELD]
    if action.action is ActionKind.WITHHELD and not held:
        return Conditions(ready=False, reason=f"withheld: {action.reason}", pending=action.pending)
    reasons = "; ".join(
        change.reason
        if change.reason.startswith(change.path)
        else f"{change.path}: {change.reason}"
        for change in held
    )
    reason = f"withheld: {reasons}" if held else find_status_notes(action.notes)
    again = reason if action.transient and held else ""
    return Conditions(
        not held, reason, reconciling=again, stalled=action.stalled, pending=action.pending
    )


_SEEDS = (f"{CLOUD_INIT}: ", f"{IGNITION}: ", f"{WINDOWS}: ")  # how notes about the seed begin


def find_status_notes(notes: Iterable[str]) -> str:
    """Return, as one line, the notes of a disk on a snapshot and of a seed that is still there."""
    return "; ".join(
        note for note in notes if f"{IS_ON}{SNAPSHOT}" in note or note.startswith(_SEEDS)
    )


@frozen
class Done:
    """As wanted, or nothing that could be done now; the next event or resync looks again."""


@frozen
class Again:
    """Something may pass by itself: try again after so many seconds."""

    reason: str
    after: float


@frozen
class Stalled:
    """Trying again cannot help until the manifest or the domain changes."""

    reason: str


Result = Union[Done, Again, Stalled]


TRANSIENT = "transient"
REFUSED = "refused"
TERMINAL = "terminal"
BUG = "bug"
FAILURES = (TRANSIENT, REFUSED, TERMINAL, BUG)


def kind_of(error: Exception) -> str:
    """Return the kind of an error; one that is not raised on purpose is a bug."""
    if isinstance(error, FaultError):
        return BUG
    if isinstance(error, TransientError):
        return TRANSIENT
    if isinstance(error, RefusedError):
        return REFUSED
    return TERMINAL if isinstance(error, ReconcilerError) else BUG


def describe_unreached(reasons: Mapping[str, str]) -> str:
    """Say why drivers of libvirt are not reached, a reason that several have only once."""
    drivers: Dict[str, List[str]] = {}
    for driver, reason in sorted(reasons.items()):
        drivers.setdefault(reason, []).append(driver)
    return "; ".join(f"{', '.join(found)}: {reason}" for reason, found in drivers.items())


FIRST = 1.0  # seconds
MOST = 300.0
# What is missing on the host comes in its own time: a bridge, an NFS share after a boot.
MOST_MISSING = 60.0
JITTER = 0.2  # so that what failed together does not come back together


def find_delay(failures: int, chance: float, most: float = MOST) -> float:
    """Return seconds until the next try after so many failures in a row (1 and more).

    Doubles each time, to `most`. `chance` in [0, 1) takes off up to `JITTER` of it.
    """
    exponent = min(failures - 1, 20)  # 2**20 is beyond the limit; larger ones only cost time
    delay: float = min(FIRST * 2**exponent, most)
    return delay * (1 - JITTER * chance)


def spread(seconds: float, chance: float) -> float:
    """Return an interval that is up to 10 % shorter or longer."""
    return seconds * (0.9 + 0.2 * chance)


def fingerprint(generation: str, parts: Optional[Sequence[str]]) -> str:
    """Return a digest of all that a plan of this manifest depends on in the object itself.

    `parts` are those of a sighting, None where there is no such object. Equal prints mean an equal
    plan, as far as everything around the object stays as it is. Text is compared and not meaning:
    it is done for every object at each resync.
    """
    made = hashlib.blake2b(generation.encode(), digest_size=16)
    for part in parts or ():
        made.update(part.encode())
        made.update(b"\0")
    return made.hexdigest()
