"""What keeps two runs of virt-reconciler from working on one object, as a Protocol."""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Protocol, Tuple

from reconciler.core.worker import Worker

Key = Tuple[str, str]


class Locks(Protocol):
    """A lock for each object, by (kind, name), of each libvirt host. Ends with its process."""

    @property
    def me(self) -> Worker:
        """This run."""

    def take(self, place: str, key: Key) -> Callable[[], None]:
        """Take the lock of an object and return how to give it back; never waits.

        `place` stands for the libvirt host. Raises BusyError while another run holds it, and
        TransientError if no lock can be taken here.
        """

    def list_held(self, place: str) -> Mapping[Key, Optional[Worker]]:
        """Return the objects that other runs work on now, and who; None: it has not said yet."""

    def is_alive(self, worker: Worker) -> Optional[bool]:
        """Whether that run goes on; None if it cannot be seen from here (another machine)."""


class NoLocks:
    """Implements `Locks` where nobody else can be at work: on what is only read."""

    me = Worker("", "", 0, 0, "")

    def take(self, place: str, key: Key) -> Callable[[], None]:  # noqa: ARG002 - the port's shape
        """Take nothing."""
        return lambda: None

    def list_held(self, place: str) -> Mapping[Key, Optional[Worker]]:  # noqa: ARG002
        """Nobody holds anything."""
        return {}

    def is_alive(self, worker: Worker) -> Optional[bool]:
        """Only this run is known."""
        return worker.identity == self.me.identity
