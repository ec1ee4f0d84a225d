"""The three ways to ask: a message, a value at its path, and both sides of a change."""

from __future__ import annotations

import re
from typing import List, Set, Tuple, TypeVar

from reconciler.core.secrets.lines import hide_lines
from reconciler.core.secrets.markup import Scanner
from reconciler.core.secrets.mask import Mask, compare_with, hide, hide_other, remember
from reconciler.core.secrets.phrases import hide_flow, hide_phrases

# Values are those of a change: text, numbers, truth or nothing.
Value = TypeVar("Value")

_OVERLAY = re.compile(r"xml\[(?P<xpath>/.*)\]", re.DOTALL)
# Without one of these no text holds what the tables know; most are names, and asked for often.
_SIGNS = re.compile(r"[=<$@]|-----|[\"']\s*:")
_SIGNS_OF_VALUES = re.compile(rf"{_SIGNS.pattern}|:(?:\s|$)")
_CONDITIONS = re.compile(r"\[[^\[\]]*\]")


def hide_text(text: str) -> str:
    """Return a message without secrets."""
    return Scanner((), hide_phrases, hide).scan(text) if _SIGNS.search(text) else text


def hide_value(path: str, value: Value) -> Value:
    """Return the value of a field without secrets; `path` is the change's, or empty."""
    return _hide(path, value, hide)


def hide_sides(path: str, observed: Value, desired: Value) -> Tuple[Value, Value]:
    """Return both sides of a change without secrets; they differ if the secrets do."""
    seen: Set[str] = set()
    old = _hide(path, observed, remember(seen))
    new = _hide(path, desired, compare_with(seen))
    if old == new and observed != desired:  # the same secrets in other places
        new = _hide(path, desired, hide_other)
    return old, new


def _hide(path: str, value: Value, mask: Mask) -> Value:
    if not isinstance(value, str):
        return value
    return _hide_at(_steps(path), value, mask)  # type: ignore[return-value]  # str came in


def _hide_at(steps: List[str], value: str, mask: Mask) -> str:
    """Hide by where in the domain's XML the value stands, if it stands there."""
    last = steps.pop() if steps else ""
    if last.startswith("@"):
        element = steps.pop() if steps else ""
        return Scanner(steps, _hide_document, mask).attribute(element, last[1:], value)
    scanner = Scanner(steps, _hide_document, mask)
    if last == "text()" and scanner.is_secret:  # no markup, whatever it looks like
        return scanner.cover(value)
    return scanner.scan(value)


def _steps(path: str) -> List[str]:
    overlay = _OVERLAY.fullmatch(path)
    return _CONDITIONS.sub("", overlay["xpath"]).strip("/").split("/") if overlay else []


def _hide_document(text: str, mask: Mask) -> str:
    """Hide the secrets of a text that is a value and no message."""
    if not _SIGNS_OF_VALUES.search(text):
        return text
    return hide_phrases(hide_flow(hide_lines(text, mask), mask), mask)
