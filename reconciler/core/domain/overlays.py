"""The escape hatch: fragments merged into the XML for what the model does not know.

Works leaf by leaf (an attribute, or the text of an element), so a plan shows what differs and
nothing of the fragment's surroundings is touched. It knows no element's meaning, save by which
attributes an element of a list is told from its siblings (`siblings.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional, Sequence, Tuple

from reconciler.core.diff import Difference, Kind
from reconciler.core.domain import layout
from reconciler.core.domain.places import Place, find_place, make_place
from reconciler.core.domain.siblings import find_counterpart, means_same
from reconciler.core.model import Overlay
from reconciler.core.xmltree import (
    Element,
    attributes_of,
    children_of,
    copy_of,
    fragment,
    parse,
    qualified_name,
    serialise,
)
from reconciler.errors import TerminalError


@dataclass(frozen=True)
class _Leaf:
    """One thing to set: an attribute (by name), the text (name None), or a whole new element."""

    path: str
    parent: Element
    element: Optional[Element]
    name: Optional[str]
    desired: str
    new: Optional[Element] = None


def compare_overlays(xml: str, overlays: Sequence[Overlay]) -> Tuple[Difference, ...]:
    """Return what differs, leaf by leaf; the field is `xml[/path/@attribute]`."""
    if not overlays:
        return ()
    root = parse(xml)
    return tuple(one for overlay in overlays for one in _compare(root, overlay))


def merge_overlays(xml: str, overlays: Sequence[Overlay]) -> str:
    """Return the domain XML with the fragments merged in; the same text if they are in already."""
    if not compare_overlays(xml, overlays):
        return xml
    root = parse(xml)
    apply_overlays(root, overlays)
    return serialise(root)


def apply_overlays(root: Element, overlays: Sequence[Overlay]) -> None:
    """Merge the fragments into the tree."""
    for overlay in overlays:
        if overlay.present:
            parent = make_place(root, overlay.xpath)
            for leaf in list(_leaves(parent, _wanted(overlay), overlay.xpath)):
                _set(leaf)
        else:
            _take_away(root, overlay)


def _compare(root: Element, overlay: Overlay) -> Iterator[Difference]:
    place = find_place(root, overlay.xpath)
    if not overlay.present:
        yield from _compare_absent(place, overlay)
    elif place.element is None:
        yield _added(f"{overlay.xpath}/{qualified_name(_wanted(overlay))}", _wanted(overlay))
    else:
        for leaf in _leaves(place.element, _wanted(overlay), overlay.xpath):
            yield _difference(leaf)


def _compare_absent(place: Place, overlay: Overlay) -> Iterator[Difference]:
    if place.attribute is not None and place.element is not None:
        value = place.element.get(place.attribute)
        if value is not None:
            yield Difference(f"xml[{overlay.xpath}]", Kind.REMOVE, value, None)
    elif place.element is not None:
        yield Difference(f"xml[{overlay.xpath}]", Kind.REMOVE, fragment(copy_of(place.element)))


def _take_away(root: Element, overlay: Overlay) -> None:
    place = find_place(root, overlay.xpath)
    if place.element is None:
        return
    if place.attribute is not None:
        layout.drop_attributes(place.element, place.attribute)
    elif place.element is root:
        raise TerminalError("xml: the domain itself cannot be taken away")
    else:
        layout.remove(place.element)


def _leaves(parent: Element, wanted: Element, path: str) -> Iterator[_Leaf]:
    """Yield what must be set below `parent` so that it holds what `wanted` says."""
    here = f"{path}/{qualified_name(wanted)}"
    element = find_counterpart(parent, wanted, here)
    if element is None:
        yield _Leaf(here, parent, None, None, fragment(copy_of(wanted)), wanted)
        return
    for name, value in attributes_of(wanted):
        if not means_same(element.get(name), value):
            yield _Leaf(f"{here}/@{name}", parent, element, name, value)
    text = (wanted.text or "").strip()
    if text and not means_same((element.text or "").strip(), text):
        yield _Leaf(f"{here}/text()", parent, element, None, text)
    for child in children_of(wanted):
        yield from _leaves(element, child, here)


def _difference(leaf: _Leaf) -> Difference:
    if leaf.element is None:
        return Difference(f"xml[{leaf.path}]", Kind.ADD, None, leaf.desired)
    found = leaf.element.text if leaf.name is None else leaf.element.get(leaf.name)
    return Difference(f"xml[{leaf.path}]", Kind.CHANGE, found, leaf.desired)


def _added(path: str, wanted: Element) -> Difference:
    return Difference(f"xml[{path}]", Kind.ADD, None, fragment(copy_of(wanted)))


def _set(leaf: _Leaf) -> None:
    if leaf.new is not None:
        _insert(leaf.parent, leaf.new)
    elif leaf.element is not None and leaf.name is not None:
        leaf.element.set(leaf.name, leaf.desired)
    elif leaf.element is not None:
        leaf.element.text = leaf.desired


def _insert(parent: Element, wanted: Element) -> None:
    element = copy_of(wanted)
    if parent.tag == "devices":
        layout.insert_device(parent, element)
    else:
        layout.append(parent, element)


def _wanted(overlay: Overlay) -> Element:
    try:
        return parse(overlay.fragment, is_ours=True)
    except TerminalError as error:
        raise TerminalError(f"xml[{overlay.xpath}]: the fragment is {error}") from error
