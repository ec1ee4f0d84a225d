"""systemd: the journal, and the service manager's notifications."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Dict, Mapping, TextIO

from systemd import daemon, journal

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.control.service_ports import Journal
from reconciler.core.events import Event
from reconciler.core.frozen import frozen, regex
from reconciler.core.key import show_key
from reconciler.core.render.words import escape


def send_fields(fields: Mapping[str, str]) -> None:
    """Send one entry to the journal; nothing happens where no journal runs (sd_journal_send(3))."""
    journal.sendv(*(f"{name}={value}".encode() for name, value in fields.items()))


def notify(state: str) -> None:
    """Send assignments, one a line, to the service manager (sd_notify(3))."""
    daemon.notify(state)


IDENTIFIER = "virt-reconciler"
PREFIX = "VIRT_RECONCILER_"
_MOST_NAME = 64  # journald drops fields with longer names
_NO_NAME = regex("[^A-Z0-9_]")


def describe(event: Event) -> str:
    """Return the message, with the object it is about, on one line."""
    about = f"{show_key(event.object)}: " if event.object is not None else ""
    return escape(f"{about}{event.message}")


def make_fields(event: Event) -> Dict[str, str]:
    """Return the journal fields of an event; docs/journal.md describes them."""
    fields = {_name(name): escape(value) for name, value in event.fields.items()}
    ours = {
        "KIND": event.kind.name,
        "OBJECT": event.object and event.object.name,
        "OBJECT_KIND": event.object and event.object.kind,
        "ACTION": event.action,
        "EFFECT": event.effect,
        "REVISION": event.revision,
    }
    fields.update((_name(name), escape(our)) for name, our in ours.items() if our is not None)
    return {
        "MESSAGE": describe(event),
        "MESSAGE_ID": event.kind.message_id,
        "PRIORITY": str(event.kind.level.value),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        **fields,
    }


def _name(name: str) -> str:
    return f"{PREFIX}{_NO_NAME.sub('_', name.upper())}"[:_MOST_NAME]


def open_journal(stream: TextIO, environ: Mapping[str, str]) -> Journal:
    """Return the journal of a process with this standard error."""
    return SystemdJournal(stream) if is_journal(stream, environ) else LineJournal(stream)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written to the stream goes to the journal (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


@frozen
class SystemdJournal:
    """Implements `Journal` with fields that a person can filter by."""

    stream: TextIO

    def tell(self, event: Event) -> None:
        """Send an entry; if the journal does not take it, at least a line with its priority."""
        try:
            send_fields(make_fields(event))
        except OSError:
            _write(self.stream, f"<{event.kind.level.value}>{describe(event)}")


@frozen
class LineJournal:
    """Implements `Journal` on a terminal, with the time, or a stream that others give a time to."""

    stream: TextIO

    def tell(self, event: Event) -> None:
        """Write a line."""
        line = f"{event.kind.level.name.lower()}: {describe(event)}"
        with suppress(OSError, ValueError):
            line = f"{time.strftime('%H:%M:%S')} {line}" if self.stream.isatty() else line
        _write(self.stream, line)


def _write(stream: TextIO, line: str) -> None:
    with suppress(OSError, ValueError):  # ValueError: closed, or letters it cannot show
        stream.write(f"{line}\n")
        stream.flush()


_MICRO = 10**6


class SystemdSupervisor:
    """Implements `Supervisor`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take what systemd put into the environment."""
        self._is_service = bool(environ.get("NOTIFY_SOCKET"))
        self._interval = find_interval(environ) if self._is_service else 0.0
        self._shown = ""
        self._lock = threading.Lock()

    @property
    def watchdog_interval(self) -> float:
        """Half of what systemd waits for, so that one sign of life may come late."""
        return self._interval

    def ready(self) -> None:
        """Say that the daemon is up, after a start or a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that settings are read anew; `ready` ends it. `Type=notify-reload` needs the time."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={round(SYSTEM_CLOCK.now() * 1_000_000)}")

    def stopping(self) -> None:
        """Say that the daemon ends."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show one line, if it is another than the one that is shown."""
        line = escape(text)  # a second line would be an assignment of its own
        with self._lock:
            if line != self._shown and self._send(f"STATUS={line}"):
                self._shown = line

    def _send(self, state: str) -> bool:
        if not self._is_service:
            return False
        with suppress(OSError):
            notify(state)
            return True
        return False


def find_interval(environ: Mapping[str, str]) -> float:
    """Return half of the watchdog's time in seconds; 0 if none is meant for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / _MICRO / 2 if text.isascii() and text.isdigit() else 0.0
