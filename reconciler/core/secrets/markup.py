"""Secrets in XML, by the element and attribute they stand in.

A scanner and no parser: half a document, or one in the middle of a message, is looked at as well.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import List, Match, Sequence, Tuple

from reconciler.core.secrets.mask import Mask
from reconciler.core.secrets.names import is_secret_name
from reconciler.core.secrets.phrases import Hide, cover

# Elements (parent, element) whose text is the secret: what firmware and guest are handed, the
# session of an encrypted guest, and what a web server takes for a login.
_TEXTS = frozenset(
    {
        ("oemStrings", "entry"),
        ("sysinfo", "entry"),
        ("launchSecurity", "session"),
        ("cookies", "cookie"),
    }
)
# Attributes that are a secret whatever else is known: the environment of QEMU.
_ATTRIBUTES = frozenset({("env", "value")})
# libvirt's <secret> and secret='…' name a secret that libvirt keeps itself.
_REFERENCE = "secret"
_LONG_NUMBER = re.compile(r"&#([0-9]{8,})")
_CREDENTIAL = re.compile(r"io\.systemd\.credential(?:\.binary)?:[^=\s]+=")
_TOKEN = re.compile(
    r"""(?P<comment><!--.*?(?:-->|\Z))
    | <!\[CDATA\[(?P<data>.*?)(?:\]\]>|\Z)
    | <(?P<close>/?)(?P<name>[A-Za-z_][\w.:-]*)(?![\w.:-])(?P<rest>(?:[^<>"']|"[^"]*"|'[^']*')*)>
    """,
    re.VERBOSE | re.DOTALL,
)
# From the beginning of a word only, so that a long one is read once.
_ATTRIBUTE = re.compile(
    r"""(?<![\w.:-])(?P<name>[\w.:-]+)(?P<equals>\s*=\s*)(?P<value>"[^"]*"|'[^']*')"""
)


class Scanner:
    """One pass over a text; `ancestors` are the elements around it, outermost first."""

    def __init__(self, ancestors: Sequence[str], hide: Hide, mask: Mask) -> None:
        """Hide running text with `hide`, and what is a secret as a whole with `mask`."""
        self._stack: List[Tuple[str, bool]] = [("", False)]
        self._open_names: Counter[str] = Counter()
        self._hide, self._mask = hide, mask
        for name in ancestors:
            self._open(name, is_named=False)

    def scan(self, text: str) -> str:
        """Return the text without secrets."""
        parts: List[str] = []
        end = 0
        for token in _TOKEN.finditer(text):
            parts.append(self._text(text[end : token.start()]))
            parts.append(self._token(token))
            end = token.end()
        return "".join([*parts, self._text(text[end:])])

    def attribute(self, element: str, name: str, value: str, *, is_named: bool = False) -> str:
        """Return the value of an attribute; `is_named`: beside a `name` that says secret."""
        pair = (local(element), local(name))
        secret = is_secret_name(name) and pair[1] != _REFERENCE
        if secret or pair in _ATTRIBUTES or (is_named and pair[1] == "value"):
            return self._mask(value)
        return self._hide(value, self._mask)

    def _token(self, token: Match[str]) -> str:
        if token["comment"] is not None:
            return _rewrite(token["comment"], self._hide(token["comment"], self._mask))
        if token["data"] is not None:
            return token[0].replace(token["data"], self._text(token["data"]), 1)
        if token["close"]:
            self._close(token["name"])
            return token[0]
        return self._start(token)

    def _start(self, token: Match[str]) -> str:
        name, rest = token["name"], token["rest"]
        is_named = any(
            local(one["name"]) == "name" and is_secret_name(one["value"][1:-1])
            for one in _ATTRIBUTE.finditer(rest)
        )
        shown = _ATTRIBUTE.sub(lambda one: self._pair(name, one, is_named=is_named), rest)
        if not rest.endswith("/"):
            self._open(name, is_named=is_named)
        return f"<{name}{shown}>"

    def _pair(self, element: str, found: Match[str], *, is_named: bool) -> str:
        raw = unescape(found["value"][1:-1])
        shown = self.attribute(element, found["name"], raw, is_named=is_named)
        if shown == raw:
            return found[0]
        quote = found["value"][0]
        return f"{found['name']}{found['equals']}{quote}{html.escape(shown)}{quote}"

    @property
    def is_secret(self) -> bool:
        """Whether text here is a secret as a whole."""
        return self._stack[-1][1]

    def cover(self, raw: str) -> str:
        """Return what is shown for such a text; the name of a credential is none."""
        text = raw.strip()
        if not text:
            return raw
        credential = _CREDENTIAL.match(text)
        head = credential[0] if credential else ""
        return raw.replace(text, head + cover(text[len(head) :], self._mask), 1)

    def _text(self, text: str) -> str:
        raw = unescape(text)
        shown = self.cover(raw) if self.is_secret else self._hide(raw, self._mask)
        return text if shown == raw else html.escape(shown, quote=False)

    def _open(self, name: str, *, is_named: bool) -> None:
        parent, was_secret = self._stack[-1]
        here = local(name)
        is_secret = is_secret_name(here) and here != _REFERENCE
        secret = was_secret or is_named or is_secret or (parent, here) in _TEXTS
        self._stack.append((here, secret))
        self._open_names[here] += 1

    def _close(self, name: str) -> None:
        """Leave the element, and those in it that were never closed."""
        closed, found = local(name), ""
        while self._open_names[closed] and found != closed:
            found, _ = self._stack.pop()
            self._open_names[found] -= 1


def unescape(text: str) -> str:
    """Return the text without entities; a number that is no character's may have any length."""
    return html.unescape(_LONG_NUMBER.sub(lambda one: f"&#{one[1].lstrip('0')[:8]}", text))


def local(name: str) -> str:
    """Return a name without its prefix."""
    return name.rpartition(":")[2]


def _rewrite(raw: str, shown: str) -> str:
    """Keep a comment a comment, whatever was hidden in it."""
    if shown.endswith("-->") or not raw.endswith("-->"):
        return shown
    return f"{shown}-->"
