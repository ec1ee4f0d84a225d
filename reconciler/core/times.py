"""Times: how long for people, exactly for programs. Pure; `now` is always told.

Ages and not dates stand in text: they are the same in every time zone, and need no arithmetic.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Optional

# Up to twice a unit the smaller one is shown: `90s`, `100m`, `30h`.
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def show_span(seconds: float) -> str:
    """Return a length of time in its one unit that says enough."""
    whole = max(int(seconds), 0)
    for size, unit in _UNITS:
        if whole >= 2 * size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def show_ago(then: float, now: float) -> str:
    """Return how long ago that was; 0 stands for a time that is not known."""
    return f"{show_span(now - then)} ago" if then else "at an unknown time"


def show_ahead(then: float, now: float) -> str:
    """Return how long it is until then."""
    return f"in {show_span(then - now)}" if then > now else "due"


def show_time(at: Optional[float]) -> Optional[str]:
    """Return the time in UTC as ISO 8601 has it, None if there is none or it is not known."""
    if not at:
        return None
    return datetime.fromtimestamp(at, timezone.utc).strftime(_FORM)


def read_time(text: str) -> float:
    """Return the Unix time of what `show_time` has written; 0 for anything else."""
    try:
        found = datetime.strptime(text, _FORM).replace(tzinfo=timezone.utc)
    except ValueError:
        return 0.0
    return found.timestamp()
