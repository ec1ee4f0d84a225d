"""What the daemon's memory says of all objects, for people and for systemctl. Pure."""

from __future__ import annotations

import shlex
from dataclasses import field
from typing import Dict, Mapping, Optional, Tuple

from reconciler.core.conditions import (
    GUEST_READY,
    READY,
    RECONCILING,
    RESTART_REQUIRED,
    STALLED,
    Condition,
    Status,
)
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import Key, show_key
from reconciler.core.kinds import count_objects
from reconciler.core.records import Record, SourceRecord, Suspension, new_record

SUSPENDED = "Suspended"
NOT_READY = "NotReady"
UNKNOWN = "Unknown"
WORDS = (READY, NOT_READY, RECONCILING, STALLED, SUSPENDED, UNKNOWN)

LEFT_ALONE = "suspended"  # the reason that a pass over a suspended object gives
RESUMED = "resumed, not inspected since"


@frozen
class OverviewEntry:
    """One object: what was written down last, and whether it is left alone."""

    record: Record
    suspension: Optional[Suspension] = None

    @property
    def name(self) -> str:
        """The object's name."""
        return self.record.name

    @property
    def key(self) -> Key:
        """The object's kind and name."""
        return self.record.key

    @property
    def word(self) -> str:
        """The one word of `WORDS` that says most."""
        if self.suspension is not None:
            return SUSPENDED
        for type_ in (STALLED, RECONCILING):
            if self.condition(type_).holds:
                return type_
        ready = self.condition(READY).holds
        return UNKNOWN if ready is None else READY if ready else NOT_READY

    @property
    def conditions(self) -> Tuple[Condition, ...]:
        """The conditions as they hold now; `Suspended` only where it does."""
        shown = (*map(self._adapt, self.record.conditions), *self._find_guest_ready())
        if self.suspension is None:
            return shown
        return (Condition(SUSPENDED, holds=True, reason=self.suspension.why), *shown)

    def _find_guest_ready(self) -> Tuple[Condition, ...]:
        """Return `GuestReady` of an object whose guest is asked, also if it is suspended."""
        inside = self.record.inside
        if inside is None or (inside.ready is None and not inside.reasons):
            return ()
        return (Condition(GUEST_READY, inside.ready, inside.reason),)

    @property
    def next_try(self) -> Optional[float]:
        """When it is tried again, if it is."""
        return self.record.next_try if self.suspension is None else None

    @property
    def command(self) -> str:
        """The command that helps in this state; empty if there is nothing to do, or none helps."""
        word, name = self.word, shlex.quote(show_key(self.key))
        if word == SUSPENDED:
            return f"virt-reconciler resume {name}"
        if word in (STALLED, RECONCILING):
            return f"virt-reconciler retry {name}"
        if word == NOT_READY and not _names_command(self.condition(READY).reason):
            return f"virt-reconciler retry {name}"
        return ""

    def condition(self, type_: str) -> Condition:
        """Return the condition of that type; Unknown if nothing is said about it."""
        unknown = Condition(type_, holds=None)
        return next(
            (condition for condition in self.conditions if condition.type == type_), unknown
        )

    def _adapt(self, condition: Condition) -> Condition:
        if self.suspension is None:
            is_past = condition.type == READY and condition.reason == LEFT_ALONE
            return replace(condition, reason=RESUMED) if is_past else condition
        if condition.type == READY:
            return Condition(READY, holds=None, reason=LEFT_ALONE)
        return (
            condition
            if condition.type == RESTART_REQUIRED
            else Condition(condition.type, holds=False)
        )


def _names_command(text: str) -> bool:
    return any(f"{command} " in text for command in ("virt-reconciler", "virsh", "systemctl"))


@frozen
class Overview:
    """Everything that is remembered.

    `daemon` is the process that runs on this memory (0: it is not known which), None if none does;
    `last_sign` is when there was last a sign of one, `broken` a line for each file of no use,
    `hindrance` why nothing can be written any more.
    """

    entries: Mapping[Key, OverviewEntry]
    source: SourceRecord = field(default_factory=SourceRecord)
    daemon: Optional[int] = None
    last_sign: Optional[float] = None
    broken: Tuple[str, ...] = ()
    hindrance: str = ""

    @property
    def is_known(self) -> bool:
        """Whether a daemon has ever written anything here, or is about to."""
        if self.source != SourceRecord() or self.daemon is not None:
            return True
        return any(entry.record.conditions for entry in self.entries.values())


def make_entries(
    records: Mapping[Key, Record], suspended: Mapping[Key, Suspension]
) -> Mapping[Key, OverviewEntry]:
    """Return an entry for each object that has a record or is suspended, by key."""
    found: Dict[Key, OverviewEntry] = {}
    for key in sorted({*records, *suspended}):
        found[key] = OverviewEntry(records.get(key) or new_record(key), suspended.get(key))
    return found


def mark_suspended(status: Status, suspension: Optional[Suspension]) -> Status:
    """Return what was seen of an object, said as of one that is left alone if it is."""
    entry = OverviewEntry(Record(status.name, conditions=status.conditions), suspension)
    return replace(status, conditions=entry.conditions)


_SHORT = 12  # characters of a commit


def summarise(records: Mapping[Key, Record], source: SourceRecord, memory: str = "") -> str:
    """Return how many objects there are, what is not well, and at which revision.

    `memory` is why nothing is written down, if so.
    """
    counts = [
        (sum(bool(record.condition(type_).holds) for record in records.values()), word)
        for type_, word in (
            (READY, "ready"),
            (STALLED, "stalled"),
            (RESTART_REQUIRED, "waiting for a restart"),
        )
    ]
    words = [count_objects(records) or "no objects"]
    words += [f"{count} {word}" for count, word in counts if count or word == "ready"]
    if source.revision:
        words.append(f"at {source.revision[:_SHORT]}")
    trouble = source.error or source.refused
    said = [f"manifests: {trouble}"] if trouble else []
    said += [f"configuration not reloaded: {source.configuration}"] if source.configuration else []
    if source.restart_needed:
        said.append(f"restart needed for: {', '.join(source.restart_needed)}")
    said += [f"runs without its state folder: {memory}"] if memory else []
    return "; ".join([", ".join(words), *said])
