"""Where events are told: the journal if standard error goes there anyway, else a line a message.

Telling never fails: whoever has nowhere to complain about a lost message must not stop for it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Mapping, TextIO

from reconciler.adapters.systemd import binding
from reconciler.adapters.systemd.fields import describe, make_fields
from reconciler.control.ports.service import Journal
from reconciler.core.loop.events import Event


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


@dataclass(frozen=True)
class SystemdJournal:
    """Implements `Journal` with fields that a person can filter by."""

    stream: TextIO

    def tell(self, event: Event) -> None:
        """Send an entry; if the journal does not take it, at least a line with its priority."""
        try:
            binding.send_fields(make_fields(event))
        except OSError:
            _write(self.stream, f"<{event.kind.level.value}>{describe(event)}")


@dataclass(frozen=True)
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
