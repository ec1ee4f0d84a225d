"""What the daemon needs from the outside beside libvirt, as Protocols.

Implementations are called from several threads unless a method says otherwise.
"""

from __future__ import annotations

from typing import Callable, FrozenSet, Mapping, Optional, Protocol, Sequence, Tuple

from reconciler.core.events import Event
from reconciler.core.frozen import frozen
from reconciler.core.history import ChangeRecord, LastKnown
from reconciler.core.key import Key
from reconciler.core.manifest_files import FileSet, ManifestSet
from reconciler.core.records import Record, SourceRecord, Suspension


class ManifestSource(Protocol):
    """Where the manifests come from. Used by one thread."""

    def take(self) -> ManifestSet:
        """Read what is wanted now, consistently.

        Raises TransientError when it cannot be read now, RefusedError for a revision that must not
        be taken (signature, history). Never returns an empty snapshot because of an error.
        """

    def recall(self) -> Optional[ManifestSet]:
        """Return the last one that was taken by an earlier run, if the source remembers it.

        For a start at which `take` fails. Raises as `take` does.
        """

    def places(self) -> Tuple[str, ...]:
        """Return the folders and files whose change announces a change of the manifests.

        A folder is meant with all that is below it; one that ends in `/.` without. None: nothing
        can be watched, and looking from time to time is how changes are found.
        """


class FileSource(Protocol):
    """Where manifest files come from: a folder, a Git work tree, a remote. Used by one thread."""

    def read(self) -> FileSet:
        """Read all files, consistently.

        Raises TransientError when they cannot be read now, RefusedError for what must not be taken:
        nothing at all, or a commit that fails a check.
        """

    def recall(self) -> Optional[FileSet]:
        """Return what was read last by an earlier run, if the source remembers it."""

    def places(self) -> Tuple[str, ...]:
        """Return what to watch, as `ManifestSource.places`."""


class WorkTree(FileSource, Protocol):
    """A source that is there only while its folder lies in a Git work tree."""

    def is_there(self) -> bool:
        """Whether it does, looked up anew."""


INOTIFY = "inotify"
"""What `Watcher.watch` returns when the system announces changes."""


class Watcher(Protocol):
    """Announces changes of files, as far as the system can: a hint, never the truth."""

    def watch(self, places: Tuple[str, ...], hint: Callable[[], None]) -> str:
        """Watch these places from now on, in place of former ones; return how.

        `inotify`, or `polling: ` and why: never an error.
        """

    def is_armed(self) -> bool:
        """Whether what is watched is still what stands at these places."""

    def stop(self) -> None:
        """Watch nothing any more."""


@frozen
class HostSigns:
    """What of the host may come late: its network interfaces, and what is mounted, as a text."""

    links: FrozenSet[str] = frozenset()
    mounts: str = ""


class Journal(Protocol):
    """Where the daemon tells what happened."""

    def tell(self, event: Event) -> None:
        """Tell. Never raises."""


class Meter(Protocol):
    """Counts for monitoring; the names and what they mean are rows of one table. Never raises."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def replace(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge of which only one combination of labels is true at a time."""

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one duration to a histogram."""


class Store(Protocol):
    """The daemon's memory on disk."""

    def touch(self) -> None:
        """Find out whether anything can be written. Raises TransientError if not."""

    def load_records(self) -> Mapping[Key, Record]:
        """Return the records by key; an unreadable one is left out, and told by the caller."""

    def load_placements(self) -> Mapping[Key, str]:
        """Return object → host of those that manifests placed on another host, not here yet."""

    def load_source(self) -> SourceRecord:
        """Return what was in force."""

    def save_record(self, record: Record) -> None:
        """Write one record, atomically. Raises TransientError."""

    def forget_record(self, key: Key) -> None:
        """Remove one record, if it is there. Raises TransientError."""

    def save_placements(self, placements: Mapping[Key, str]) -> None:
        """Write, atomically. Raises TransientError."""

    def save_source(self, record: SourceRecord) -> None:
        """Write, atomically. Raises TransientError."""

    def suspended(self) -> Mapping[Key, Suspension]:
        """Return the objects that a person told to leave alone."""

    def take_retries(self) -> FrozenSet[Key]:
        """Return what a person told to try again, and forget it. Raises TransientError."""

    def confirmed_prune(self) -> str:
        """Return the identity of the snapshot whose deletions a person has confirmed, or ''."""


class DaemonMemory(Protocol):
    """The daemon's memory as verbs need it, which may run as another user, and without a daemon.

    What only reads raises TransientError for a folder that cannot be read.
    """

    def find_daemon(self) -> Optional[int]:
        """Return the process of the daemon that runs on this memory, None if none does."""

    def find_last_sign(self) -> Optional[float]:
        """Return when there was last a sign of a daemon, None if there never was one."""

    def find_hindrance(self) -> str:
        """Return why a daemon cannot write here, as far as can be seen; empty if it can."""

    def find_broken(self) -> Sequence[str]:
        """Return a line for each file that cannot be used."""

    def load_records(self) -> Mapping[Key, Record]:
        """Return the records by key, without those that cannot be read."""

    def load_placements(self) -> Mapping[Key, str]:
        """Return object → host of those that manifests placed on another host, not here yet."""

    def load_source(self) -> SourceRecord:
        """Return what is in force; nothing is known if it cannot be read."""

    def suspended(self) -> Mapping[Key, Suspension]:
        """Return the objects that a person told to leave alone."""

    def suspend(self, suspension: Suspension) -> None:
        """Have an object left alone from now on. Raises TransientError."""

    def resume(self, key: Key) -> bool:
        """Have it taken up again; return whether it was suspended. Raises TransientError."""

    def order_retry(self, key: Key) -> None:
        """Have an object tried again at once, whatever is known of it. Raises TransientError."""

    def read_source(self) -> SourceRecord:
        """Return what is in force. Raises TransientError if there is nothing that can be read."""

    def confirmed_prune(self) -> str:
        """Return the identity of the snapshot whose deletions a person has confirmed, or ''."""

    def confirm_prune(self, identity: str) -> None:
        """Write that identity. Raises TransientError.

        It is used up as soon as other manifests are in force: should the same come back one day,
        other machines may be gone from them.
        """


class Supervisor(Protocol):
    """The service manager, systemd's sd_notify(3); outside of a service it does nothing."""

    @property
    def watchdog_interval(self) -> float:
        """Seconds between two signs of life; 0 if none are wanted."""

    def ready(self) -> None:
        """Say that the daemon is up (after a start, or a reload)."""

    def reloading(self) -> None:
        """Say that settings are read anew."""

    def stopping(self) -> None:
        """Say that the daemon ends."""

    def alive(self) -> None:
        """Give a sign of life."""

    def status(self, text: str) -> None:
        """Show one line for people."""


class History(Protocol):
    """What was done to each object, bounded; written by the daemon and by verbs alike."""

    def begin(self, past: ChangeRecord) -> ChangeRecord:
        """Write an entry down before the first step, through to the disk; return it numbered.

        Raises TransientError.
        """

    def end(self, past: ChangeRecord) -> None:
        """Write the same entry with how it ended. Raises TransientError."""

    def list_keys(self) -> FrozenSet[Key]:
        """Return the objects of which something is known. Raises TransientError."""

    def list(self, key: Key) -> Sequence[ChangeRecord]:
        """Return an object's entries, newest first. Raises TransientError."""

    def keep(self, last: LastKnown) -> None:
        """Keep a machine's definition in place of a former one. Raises TransientError."""

    def find_last(self, key: Key) -> Optional[LastKnown]:
        """Return a machine's newest definition, None if none is known. Raises TransientError."""
