"""Follow the source of the manifests: which set of them is in force, and when it is read again.

Looking from time to time is what makes this right; watching files only makes it quick. So each
change that was found without a hint is counted, and the files are watched anew.
"""

from __future__ import annotations

import random
import threading
from enum import Enum
from typing import Callable, FrozenSet, Optional, Protocol, Tuple

from reconciler.control.service_ports import (
    INOTIFY,
    FileSource,
    Journal,
    ManifestSource,
    Meter,
    Watcher,
    WorkTree,
)
from reconciler.core import events, metrics
from reconciler.core.conditions import spread
from reconciler.core.events import Event
from reconciler.core.frozen import frozen
from reconciler.core.key import Key
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import (
    FileSet,
    InForce,
    ManifestFile,
    ManifestSet,
    merge,
    refuse_empty,
)
from reconciler.errors import Problem, ReconcilerError


class Parsed(Protocol):
    """What is in files: the valid manifests, and what is wrong with the others."""

    @property
    def desired(self) -> Desired:
        """The valid ones."""

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """What is wrong."""


Parse = Callable[[Tuple[ManifestFile, ...]], Parsed]


class LocalFiles:
    """A `FileSource` of a folder: of its commit where it lies in a Git work tree, else as it is.

    Which of both is decided at each read: a folder may become a repository.
    """

    def __init__(self, work_tree: WorkTree, folder: FileSource) -> None:
        """Both are of the same path."""
        self._work_tree = work_tree
        self._folder = folder

    def read(self) -> FileSet:
        """Read from the commit, else the files."""
        return self._now().read()

    def recall(self) -> Optional[FileSet]:
        """Return None: both are here or not at all."""
        return None

    def places(self) -> Tuple[str, ...]:
        """Return those of what would be read now."""
        return self._now().places()

    def _now(self) -> FileSource:
        return self._work_tree if self._work_tree.is_there() else self._folder


class ParsedFiles:
    """A `ManifestSource`: files, parsed once for each content."""

    def __init__(self, files: FileSource, parse: Parse) -> None:
        """`parse` raises nothing for bad input."""
        self._files = files
        self._parse = parse
        self._last: Optional[ManifestSet] = None

    def take(self) -> ManifestSet:
        """Read and parse what is wanted now."""
        return self._understand(self._files.read())

    def recall(self) -> Optional[ManifestSet]:
        """Parse what an earlier run has read last, if that is known."""
        found = self._files.recall()
        return None if found is None else self._understand(found)

    def places(self) -> Tuple[str, ...]:
        """Return what to watch."""
        return self._files.places()

    def _understand(self, found: FileSet) -> ManifestSet:
        if self._last is None or self._last.identity != found.identity:
            self._last = self._make(found)
        return self._last

    def _make(self, found: FileSet) -> ManifestSet:
        parsed = self._parse(found.files)
        problems = tuple(sorted({*found.problems, *parsed.problems}))
        if not (parsed.desired.objects or problems):
            raise refuse_empty(found.where)
        return ManifestSet(found.identity, parsed.desired, problems, found.revision)


class ManifestsInForce:
    """What is wanted on this host. Replaced by one thread, read by many."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Begin with nothing known, which is not the same as nothing wanted."""
        self._now = now
        self._in_force: Optional[InForce] = None
        # The newest reading, valid in full or not; None before the first one.
        self.snapshot: Optional[ManifestSet] = None
        # Since when they say what they say, as far as this run has seen it; on the monotonic clock,
        # which no person and no time server sets.
        self.since = self._now()

    @property
    def in_force(self) -> InForce:
        """What is in force; empty before the first manifests."""
        return self._in_force or InForce()

    def replace(self, snapshot: ManifestSet) -> FrozenSet[Key]:
        """Take new manifests, and return the keys of objects that must be looked at."""
        former = self.in_force
        if self.snapshot is None or self.snapshot.identity != snapshot.identity:
            self.since = self._now()
        self._in_force = merge(former, snapshot)
        self.snapshot = snapshot
        keys = former.objects.keys() | self._in_force.objects.keys()
        return frozenset(key for key in keys if self._differs(former, key))

    def _differs(self, former: InForce, key: Key) -> bool:
        now = self.in_force
        then, there = former.objects.get(key), now.objects.get(key)
        if then is None or there is None or former.problems.get(key) != now.problems.get(key):
            return True
        return (then.generation, then.host) != (there.generation, there.host)


QUIET = 0.2  # seconds without a further hint
MOST = 2.0  # seconds after the first hint, however many follow
GRACE = 1.0  # seconds for a hint that is on its way (watchdog holds some back for 0.5)


class LookCause(Enum):
    """Why it is time to look."""

    HINT = "hint"
    TIMER = "timer"


class LookTimer:
    """Hints come in from any thread; one thread waits. The first look is due at once."""

    def __init__(
        self,
        interval: float,
        now: Callable[[], float],
        quiet: float = QUIET,
        most: float = MOST,
        grace: float = GRACE,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`interval` is seconds between two looks that nothing has hinted at, 10 % more or less."""
        self._interval, self._quiet, self._most, self._grace = interval, quiet, most, grace
        self._now, self._chance = now, chance
        self._changed = threading.Condition()
        self._first: Optional[float] = None  # since the last look
        self._latest: Optional[float] = None  # ever
        self._timer = now()
        self._has_begun = False
        self._stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether there will be no further look."""
        return self._stopped

    def hint(self) -> None:
        """Have a look as soon as it is quiet."""
        with self._changed:
            self._latest = self._now()
            self._first = self._latest if self._first is None else self._first
            self._changed.notify_all()

    def stop(self) -> None:
        """Have no further look."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wait(self) -> Optional[LookCause]:
        """Wait until it is time to look, and return why; None when stopped."""
        with self._changed:
            while not self._stopped:
                due, cause = self.find_due()
                now = self._now()
                if due <= now:
                    self.begin()
                    return cause
                self._changed.wait(due - now)
            return None

    def find_due(self) -> Tuple[float, LookCause]:
        """Return when the next look is due, and why."""
        if not self._has_begun:
            return float("-inf"), LookCause.HINT
        if self._first is None or self._latest is None:
            return self._timer, LookCause.TIMER
        hinted = min(self._latest + self._quiet, self._first + self._most)
        return min(hinted, self._timer), LookCause.HINT

    def begin(self) -> None:
        """Note that a look begins: hints from now on are for the next one."""
        self._first, self._has_begun = None, True
        self._timer = self._now() + spread(self._interval, self._chance())

    def was_hinted(self, seconds: float) -> bool:
        """Whether there was a hint in the last seconds."""
        return self._latest is not None and self._latest >= self._now() - seconds

    def wait_hint(self) -> bool:
        """Wait for a hint that may be on its way; return whether there is one to look after."""
        with self._changed:
            self._changed.wait_for(lambda: self._first is not None or self._stopped, self._grace)
            return self._first is not None


WINDOW = 2.0  # seconds before a look in which a hint counts as having announced what it found
NOTHING_TO_WATCH = "polling: a remote announces nothing"


@frozen
class ManifestListener:
    """Whom to tell. `trouble` once per change of text, and `recovered` when it is over.

    `watching` is how files are watched: `inotify`, or `polling: ` and why.
    """

    publish: Callable[[ManifestSet], None]
    trouble: Callable[[ReconcilerError], None]
    recovered: Callable[[], None]
    watching: Callable[[str], None]


class ManifestFollower:
    """Brings each new snapshot. `run` is for a thread of its own, the rest for any."""

    def __init__(
        self,
        source: ManifestSource,
        watcher: Watcher,
        listener: ManifestListener,
        journal: Journal,
        meter: Meter,
        pace: LookTimer,
    ) -> None:
        """Do nothing yet."""
        self._source, self._watcher = source, watcher
        self._listener, self._journal, self._meter = listener, journal, meter
        self._pace = pace
        self._published: Optional[str] = None
        self._trouble = ""
        self._places: Optional[Tuple[str, ...]] = None
        self._how = ""
        self._was_told = False

    def run(self) -> None:
        """Follow until `stop`."""
        try:
            cause = self._pace.wait()
            while cause is not None:
                self.look(cause)
                cause = self._pace.wait()
        finally:
            self._watcher.stop()

    def stop(self) -> None:
        """End `run`; nothing is published any more, even by a look that is going on."""
        self._pace.stop()

    def look(self, cause: LookCause) -> None:
        """Take what is there now, and watch what must be watched from now on."""
        try:
            snapshot = self._source.take()
        except ReconcilerError as error:
            self._report(error)
        else:
            self._receive(snapshot, cause)
        if not self._pace.is_stopped:
            self._watch()

    def _receive(self, snapshot: ManifestSet, cause: LookCause) -> None:
        was_well = not self._trouble and self._published is not None
        is_hinted = cause is LookCause.HINT or self._pace.was_hinted(WINDOW)
        if self._trouble:
            self._trouble = ""
            self._listener.recovered()
        if not self._publish(snapshot):
            return
        if is_hinted:
            self._was_told = self._was_told and cause is not LookCause.HINT
        elif was_well and self._how == INOTIFY and not self._pace.wait_hint():
            self._note_missed()

    def _publish(self, snapshot: ManifestSet) -> bool:
        """Hand a snapshot on, unless it is the one in force; return whether it was another."""
        if snapshot.identity == self._published or self._pace.is_stopped:
            return False
        self._published = snapshot.identity
        self._listener.publish(snapshot)
        return True

    def _report(self, error: ReconcilerError) -> None:
        if self._published is None:
            self._recall()
        if str(error) != self._trouble and not self._pace.is_stopped:
            self._trouble = str(error)
            self._listener.trouble(error)

    def _recall(self) -> None:
        """Have what an earlier run has taken in force until there is something newer."""
        try:
            snapshot = self._source.recall()
        except ReconcilerError:  # what is wrong now is told, and that is not this
            return
        if snapshot is not None:
            self._publish(snapshot)

    def _note_missed(self) -> None:
        """Count, tell, and have everything watched anew; told again only once hints have come."""
        self._meter.count(metrics.WATCH_MISSED)
        self._places = None
        if not self._was_told:
            self._was_told = True
            self._tell("a change of the manifests was not announced; the watch is renewed")

    def _watch(self) -> None:
        """Watch anew if there are other places, or if what is watched stands there no more."""
        places = self._source.places()
        if places == self._places and (not places or self._watcher.is_armed()):
            return
        self._places = places
        how = self._watcher.watch(places, self._pace.hint) if places else NOTHING_TO_WATCH
        if how != self._how:
            self._say_how(how)
        if how == INOTIFY:
            self._pace.hint()  # for what has changed since it was read

    def _say_how(self, how: str) -> None:
        former, self._how = self._how, how
        self._listener.watching(how)
        if how not in (INOTIFY, NOTHING_TO_WATCH) or former:
            self._tell(f"the manifests are watched by {how}")

    def _tell(self, text: str) -> None:
        self._journal.tell(Event(events.WATCH, text))
