"""Follow the manifests: look when something hints at a change, and anyway from time to time.

Looking from time to time is what makes this right; watching files only makes it quick. So each
change that was found without a hint is counted, and the files are watched anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

from reconciler.control.pace import Cause, Pace
from reconciler.control.ports.service import INOTIFY, Journal, ManifestSource, Meter, Watcher
from reconciler.core.loop import events, metrics
from reconciler.core.loop.events import Event
from reconciler.core.loop.snapshot import Snapshot
from reconciler.errors import ReconcilerError

WINDOW = 2.0  # seconds before a look in which a hint counts as having announced what it found
NOTHING_TO_WATCH = "polling: a remote announces nothing"


@dataclass(frozen=True)
class Listener:
    """Whom to tell. `trouble` once per change of text, and `recovered` when it is over.

    `watching` is how files are watched: `inotify`, or `polling: ` and why.
    """

    publish: Callable[[Snapshot], None]
    trouble: Callable[[ReconcilerError], None]
    recovered: Callable[[], None]
    watching: Callable[[str], None]


class Follower:
    """Brings each new snapshot. `run` is for a thread of its own, the rest for any."""

    def __init__(
        self,
        source: ManifestSource,
        watcher: Watcher,
        listener: Listener,
        journal: Journal,
        meter: Meter,
        pace: Pace,
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

    def nudge(self) -> None:
        """Look now."""
        self._pace.ask()

    def stop(self) -> None:
        """End `run`; nothing is published any more, even by a look that is going on."""
        self._pace.stop()

    def look(self, cause: Cause) -> None:
        """Take what is there now, and watch what must be watched from now on."""
        try:
            snapshot = self._source.take()
        except ReconcilerError as error:
            self._report(error)
        else:
            self._receive(snapshot, cause)
        if not self._pace.is_stopped:
            self._watch()

    def _receive(self, snapshot: Snapshot, cause: Cause) -> None:
        was_well = not self._trouble and self._published is not None
        is_hinted = cause is Cause.HINT or self._pace.was_hinted(WINDOW)
        if self._trouble:
            self._trouble = ""
            self._listener.recovered()
        if not self._publish(snapshot):
            return
        if is_hinted:
            self._was_told = self._was_told and cause is not Cause.HINT
        elif was_well and self._how == INOTIFY and not self._pace.wait_hint():
            self._note_missed()

    def _publish(self, snapshot: Snapshot) -> bool:
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
            self._tell("a change of the manifests was not announced; they are watched anew")

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
