"""One value or path of a change as a person reads it, on one line and without secrets.

Names and values come from manifests and from other people's domains: whatever in them a terminal
would obey is escaped here, and what `core.secrets` knows to be a secret is hidden, so nothing else
needs to think of it.
"""

from __future__ import annotations

import re

from reconciler.core.field_table import TABLES
from reconciler.core.fields import SIZE
from reconciler.core.plan import Value
from reconciler.core.secrets import hide_text, hide_value
from reconciler.core.units import format_size

_SIZES = frozenset(
    f"{prefix}{field.name}"
    for prefix, table in TABLES.items()
    for field in table
    if field.notation is SIZE
)
_BRACKETS = re.compile(r"(\[.*\])")  # the name of a device, or an XPath
_UNDERSCORE = re.compile(r"_(\w)")
_SPACE = re.compile(r"\s+")


def show_value(path: str, value: Value) -> str:
    """Return the value as the manifest would spell it."""
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return format_size(value) if _BRACKETS.sub("[]", path) in _SIZES else str(value)
    return escape(hide_value(path, value)) or "(empty)"


def say_value(path: str, value: Value) -> str:
    """Return the value for the middle of a sentence: `80MiB`, `empty`, `not set`."""
    if value is None:
        return "not set"
    return "empty" if value == "" else show_value(path, value)


def show_path(path: str) -> str:
    """Return the path in the manifest's spelling: `guestAgent`, not `guest_agent`."""
    parts = _BRACKETS.split(path)
    return escape("".join(part if part[:1] == "[" else _spell(part) for part in parts))


def _spell(names: str) -> str:
    """Return fields in camel case; what has a slash is a path in the XML."""
    return names if "/" in names else _UNDERSCORE.sub(lambda found: found[1].upper(), names)


def escape(text: Value) -> str:
    """Return the text on one line without secrets, invisible characters by their codes."""
    return escape_line(_SPACE.sub(" ", hide_text(str(text))).strip())


def escape_line(line: str) -> str:
    """Return a line as it is laid out, invisible characters by their codes."""
    return line if line.isprintable() else "".join(map(_escape_one, line))


def _escape_one(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]
