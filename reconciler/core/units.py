"""Sizes and times as people write them: text to number and back. Exact, or refused; no rounding."""

from __future__ import annotations

import re
from typing import Optional

KIB = 2**10
# A number of more digits is nobody's size, and int() of a long one is slow or refused.
_DIGITS = "[0-9]{1,18}"
_SIZE = re.compile(rf"({_DIGITS})(KiB|MiB|GiB|TiB)")
_DURATION = re.compile(rf"({_DIGITS})([smh])")
_ALMOST = re.compile(rf"\s*({_DIGITS})\s*([kmgt])(?:i?b)?\s*", re.IGNORECASE)
_BYTES = {"KiB": KIB, "MiB": KIB**2, "GiB": KIB**3, "TiB": KIB**4}
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_size(text: str) -> int:
    """Return the bytes of `60GiB`. Raises ValueError for anything but a whole number and unit."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size like 4GiB")
    return int(found[1]) * _BYTES[found[2]]


def format_size(size: int) -> str:
    """Return the shortest exact spelling; bytes (`1000B`) where no unit divides them."""
    for unit, factor in reversed(list(_BYTES.items())):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def suggest_size(text: str) -> Optional[str]:
    """Return what someone who wrote `4G` or `4 gb` may have meant, or None."""
    found = _ALMOST.fullmatch(text)
    return f"{int(found[1])}{found[2].upper()}iB" if found else None


def parse_duration(text: str) -> int:
    """Return the seconds of `30s`, `2m` or `1h`. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time like 30s, 2m or 1h")
    return int(found[1]) * _SECONDS[found[2]]
