"""News from libvirt, as Protocols: hints only, each names what is to be looked at."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Whom the news are told. Its methods return at once: they run in libvirt's event thread."""

    def domain_changed(self, name: str) -> None:
        """Take note that something happened to that domain."""

    def domain_left(self, name: str) -> None:
        """Take note that the domain was migrated to another host; nothing else tells it later."""

    def surroundings_changed(self, kind: str, name: str) -> None:
        """Take note that something happened to a `network` or a `pool`."""

    def reached(self, driver: str) -> None:
        """Take note that a driver (`qemu`, `storage`, `network`) is there; the past is unknown."""

    def lost(self, driver: str, reason: str) -> None:
        """Take note that a driver is not there; told once for each reason."""


class News(Protocol):
    """Where news come from. Keeps the connections up, each driver's by itself."""

    def start(self, listener: Listener) -> None:
        """Tell the listener from now on, until `stop`."""

    def is_alive(self) -> bool:
        """Whether all that brings news is still there; without it nothing is heard ever again."""

    def stop(self) -> None:
        """Tell nothing more."""
