"""The daemon's surroundings in memory: what it told, counted and remembered can be looked at."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Tuple

from reconciler.core.events import Event
from reconciler.core.history import ChangeRecord, LastKnown, find_newest
from reconciler.core.key import Key, show_key
from reconciler.core.records import Record, SourceRecord, Suspension


class MemoryStore:
    """A store that keeps everything in memory, and how often each record was written."""

    def __init__(self) -> None:
        self.records: Dict[Key, Record] = {}
        self.source = SourceRecord()
        self.writes: Counter[Key] = Counter()
        self.suspensions: Dict[Key, Suspension] = {}
        self.retries: Set[Key] = set()
        self.confirmed = ""
        self.placements: Dict[Key, str] = {}

    def touch(self) -> None:
        """Be writable."""

    def load_records(self) -> Mapping[Key, Record]:
        return dict(self.records)

    def load_placements(self) -> Mapping[Key, str]:
        return dict(self.placements)

    def save_placements(self, placements: Mapping[Key, str]) -> None:
        self.placements = dict(placements)

    def load_source(self) -> SourceRecord:
        return self.source

    def save_record(self, record: Record) -> None:
        self.writes[record.key] += 1
        self.records[record.key] = record

    def forget_record(self, key: Key) -> None:
        self.records.pop(key, None)

    def save_source(self, record: SourceRecord) -> None:
        self.source = record

    def suspended(self) -> Mapping[Key, Suspension]:
        return dict(self.suspensions)

    def take_retries(self) -> FrozenSet[Key]:
        found = frozenset(self.retries)
        self.retries.clear()
        return found

    def confirmed_prune(self) -> str:
        return self.confirmed


class MemoryHistory:
    """A history in memory; `broken` is why it cannot be written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.entries: List[ChangeRecord] = []
        self.last: Dict[Key, LastKnown] = {}
        self.broken: Optional[Exception] = None

    def begin(self, past: ChangeRecord) -> ChangeRecord:
        if self.broken is not None:
            raise self.broken
        with self._lock:
            numbered = replace(past, number=len(self.entries) + 1)
            self.entries.append(numbered)
        return numbered

    def end(self, past: ChangeRecord) -> None:
        self.entries[past.number - 1] = past

    def keep(self, last: LastKnown) -> None:
        if self.broken is not None:
            raise self.broken
        self.last[last.key] = last

    def find_last(self, key: Key) -> Optional[LastKnown]:
        return find_newest(self.last.get(key), self.list(key))

    def list_keys(self) -> FrozenSet[Key]:
        return frozenset(entry.key for entry in self.entries)

    def list(self, key: Key) -> Sequence[ChangeRecord]:
        return [entry for entry in reversed(self.entries) if entry.key == key]


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
                f"{show_key(event.object)}: {event.message}" if event.object else event.message
                for event in self.events
                if event.kind.name == kind
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
