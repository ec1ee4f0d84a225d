"""Find the place in domain XML that an overlay's XPath names, or make it.

Paths are absolute and plain: `/domain/devices/disk[@device='disk']/driver`, in the end perhaps
`/@attribute`. A path that fits several elements is refused; nothing is ever chosen by position.
"""

from __future__ import annotations

import re
from typing import List, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.xmltree import Element, children_of, make
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout

# Prefixes that a path may use without declaring them.
NAMESPACES = {
    "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
    "libosinfo": "http://libosinfo.org/xmlns/libvirt/domain/1.0",
}
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_STEP = re.compile(rf"(?:(?P<prefix>{_NAME}):)?(?P<name>{_NAME})(?P<conditions>(?:\[[^\[\]]*\])*)")
_CONDITION = re.compile(
    rf"\[(?P<path>(?:(?:{_NAME}:)?{_NAME}/)*)@(?P<name>{_NAME})=(?P<mark>['\"])"
    r"(?P<value>(?:(?!(?P=mark))[^\[\]])*)(?P=mark)\]"
)
# A slash within a condition is part of it.
_PART = re.compile(r"(?:[^/\[]|\[[^\]]*(?:\]|\Z))*")
MOST_CHARACTERS = 1000  # of a path
MOST_STEPS = 32


@frozen
class XmlPlace:
    """What a path names: an element (None if it is not there), or an attribute of one."""

    element: Optional[Element]
    attribute: Optional[str] = None


@frozen
class _Condition:
    path: Tuple[str, ...]
    name: str
    value: str

    def holds(self, element: Element) -> bool:
        """Whether the element has the attribute, perhaps on an element below it."""
        where = [element]
        for tag in self.path:
            where = [
                child for element in where for child in children_of(element) if child.tag == tag
            ]
        return any(element.get(self.name) == self.value for element in where)


@frozen
class _Step:
    tag: str
    conditions: Tuple[_Condition, ...]

    def fits(self, element: Element) -> bool:
        """Whether this step of a path leads to the element."""
        return element.tag == self.tag and all(
            condition.holds(element) for condition in self.conditions
        )


def find_place(root: Element, xpath: str) -> XmlPlace:
    """Return what the path names; raise TerminalError for a path that fits several elements."""
    steps, attribute = _parse(xpath)
    element: Optional[Element] = root if steps[0].fits(root) else None
    for step in steps[1:]:
        element = None if element is None else _child(element, step, xpath)
    return XmlPlace(element, attribute)


def make_place(root: Element, xpath: str) -> Element:
    """Return the element that the path names, making what is missing with what the path says."""
    steps, attribute = _parse(xpath)
    if attribute is not None or not steps[0].fits(root):
        raise TerminalError(f"xml[{xpath}]: the path must name an element below /domain")
    element = root
    for step in steps[1:]:
        child = _child(element, step, xpath)
        element = _make(element, step, xpath) if child is None else child
    return element


def _child(element: Element, step: _Step, xpath: str) -> Optional[Element]:
    found = [child for child in children_of(element) if step.fits(child)]
    if len(found) > 1:
        raise TerminalError(
            f"xml[{xpath}]: fits {len(found)} elements; tell them apart with [@attribute='value']"
        )
    return found[0] if found else None


def _make(parent: Element, step: _Step, xpath: str) -> Element:
    if any(condition.path for condition in step.conditions):
        raise TerminalError(
            f"xml[{xpath}]: no element matches, and the path does not say enough to create one"
        )
    element = make(step.tag, {condition.name: condition.value for condition in step.conditions})
    layout.append(parent, element)
    return element


def _parse(xpath: str) -> Tuple[List[_Step], Optional[str]]:
    if not xpath.startswith("/"):
        raise TerminalError(f"xml[{xpath}]: the path must start with /domain")
    if len(xpath) > MOST_CHARACTERS:
        shown = f"xml[{xpath[:40]}…]"
        raise TerminalError(f"{shown}: the path has more than {MOST_CHARACTERS} characters")
    parts = _split(xpath[1:])
    if len(parts) > MOST_STEPS:
        raise TerminalError(f"xml[{xpath}]: the path has more than {MOST_STEPS} steps")
    attribute = parts.pop()[1:] if parts[-1].startswith("@") else None
    if attribute is not None and re.fullmatch(_NAME, attribute) is None:
        raise TerminalError(f"xml[{xpath}]: {attribute!r} is not an attribute's name")
    if not parts:
        raise TerminalError(f"xml[{xpath}]: the path must start with /domain")
    return [_parse_step(part, xpath) for part in parts], attribute


def _split(path: str) -> List[str]:
    parts, start = [], 0
    while True:
        found = _PART.match(path, start)
        end = len(path) if found is None else found.end()
        parts.append(path[start:end])
        if end >= len(path):
            return parts
        start = end + 1


def _parse_step(text: str, xpath: str) -> _Step:
    found = _STEP.fullmatch(text)
    if found is None:
        raise TerminalError(f"xml[{xpath}]: {text!r} is not a plain step like disk[@device='disk']")
    conditions = tuple(
        _Condition(_parse_path(condition["path"], xpath), condition["name"], condition["value"])
        for condition in _CONDITION.finditer(found["conditions"])
    )
    if len(conditions) != found["conditions"].count("["):
        raise TerminalError(f"xml[{xpath}]: only [@attribute='value'] is supported in {text!r}")
    return _Step(_tag(found["prefix"], found["name"], xpath), conditions)


def _parse_path(path: str, xpath: str) -> Tuple[str, ...]:
    steps = (word.rpartition(":") for word in path.split("/")[:-1])
    return tuple(_tag(prefix or None, name, xpath) for prefix, _, name in steps)


def _tag(prefix: Optional[str], name: str, xpath: str) -> str:
    if prefix is None:
        return name
    if prefix not in NAMESPACES:
        raise TerminalError(
            f"xml[{xpath}]: prefix {prefix!r} is not one of {', '.join(NAMESPACES)}"
        )
    return f"{{{NAMESPACES[prefix]}}}{name}"
