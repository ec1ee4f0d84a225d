"""The daemon's surroundings in memory: what it told, counted and remembered can be looked at."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

from reconciler.core.events import Event
from reconciler.core.history import ChangeRecord, LastKnown, find_newest
from reconciler.core.records import Record, SourceRecord, Suspension


class MemoryStore:
    """A store that keeps everything in memory, and how often each record was written."""

    def __init__(self) -> None:
        self.records: Dict[str, Record] = {}
        self.source = SourceRecord()
        self.writes: Counter[str] = Counter()
        self.suspensions: Dict[str, Suspension] = {}
        self.retries: Set[str] = set()
        self.confirmed = ""
        self.placements: Dict[str, str] = {}

    def touch(self) -> None:
        """Be writable."""

    def load_records(self) -> Mapping[str, Record]:
        return dict(self.records)

    def load_placements(self) -> Mapping[str, str]:
        return dict(self.placements)

    def save_placements(self, placements: Mapping[str, str]) -> None:
        self.placements = dict(placements)

    def load_source(self) -> SourceRecord:
        return self.source

    def save_record(self, record: Record) -> None:
        self.writes[record.name] += 1
        self.records[record.name] = record

    def forget_record(self, name: str) -> None:
        self.records.pop(name, None)

    def save_source(self, record: SourceRecord) -> None:
        self.source = record

    def suspended(self) -> Mapping[str, Suspension]:
        return dict(self.suspensions)

    def take_retries(self) -> FrozenSet[str]:
        found = frozenset(self.retries)
        self.retries.clear()
        return found

    def confirmed_prune(self) -> str:
        return self.confirmed


class MemoryHistory:
    """A history in memory; `broken` is why it cannot be written."""

    def __init__(self) -> None:
        self.entries: List[ChangeRecord] = []
        self.last: Dict[str, LastKnown] = {}
        self.broken: Optional[Exception] = None

    def begin(self, past: ChangeRecord) -> ChangeRecord:
        if self.broken is not None:
            raise self.broken
        numbered = replace(past, number=len(self.entries) + 1)
        self.entries.append(numbered)
        return numbered

    def end(self, past: ChangeRecord) -> None:
        self.entries[past.number - 1] = past

    def keep(self, last: LastKnown) -> None:
        if self.broken is not None:
            raise self.broken
        self.last[last.name] = last

    def find_last(self, name: str) -> Optional[LastKnown]:
        return find_newest(self.last.get(name), self.list(name))

    def list(self, name: str) -> Sequence[ChangeRecord]:
        return [one for one in reversed(self.entries) if one.name == name]


class ListJournal:
    """A journal that can be read, and waited on."""

    def __init__(self) -> None:
        self.events: List[Event] = []
        self.changed = threading.Condition()

    def tell(self, event: Event) -> None:
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def lines(self, kind: str) -> List[str]:
        """Return what was told of one kind."""
        with self.changed:
            return [
                f"{one.object}: {one.message}" if one.object else one.message
                for one in self.events
                if one.kind.name == kind
            ]


class CountingMeter:
    """A meter that keeps sums by name and labels."""

    def __init__(self) -> None:
        self.values: Dict[Tuple[str, Tuple[Tuple[str, str], ...]], float] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self.values[key] = self.values.get(key, 0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        self.values[name, tuple(sorted(labels.items()))] = value

    def replace(self, name: str, value: float, **labels: str) -> None:
        for key in [one for one in self.values if one[0] == name]:
            del self.values[key]
        self.set(name, value, **labels)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        self.count(name, 1, **labels)

    def total(self, name: str) -> float:
        """Return the sum over all labels."""
        return sum(value for (known, _), value in self.values.items() if known == name)
