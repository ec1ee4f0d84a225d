"""Exit statuses; scripts rely on them (public contract)."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a command ended with."""

    DONE = 0
    FAILED = 1
    CHANGES = 2
    DISTURBING_CHANGES = 3
    REFUSED = 4
    USAGE = 64
    INVALID = 65
    INTERRUPTED = 130
    BROKEN_PIPE = 141
