"""When a running guest may be disturbed: the manifest's lifecycle against the clock.

Pure: the time comes in as a value.
"""

from __future__ import annotations

from datetime import datetime
from typing import Optional, Tuple

from reconciler.core.manifest import Lifecycle, Window
from reconciler.core.model import Disruption
from reconciler.core.plan import Effect

_DAY = 24 * 60
_WEEK = 7 * _DAY


def settle_boot_effect(lifecycle: Lifecycle, now: Optional[datetime]) -> Tuple[Effect, str]:
    """Return what becomes of a change that needs a cold start, and why.

    `now` is the host's local time; without it no window is open.
    """
    if lifecycle.disruption is Disruption.NEVER:
        return Effect.WITHHELD, "lifecycle.disruption is never; it is done when the VM is off"
    if lifecycle.disruption is Disruption.RESTART:
        return Effect.RESTART, "lifecycle.disruption allows the restart"
    if lifecycle.disruption is Disruption.WINDOW:
        if now is not None and is_open(lifecycle.windows, now):
            return Effect.RESTART, "a maintenance window is open"
        return Effect.NEXT_BOOT, "restarted in the next maintenance window"
    return Effect.NEXT_BOOT, ""


def is_open(windows: Tuple[Window, ...], now: datetime) -> bool:
    """Whether one of the weekly windows holds at that time."""
    minute = now.weekday() * _DAY + now.hour * 60 + now.minute
    return any(
        (minute - (day * _DAY + window.start)) % _WEEK < window.duration
        for window in windows
        for day in window.days
    )
