"""Names of what is counted."""

from __future__ import annotations

PASSES = "passes_total"
PASS_SECONDS = "pass_seconds"
QUEUE_WAIT = "queue_wait_seconds"
DRIFT_FOUND = "drift_found_total"
DRIFT_REPAIRED = "drift_repaired_total"
LIBVIRT_CONNECTED = "libvirt_connected"
SOURCE_ERRORS = "source_errors_total"
WATCH_MISSED = "watch_missed_total"
