"""What an unquoted scalar means by YAML 1.2's core schema. Pure; knows no YAML library.

Only `true` and `false` are booleans: `on`, `off`, `yes` and `no` are words, and so are `1:30` and
`2026-03-01`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Callable, Mapping

MERGE_KEY = "<<"
MOST_DIGITS = 30  # of a number; int() of a very long one would take minutes

# No other first character can begin anything but a plain word.
_SUSPECT = frozenset("-+.0123456789ntfNTF~")
_WORDS: Mapping[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
}  # fmt: skip
_NUMBER = re.compile(
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
