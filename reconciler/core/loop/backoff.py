"""How long to wait before something is tried again. Pure."""

from __future__ import annotations

FIRST = 1.0  # seconds
MOST = 300.0
# What is missing on the host comes in its own time: a bridge, an NFS share after a boot.
MOST_MISSING = 60.0
JITTER = 0.2  # so that what failed together does not come back together


def find_delay(failures: int, chance: float, most: float = MOST) -> float:
    """Return seconds until the next try after so many failures in a row (1 and more).

    Doubles each time, to `most`. `chance` in [0, 1) takes off up to `JITTER` of it.
    """
    exponent = min(failures - 1, 20)  # 2**20 is beyond the limit; larger ones only cost time
    delay: float = min(FIRST * 2**exponent, most)
    return delay * (1 - JITTER * chance)


def spread(seconds: float, chance: float) -> float:
    """Return an interval that is up to 10 % shorter or longer."""
    return seconds * (0.9 + 0.2 * chance)
