"""What a secret is, and how it is kept out of everything that is shown, logged or written down.

A secret comes back only from the element at the same place of the present definition that is the
same but for the secret.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    TypeVar,
    Union,
)

from reconciler.core.frozen import regex
from reconciler.core.names import MARK_NAMESPACE, MARK_PREFIX
from reconciler.core.secret_refs import REFERENCE, SecretRef, is_reference, read_secret
from reconciler.core.secret_text import (
    HIDDEN,
    Mask,
    Scanner,
    compare_with,
    cover,
    hide,
    hide_flow,
    hide_other,
    hide_phrases,
    is_secret_name,
    remember,
    unescape,
)
from reconciler.core.xmltree import (
    Element,
    attributes_of,
    escape,
    is_element,
    parse,
    serialise,
    write_document,
)
from reconciler.errors import TransientError

_ENTRY = regex(
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


# Values are those of a change: text, numbers, truth or nothing.
Value = TypeVar("Value")

_OVERLAY = regex(r"xml\[(?P<xpath>/.*)\]", re.DOTALL)
# Without one of these no text holds what the tables know; most are names, and asked for often.
_SIGN = r"[=<$@]|-----|[\"']\s*:"
_SIGNS, _SIGNS_OF_VALUES = regex(_SIGN), regex(rf"{_SIGN}|:(?:\s|$)")
_CONDITIONS = regex(r"\[[^\[\]]*\]")


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


DataPath = Tuple[Union[str, int], ...]

# Path of the element, its `type`, the attribute (empty: its text), and what is there when hidden.
Place = Tuple[str, str, str, str]


_SPEC = regex(rf"(?<=<{MARK_PREFIX}:spec>)[^<]*(?=</{MARK_PREFIX}:spec>)")


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
    hidden = hide_data(data)
    return spec if hidden == data else json.dumps(hidden, sort_keys=True, separators=(",", ":"))


def hide_data(data: Any) -> Any:
    """Hide the secrets of a manifest's data; what names a secret is none."""
    return _hide_data("", data)


def find_plain_secrets(data: Any) -> Tuple[DataPath, ...]:
    """Return the places of a manifest's data where a secret is, and not a reference to one."""
    return tuple(_find_plain("", data, ()))


def _find_plain(key: str, data: Any, path: DataPath) -> Iterator[DataPath]:
    if isinstance(data, dict):
        overlay = _read_overlay(data)
        for name, value in data.items():
            if name == REFERENCE and is_reference(value):
                continue
            if overlay is not None and name == "fragment":
                if hide_fragment(*overlay) != overlay[1]:
                    yield (*path, name)
            else:
                yield from _find_plain(name, value, (*path, name))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _find_plain(key, item, (*path, index))
    elif _hide_data(key, data) != data:
        yield path


def _hide_spec(text: str) -> str:
    """Hide the secrets of the spec in our mark."""
    raw = unescape(text)
    hidden = hide_spec(raw)
    return text if hidden == raw else escape(hidden)


def hide_fragment(xpath: str, fragment: str) -> str:
    """Hide the secrets of a fragment by the place that it is merged into as well."""
    return hide_value(f"xml[{xpath}/*]", fragment)


def _hide_data(key: str, data: Any) -> Any:
    if not isinstance(data, str):
        if isinstance(data, dict):
            return data if key == REFERENCE and is_reference(data) else _hide_mapping(data)
        return [_hide_data(key, item) for item in data] if isinstance(data, list) else data
    if data and is_secret_name(key):
        return HIDDEN
    # Most of a manifest is names, and a host may have a thousand manifests.
    return hide_value("", data) if _SIGNS_OF_VALUES.search(data) or "&" in data else data


def _hide_mapping(data: Mapping[str, Any]) -> Mapping[str, Any]:
    overlay = _read_overlay(data)
    if overlay is None:
        return {name: _hide_data(name, value) for name, value in data.items()}
    rest = {name: _hide_data(name, value) for name, value in data.items() if name != "fragment"}
    hidden = hide_fragment(*overlay)
    # A fragment whose secrets are all named elsewhere stays as it is.
    return {**rest, "fragment": data["fragment"] if hidden == overlay[1] else hidden}


def _read_overlay(data: Mapping[str, Any]) -> Optional[Tuple[str, str]]:
    """Return path and fragment of an entry of `xml`, with its named secrets hidden; else None."""
    xpath, text = data.get("xpath"), data.get("fragment")
    if not isinstance(xpath, str) or not isinstance(text, str):
        return None
    named = data.get("secrets")
    for name in named if isinstance(named, dict) else ():
        text = text.replace(f"${{{name}}}", HIDDEN)
    return xpath, text


def fill_document(text: str, read: Callable[[SecretRef], str]) -> str:
    """Return an XML document of ours, with a declaration, with secrets in place of its tokens."""
    _declaration, body = text.split("\n", 1)
    root = parse(body)
    for element in root.iter("*"):
        secret = read_secret(element.text or "")
        if isinstance(secret, SecretRef):
            _put_secret(element, secret, read(secret))
    return write_document(root)


def _put_secret(element: Element, ref: SecretRef, secret: str) -> None:
    try:
        element.text = secret
    except ValueError as error:  # XML has no way to write it
        words = "has a control character, which an answer file cannot contain"
        raise TransientError(f"{ref}: {words}; write another secret into it") from error


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
