"""systemd: the journal, and the service manager's notifications."""

from __future__ import annotations

from reconciler.adapters.systemd.journal import open_journal
from reconciler.adapters.systemd.supervisor import SystemdSupervisor

__all__ = ["SystemdSupervisor", "open_journal"]
