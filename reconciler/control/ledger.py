"""What is remembered of each object, in memory and on disk; tells the journal what has turned.

Knows nothing of libvirt. A record is written when it differs from the last one, and only then.
"""

from __future__ import annotations

import shlex
import threading
from functools import partial
from typing import Callable, Dict, Mapping, Optional

from reconciler.control.journal_reporter import TroubleReporter
from reconciler.control.service_ports import Journal, Store
from reconciler.core import events
from reconciler.core.conditions import (
    GUEST_READY,
    READY,
    RESTART_REQUIRED,
    STALLED,
    Condition,
    show_progress,
)
from reconciler.core.events import Event
from reconciler.core.frozen import replace
from reconciler.core.guest import GuestView, keep_sizes
from reconciler.core.key import Key, show_key
from reconciler.core.records import (
    Record,
    SourceRecord,
    new_record,
    source_without_secrets,
    without_secrets,
)

TOLD = (READY, STALLED, RESTART_REQUIRED)


class Ledger:
    """The records of all objects; safe to use from several threads."""

    def __init__(self, store: Store, journal: Journal) -> None:
        """Begin with what the store has."""
        self._store = store
        self._journal = journal
        self._lock = threading.Lock()
        self._source_lock = threading.Lock()
        self._saving = threading.Lock()
        # Grows with each change, so that who sums up need not do so for nothing.
        self.version = 0
        self._loading = TroubleReporter(journal, "a record was ignored")
        self._records: Dict[Key, Record] = {}
        self._loading.run(lambda: self._records.update(store.load_records()))
        self._source = store.load_source()
        self._placements: Dict[Key, str] = dict(store.load_placements())
        self._writing = TroubleReporter(journal, "the daemon runs without its state folder")
        self._is_unsaved = False
        self._write(store.touch)

    def get(self, key: Key) -> Record:
        """Return what is known of an object."""
        with self._lock:
            return self._records.get(key) or new_record(key)

    def all(self) -> Mapping[Key, Record]:
        """Return every record, by key."""
        with self._lock:
            return dict(self._records)

    @property
    def source(self) -> SourceRecord:
        """What is known of the manifests."""
        return self._source

    def put(self, record: Record) -> None:
        """Remember, write down, and tell which conditions have turned."""
        record = without_secrets(record)
        with self._lock:
            former = self._records.get(record.key) or new_record(record.key)
            record = replace(record, inside=former.inside)
            self._records[record.key] = record
            self.version += record != former
        if record != former:
            self._write(partial(self._save, record.key))
            for condition in record.conditions:
                self._tell(record, former.condition(condition.type), condition)

    def show_inside(self, key: Key, view: Optional[GuestView]) -> bool:
        """Remember what was seen inside an object's guest: the only place that does.

        Return False where the object has no record. Sizes that differ little are the same.
        """
        with self._lock:
            former = self._records.get(key)
            if former is None:
                return False
            if view is not None and former.inside is not None:
                view = keep_sizes(former.inside, view)
            record = without_secrets(replace(former, inside=view))
            self._records[key] = record
            self.version += record != former
        if record != former:
            self._write(partial(self._save, key))
            self._tell_inside(record, former.inside or GuestView(), view or GuestView())
        return True

    def show_progress(self, key: Key, text: str) -> None:
        """Show how far work on an object is, until its pass writes how it ended."""
        record = self.get(key)
        self.put(replace(record, conditions=show_progress(record.conditions, text)))

    def forget(self, key: Key) -> None:
        """Remember nothing more of an object."""
        with self._lock:
            known = self._records.pop(key, None)
            self.version += known is not None
        if known is not None:
            self._write(lambda: self._store.forget_record(key))

    def find_placed(self, key: Key) -> str:
        """Return the other host that manifests placed an object on, until it was seen here."""
        with self._lock:
            return self._placements.get(key, "")

    def place(self, elsewhere: Mapping[Key, str]) -> None:
        """Remember which objects manifests place on other hosts, and on which."""
        self._change_placements(lambda former: {**former, **elsewhere})

    def arrive(self, key: Key) -> None:
        """Forget where an object was placed before: it is here."""
        self._change_placements(
            lambda former: {other: host for other, host in former.items() if other != key}
        )

    def _change_placements(self, change: Callable[[Dict[Key, str]], Dict[Key, str]]) -> None:
        with self._lock:
            former, self._placements = self._placements, change(self._placements)
            now = dict(self._placements)
        if now != former:
            self._write(lambda: self._store.save_placements(now))

    def change_source(self, change: Callable[[SourceRecord], SourceRecord]) -> None:
        """Change what is known of the manifests, and write it down."""
        with self._source_lock:
            source = source_without_secrets(change(self._source))
            if source != self._source:
                self._source = source
                self.version += 1
                self._write(lambda: self._store.save_source(source))

    @property
    def trouble(self) -> str:
        """Why nothing is written down; empty if all is."""
        return self._writing.trouble if self._is_unsaved else ""

    def save_rest(self) -> None:
        """Write what could not be written before, if that is possible by now."""
        if not self._is_unsaved or not self._writing.run(self._store.touch):
            return
        self._is_unsaved = False
        self.version += 1
        records, source = self.all(), self._source
        self._write(lambda: self._store.save_source(source))
        placements = dict(self._placements)
        if placements:
            self._write(lambda: self._store.save_placements(placements))
        for key in self._store.load_records().keys() - records.keys():
            self._write(partial(self._store.forget_record, key))
        for record in records.values():
            self._write(partial(self._store.save_record, record))

    def _save(self, key: Key) -> None:
        """Save what is known by now: of two who write one record, the last one writes it all."""
        with self._saving:
            record = self._records.get(key)
            if record is not None:
                self._store.save_record(record)

    def _write(self, write: Callable[[], None]) -> None:
        """Write; that the disk is full is told once, and stops nothing: all is written later."""
        if not self._is_unsaved and not self._writing.run(write):
            self._is_unsaved = True
            self.version += 1

    def _tell_inside(self, record: Record, former: GuestView, now: GuestView) -> None:
        """Tell when a guest becomes ready, or is not any more, and what a boot does not mend."""
        is_news = now.ready != former.ready or (
            now.ready is False and not now.is_booting and now.reasons != former.reasons
        )
        if not is_news or now.ready is None:
            return
        text = f"{GUEST_READY} is {now.ready}" + (f": {now.reason}" if now.reason else "")
        is_bad = now.ready is False and not now.is_booting
        kind = events.GUEST_NOT_READY if is_bad else events.GUEST
        self._journal.tell(Event(kind, text, object=record.key, revision=record.revision))

    def _tell(self, record: Record, former: Condition, now: Condition) -> None:
        if now.type not in TOLD or (former.holds, former.reason) == (now.holds, now.reason):
            return
        if not former.holds and not now.holds and now.type != READY:
            return
        if now.type == READY and former.holds is None and not former.reason and now.holds:
            return  # seen for the first time, and all is well
        text = f"{now.type} is {now.word}" + (f": {now.reason}" if now.reason else "")
        if now.type == STALLED and now.holds:
            text += (
                f"; once that is changed: virt-reconciler retry {shlex.quote(show_key(record.key))}"
            )
        # What failed was told as an error already.
        is_news = now.type == READY and now.holds is False and not record.last_error
        kind = events.NOT_READY if is_news else events.CONDITION
        self._journal.tell(Event(kind, text, object=record.key, revision=record.revision))
