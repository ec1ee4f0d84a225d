"""Sizes, times and plain scalars as people write them, and times for people. Exact, or refused.

Text shows ages and not dates: they are the same in every time zone, and need no arithmetic.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Callable, Mapping, Optional

from reconciler.core.frozen import regex

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


KIB = 2**10
# A number of more digits is nobody's size, and int() of a long one is slow or refused.
_DIGITS = "[0-9]{1,18}"
_SIZE = regex(rf"({_DIGITS})(KiB|MiB|GiB|TiB)")
_DURATION = regex(rf"({_DIGITS})([smh])")
_ALMOST = regex(rf"\s*({_DIGITS})(\.[0-9]{{1,3}})?\s*([kmgt])(?:i?b)?\s*", re.IGNORECASE)
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


def format_roughly(size: int) -> str:
    """Return a number of bytes in few digits: `25.2GiB`."""
    value, units = float(size), ["B", *_BYTES]
    while value >= KIB and len(units) > 1:
        value, units = value / KIB, units[1:]
    return f"{size}B" if units[0] == "B" else f"{value:.1f}{units[0]}"


def suggest_size(text: str) -> Optional[str]:
    """Return what someone who wrote `4G`, `4 gb` or `1.5GiB` may have meant, or None."""
    found = _ALMOST.fullmatch(text)
    if found is None:
        return None
    unit = f"{found[3].upper()}iB"
    if found[2] is None:
        return f"{int(found[1])}{unit}"
    smaller = max(_BYTES[unit] // KIB, KIB)
    return format_size(round(float(found[1] + found[2]) * _BYTES[unit] / smaller) * smaller)


def parse_duration(text: str) -> int:
    """Return the seconds of `30s`, `2m` or `1h`. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a time like 30s, 2m or 1h")
    return int(found[1]) * _SECONDS[found[2]]


MERGE_KEY = "<<"
MOST_DIGITS = 30  # of a number; int() of a very long one would take minutes

# No other first character can begin anything but a plain word.
_SUSPECT = frozenset("-+.0123456789ntfNTF~")
_WORDS: Mapping[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
}  # fmt: skip
_NUMBER = regex(
    r"(?P<decimal>[-+]?[0-9]+)|(?P<octal>0o[0-7]+)|(?P<hexadecimal>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<infinity>[-+]?\.(?:inf|Inf|INF))"
)
_CONVERSIONS: Mapping[str, Callable[[str], Any]] = {
    "decimal": int,
    "octal": lambda text: int(text, 8),
    "hexadecimal": lambda text: int(text, 16),
    "float": float,
    "infinity": lambda text: float(text.replace(".", "")),
}


@lru_cache(maxsize=4096)  # manifests say the same few words over and over
def resolve_plain(text: str) -> Any:
    """Return None, a bool, an int, a float, or the text itself. Raises ValueError if absurd."""
    if text and text[0] not in _SUSPECT:
        return text
    if text in _WORDS:
        return _WORDS[text]
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of more than {MOST_DIGITS} digits; quote it if it is a word")
    return _CONVERSIONS[str(found.lastgroup)](text)


@lru_cache(maxsize=4096)
def is_key(text: str) -> bool:
    """Whether an unquoted scalar may be a key: a string, and not YAML 1.1's merge key."""
    try:
        return isinstance(resolve_plain(text), str) and text != MERGE_KEY
    except ValueError:
        return False
