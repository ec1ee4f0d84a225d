"""The only importer of watchdog: folders in, hints out. Believes nothing that it says of itself.

An event is looked into only to see whether it is one at all; what has changed is found out by
reading.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Callable, FrozenSet, List, Sequence, Type

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver
from watchdog.utils import BaseThread

from reconciler.adapters.watch.places import Folder, Names

_EVENTS: List[Type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
# Reading a file is none of our business; our own reads would wake us for ever.
_READS = frozenset({"opened", "closed_no_write"})


class _Announcer(FileSystemEventHandler):
    """Passes a hint on and does nothing else: watchdog calls it in its thread, under its lock."""

    def __init__(self, names: Names, hint: Callable[[], None]) -> None:
        self._names = names
        self._hint = hint

    def dispatch(self, event: FileSystemEvent) -> None:
        """Give a hint."""
        # An exception here would end watchdog's thread, which nobody would notice.
        with contextlib.suppress(Exception):
            if event.event_type not in _READS and self._matters(event):
                self._hint()

    def _matters(self, event: FileSystemEvent) -> bool:
        if self._names is None:
            return True
        paths = (os.fsdecode(one) for one in (event.src_path, event.dest_path) if one)
        return any(os.path.basename(path) in self._names for path in paths)


class Observation:
    """Folders under watch, from its making until `stop`."""

    def __init__(self, folders: Sequence[Folder], hint: Callable[[], None]) -> None:
        """Watch. Raises OSError when a limit is met, or a folder is gone."""
        before = _readers()
        self._observer = InotifyObserver()
        for folder in folders:
            handler = _Announcer(folder.names, hint)
            self._observer.schedule(
                handler, folder.path, recursive=folder.is_deep, event_filter=_EVENTS
            )
        try:
            self._observer.start()
        except OSError:
            self._observer.stop()  # it has a thread and descriptors already, by its version
            raise
        self._threads = [self._observer, *self._observer.emitters, *(_readers() - before)]

    def is_alive(self) -> bool:
        """Whether all of watchdog's threads are there; the observer alone says so too readily."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Watch no more."""
        self._observer.stop()
        self._observer.join()


def _readers() -> FrozenSet[threading.Thread]:
    return frozenset(one for one in threading.enumerate() if isinstance(one, BaseThread))
