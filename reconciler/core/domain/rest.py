"""What two definitions of one domain differ in, for people: a line for each element. Pure.

Says only what no field of the model says already: where a device sits (addresses, controllers)
comes with the device, and our own mark is shown by its words.
"""

from __future__ import annotations

from collections import Counter
from typing import FrozenSet, Iterator, List, Sequence, Tuple

from reconciler.core.domain.owner import NAMESPACE
from reconciler.core.identity import name_of
from reconciler.core.xmltree import Element, attributes_of, is_element, parse, qualified_name

# What follows from devices that come and go, and is put where they need it.
_PLACES = frozenset({"address", "alias", "controller"})
_NAMED = ("disk", "interface")

Lines = Tuple[str, ...]


def find_rest(one: str, other: str, named: FrozenSet[str] = frozenset()) -> Tuple[Lines, Lines]:
    """Return the lines that only the one has, and those that only the other has.

    Devices of a name in `named`, and where devices sit, are left out.
    """
    return _differ(list(_lines(one, named, plain=False)), list(_lines(other, named, plain=False)))


def find_all(one: str, other: str) -> Tuple[Lines, Lines]:
    """Return the same with nothing left out but our mark."""
    everything: FrozenSet[str] = frozenset()
    return _differ(
        list(_lines(one, everything, plain=True)), list(_lines(other, everything, plain=True))
    )


def is_like(xml: str, old: Lines, new: Lines) -> bool:
    """Whether a running configuration certainly has the new lines, and none of the old."""
    there = set(_lines(xml, frozenset(), plain=False))
    return there.issuperset(new) and not there.intersection(old)


def _differ(one: Sequence[str], other: Sequence[str]) -> Tuple[Lines, Lines]:
    return _without(one, other), _without(other, one)


def _without(lines: Sequence[str], others: Sequence[str]) -> Lines:
    left, found = Counter(others), []
    for line in lines:
        left[line] -= 1
        if left[line] < 0:
            found.append(line)
    return tuple(found)


def _lines(xml: str, named: FrozenSet[str], *, plain: bool) -> Iterator[str]:
    return _below(parse(xml), "", named, plain)


def _below(element: Element, path: str, named: FrozenSet[str], plain: bool) -> Iterator[str]:  # noqa: FBT001
    here = f"{path}/{qualified_name(element)}"
    text = (element.text or "").strip()
    pairs = "".join(f" {name}='{value}'" for name, value in attributes_of(element))
    yield f"{here}{pairs}{f': {text}' if text else ''}"
    for child in element:
        if is_element(child) and not _is_left_out(child, named, plain):
            yield from _below(child, here, named, plain)


def _is_left_out(element: Element, named: FrozenSet[str], plain: bool) -> bool:  # noqa: FBT001
    if f"{{{NAMESPACE}}}" in element.tag or _holds_nothing_else(element):
        return True
    if plain:
        return False
    parent = element.getparent()
    is_target = element.tag == "target" and parent is not None and parent.tag in _NAMED
    return is_target or element.tag in _PLACES or bool(named & set(_names(element)))


def _holds_nothing_else(element: Element) -> bool:
    """Whether it is the place of our mark alone; newer libvirt drops it with the mark."""
    return element.tag == "metadata" and all(
        f"{{{NAMESPACE}}}" in one.tag for one in element if is_element(one)
    )


def _names(element: Element) -> List[str]:
    if element.tag not in _NAMED:
        return []
    alias, target, mac = (element.find(tag) for tag in ("alias", "target", "mac"))
    known = [
        None if alias is None else name_of(alias.get("name")),
        None if target is None else target.get("dev"),
        None if mac is None else mac.get("address"),
    ]
    return [one for one in known if one]
