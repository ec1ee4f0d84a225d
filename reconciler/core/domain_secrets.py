"""Secrets in a domain's XML: hidden before it is kept, and put back from the domain as it is. Pure.

What a secret is, is `core.secrets`' to say. One comes back only from the element at the same place
of the present definition that is the same but for the secret.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from reconciler.core.secret_text import HIDDEN, is_secret_name
from reconciler.core.secrets import hide_value, unescape
from reconciler.core.xmltree import Element, attributes_of, escape, is_element, parse, serialise
from reconciler.kinds.machine.domain.mark import NAMESPACE, PREFIX

# Path of the element, its `type`, the attribute (empty: its text), and what is there when hidden.
Place = Tuple[str, str, str, str]


_SPEC = re.compile(rf"(?<=<{PREFIX}:spec>)[^<]*(?=</{PREFIX}:spec>)")


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
        return {name: _hide_data(name, one) for name, one in data.items()}
    if isinstance(data, list):
        return [_hide_data(key, one) for one in data]
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
        if HIDDEN not in value or NAMESPACE in str(element.tag):
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
    path = "/".join(str(one.tag) for one in (element, *element.iterancestors()))
    return path, element.get("type", ""), name, hidden


def _set(element: Element, name: str, value: str) -> None:
    if name:
        element.set(name, value)
    else:
        element.text = value


def _drop(element: Element, name: str, value: str) -> None:
    if name and value == HIDDEN:
        del element.attrib[name]
