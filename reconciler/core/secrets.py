"""What a secret is, and how it is kept out of everything that is shown, logged or written down.

What a secret is, is `core.secrets`' to say. One comes back only from the element at the same place
of the present definition that is the same but for the secret.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import islice
from typing import Any, Dict, Iterator, List, Mapping, Match, Sequence, Set, Tuple, TypeVar

from reconciler.core.names import MARK_NAMESPACE, MARK_PREFIX
from reconciler.core.secret_text import (
    HIDDEN,
    Hide,
    Mask,
    compare_with,
    cover,
    hide,
    hide_flow,
    hide_other,
    hide_phrases,
    is_secret_name,
    remember,
)
from reconciler.core.xmltree import Element, attributes_of, escape, is_element, parse, serialise

_ENTRY = re.compile(
    r"""(?P<head>(?P<indent>[ \t]*(?:-[ \t]+)*)(?P<q>["']?)(?P<key>[\w.-]+)(?P=q)[ \t]*:(?=\s|$))"""
)


def hide_lines(text: str, mask: Mask) -> str:
    """Hide the values of secret keys."""
    lines = text.split("\n")
    found: List[str] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        entry = _ENTRY.match(line)
        if entry is None or not is_secret_name(entry["key"]):
            found.append(line)
            continue
        below = _count_below(lines, number, len(entry["indent"].expandtabs()))
        block = [line[entry.end() :], *lines[number : number + below]]
        number += below
        found.append(f"{entry['head']} {cover(_join(block), mask)}")
    return "\n".join(found)


def _count_below(lines: Sequence[str], first: int, indent: int) -> int:
    """Return how many lines belong to an entry that is indented like this; lists may be as far."""
    count = 0
    for number, line in enumerate(islice(lines, first, None), 1):
        text = line.expandtabs()
        depth = len(text) - len(text.lstrip())
        if text.strip() and not (depth > indent or (depth == indent and text[depth:][:2] == "- ")):
            break
        if text.strip():
            count = number
    return count


def _join(block: Sequence[str]) -> str:
    return "\n".join(line.strip() for line in block).strip()


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
            local(attribute["name"]) == "name" and is_secret_name(attribute["value"][1:-1])
            for attribute in _ATTRIBUTE.finditer(rest)
        )
        shown = _ATTRIBUTE.sub(
            lambda attribute: self._pair(name, attribute, is_named=is_named), rest
        )
        if not rest.endswith("/"):
            self._open(name, is_named=is_named)
        return f"<{name}{shown}>"

    def _pair(self, element: str, found: Match[str], *, is_named: bool) -> str:
        raw = unescape(found["value"][1:-1])
        shown = self.attribute(element, found["name"], raw, is_named=is_named)
        if shown == raw:
            return found[0]
        from html import escape  # noqa: PLC0415 - start-up time

        quote = found["value"][0]
        return f"{found['name']}{found['equals']}{quote}{escape(shown)}{quote}"

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
        if shown == raw:
            return text
        from html import escape  # noqa: PLC0415 - start-up time

        return escape(shown, quote=False)

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
    if "&" not in text:
        return text
    from html import unescape as read_entities  # noqa: PLC0415 - start-up time

    return read_entities(_LONG_NUMBER.sub(lambda number: f"&#{number[1].lstrip('0')[:8]}", text))


def local(name: str) -> str:
    """Return a name without its prefix."""
    return name.rpartition(":")[2]


def _rewrite(raw: str, shown: str) -> str:
    """Keep a comment a comment, whatever was hidden in it."""
    if shown.endswith("-->") or not raw.endswith("-->"):
        return shown
    return f"{shown}-->"


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


# Path of the element, its `type`, the attribute (empty: its text), and what is there when hidden.
Place = Tuple[str, str, str, str]


_SPEC = re.compile(rf"(?<=<{MARK_PREFIX}:spec>)[^<]*(?=</{MARK_PREFIX}:spec>)")


def hide_secrets(xml: str) -> str:
    """Return the definition with its secrets hidden; all else is the same text."""
    spec = _SPEC.search(xml)
    if spec is None:
        return hide_value("", xml)
    before, after = xml[: spec.start()], xml[spec.end() :]
    return f"{hide_value('', before)}{_hide_spec(spec[0])}{hide_value('', after)}"


def hide_spec(spec: str) -> str:
    """Hide the secrets of a manifest's spec, string by string: it stays JSON."""
    try:
        data = json.loads(spec)
    except (ValueError, RecursionError):
        return hide_value("", spec)  # somebody edited it
    hidden = _hide_data("", data)
    return spec if hidden == data else json.dumps(hidden, sort_keys=True, separators=(",", ":"))


def _hide_spec(text: str) -> str:
    """Hide the secrets of the spec in our mark."""
    raw = unescape(text)
    hidden = hide_spec(raw)
    return text if hidden == raw else escape(hidden, {})


def hide_fragment(xpath: str, fragment: str) -> str:
    """Hide the secrets of a fragment by the place that it is merged into as well."""
    return hide_value(f"xml[{xpath}/*]", fragment)


def _hide_data(key: str, data: Any) -> Any:
    if isinstance(data, dict):
        xpath, fragment = data.get("xpath"), data.get("fragment")
        if isinstance(xpath, str) and isinstance(fragment, str):
            data = {**data, "fragment": hide_fragment(xpath, fragment)}
        return {name: _hide_data(name, value) for name, value in data.items()}
    if isinstance(data, list):
        return [_hide_data(key, item) for item in data]
    if isinstance(data, str):
        return HIDDEN if data and is_secret_name(key) else hide_value("", data)
    return data


def fill_secrets(former: str, present: str) -> Tuple[str, Tuple[str, ...]]:
    """Return a hidden definition with the present secrets, and the places that have none now.

    There an attribute that was nothing but a secret is taken away: no password is better than a
    false one. What our own mark says stays hidden; nothing is read from there but names.
    """
    if HIDDEN not in former:
        return former, ()
    root, known = parse(former), _find_known(present)
    missing: List[str] = []
    for element, name, value in list(_values(root)):
        if HIDDEN not in value or MARK_NAMESPACE in str(element.tag):
            continue
        fitting = known.get(_place(element, name, value))
        if fitting:
            _set(element, name, fitting.pop(0))
        else:
            missing.append(f"{element.tag}/@{name}" if name else str(element.tag))
            _drop(element, name, value)
    return serialise(root), tuple(missing)


def _find_known(present: str) -> Mapping[Place, List[str]]:
    """Return the secrets of a definition, each at its place, in order."""
    known: Dict[Place, List[str]] = {}
    shown = _values(parse(hide_secrets(present)))
    for (element, name, value), (_, _, hidden) in zip(_values(parse(present)), shown):
        if value != hidden:
            known.setdefault(_place(element, name, hidden), []).append(value)
    return known


def _values(root: Element) -> Iterator[Tuple[Element, str, str]]:
    """Yield every attribute, and every text (under an empty name)."""
    for element in root.iter():
        if is_element(element):
            for name, value in attributes_of(element):
                yield element, name, value
            yield element, "", element.text or ""


def _place(element: Element, name: str, hidden: str) -> Place:
    path = "/".join(str(node.tag) for node in (element, *element.iterancestors()))
    return path, element.get("type", ""), name, hidden


def _set(element: Element, name: str, value: str) -> None:
    if name:
        element.set(name, value)
    else:
        element.text = value


def _drop(element: Element, name: str, value: str) -> None:
    if name and value == HIDDEN:
        del element.attrib[name]
