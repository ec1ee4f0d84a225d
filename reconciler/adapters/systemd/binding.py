"""The only importer of systemd's own binding. Decides nothing; errors are OSError."""

from __future__ import annotations

from typing import Mapping

from systemd import daemon, journal


def send_fields(fields: Mapping[str, str]) -> None:
    """Send one entry to the journal; nothing happens where no journal runs (sd_journal_send(3))."""
    journal.sendv(*(f"{name}={value}".encode() for name, value in fields.items()))


def notify(state: str) -> None:
    """Send assignments, one a line, to the service manager (sd_notify(3))."""
    daemon.notify(state)
