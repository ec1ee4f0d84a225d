"""The escape hatch: fragments merged into the XML for what the model does not know."""

from __future__ import annotations

from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.machine import Overlay
from reconciler.core.secret_refs import Recognise, find_refs, is_same_secret, recognise_none
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
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.xml_places import XmlPlace, find_place, make_place
from reconciler.kinds.machine.match import Difference, DifferenceKind

# Elements of lists, each with what makes it this one: attributes, of itself or of a child. A
# fragment with another value here means another element, even if there is only one so far.
_KEYS: Mapping[str, Tuple[str, ...]] = {
    "arg": ("@value",),
    "capability": ("@name",),
    "capabilities": ("@name",),
    "cell": ("@id",),
    "channel": ("target/@name",),
    "controller": ("@type", "@index"),
    "device": ("@alias",),
    "disk": ("alias/@name", "target/@dev"),
    "emulatorsched": ("@scheduler",),
    "entry": ("@name",),
    "env": ("@name",),
    "feature": ("@name",),
    "filesystem": ("target/@dir",),
    "hostdev": (
        "@type", "source/address/@domain", "source/address/@bus", "source/address/@slot",
        "source/address/@function", "source/address/@uuid", "source/vendor/@id",
        "source/product/@id",
    ),
    "input": ("@type", "@bus"),
    "interface": ("alias/@name", "mac/@address"),
    "iothread": ("@id",),
    "iothreadpin": ("@iothread",),
    "iothreadsched": ("@iothreads",),
    "memnode": ("@cellid",),
    "page": ("@size",),
    "parameter": ("@name",),
    "property": ("@name",),
    "shmem": ("@name",),
    "timer": ("@name",),
    "vcpupin": ("@vcpu",),
    "vcpusched": ("@vcpus",),
}  # fmt: skip
_GENERAL = ("@name", "@id", "@index", "@type", "@model", "@bus", "@alias", "@dev")


def find_counterpart(parent: Element, wanted: Element, path: str) -> Optional[Element]:
    """Return the child that `wanted` means, or None if it is not there yet."""
    alike = [child for child in children_of(parent) if child.tag == wanted.tag]
    keys = _keys_of(wanted)
    if keys is not None:
        found = _same_by(keys, alike, wanted)
    elif len(alike) > 1:
        found = _same_by(_given(wanted, _GENERAL), alike, wanted)
    else:
        found = alike
    if len(found) > 1:
        raise TerminalError(
            f"xml[{path}]: fits {len(found)} elements; name one of them in the path"
        )
    return found[0] if found else None


def means_same(found: Optional[str], wanted: str) -> bool:
    """Whether two texts mean the same: equal, or one number in two spellings (0x01 and 0x1)."""
    if found is None or found == wanted:
        return found is not None
    left, right = _number(found), _number(wanted)
    return left is not None and left == right


def _keys_of(wanted: Element) -> Optional[Tuple[str, ...]]:
    """Return the keys that the fragment gives; None if it gives none, or is of no list."""
    local = wanted.tag.rsplit("}", 1)[-1]
    return _given(wanted, _KEYS.get(local, ())) or None


def _given(wanted: Element, keys: Tuple[str, ...]) -> Tuple[str, ...]:
    return tuple(key for key in keys if _value(wanted, key) is not None)


def _same_by(keys: Tuple[str, ...], alike: List[Element], wanted: Element) -> List[Element]:
    return [
        child
        for child in alike
        if all(means_same(_value(child, key), _value(wanted, key) or "") for key in keys)
    ]


def _value(element: Element, key: str) -> Optional[str]:
    path, _, name = key.rpartition("@")
    place = element.find(path.rstrip("/")) if path else element
    return None if place is None else place.get(name)


def _number(text: str) -> Optional[int]:
    try:
        return int(text, 0)
    except ValueError:
        return None


@frozen
class _Leaf:
    """One thing to set: an attribute (by name), the text (name None), or a whole new element."""

    path: str
    parent: Element
    element: Optional[Element]
    name: Optional[str]
    desired: str
    new: Optional[Element] = None


def compare_overlays(
    xml: str, overlays: Sequence[Overlay], recognise: Recognise = recognise_none
) -> Tuple[Difference, ...]:
    """Return what differs, leaf by leaf; the field is `xml[/path/@attribute]`."""
    if not overlays:
        return ()
    root = parse(xml)
    return tuple(
        difference for overlay in overlays for difference in _compare(root, overlay, recognise)
    )


def merge_overlays(
    xml: str, overlays: Sequence[Overlay], recognise: Recognise = recognise_none
) -> str:
    """Return the domain XML with the fragments merged in; the same text if they are in already."""
    if not compare_overlays(xml, overlays, recognise):
        return xml
    root = parse(xml)
    apply_overlays(root, overlays, recognise)
    return serialise(root)


def apply_overlays(
    root: Element, overlays: Sequence[Overlay], recognise: Recognise = recognise_none
) -> None:
    """Merge the fragments into the tree."""
    for overlay in overlays:
        if overlay.present:
            parent = make_place(root, overlay.xpath)
            for leaf in list(_leaves(parent, _wanted(overlay), overlay.xpath, recognise)):
                _set(leaf)
        else:
            _take_away(root, overlay)


def _compare(root: Element, overlay: Overlay, recognise: Recognise) -> Iterator[Difference]:
    place = find_place(root, overlay.xpath)
    if not overlay.present:
        yield from _compare_absent(place, overlay)
    elif place.element is None:
        yield _added(f"{overlay.xpath}/{qualified_name(_wanted(overlay))}", _wanted(overlay))
    else:
        for leaf in _leaves(place.element, _wanted(overlay), overlay.xpath, recognise):
            yield _difference(leaf)


def _compare_absent(place: XmlPlace, overlay: Overlay) -> Iterator[Difference]:
    if place.attribute is not None and place.element is not None:
        value = place.element.get(place.attribute)
        if value is not None:
            yield Difference(f"xml[{overlay.xpath}]", DifferenceKind.REMOVE, value, None)
    elif place.element is not None:
        yield Difference(
            f"xml[{overlay.xpath}]", DifferenceKind.REMOVE, fragment(copy_of(place.element))
        )


def _take_away(root: Element, overlay: Overlay) -> None:
    place = find_place(root, overlay.xpath)
    if place.element is None:
        return
    if place.attribute is not None:
        layout.drop_attributes(place.element, place.attribute)
    elif place.element is root:
        raise TerminalError("xml: the domain element itself cannot be removed")
    else:
        layout.remove(place.element)


def _leaves(parent: Element, wanted: Element, path: str, recognise: Recognise) -> Iterator[_Leaf]:
    """Yield what must be set below `parent` so that it holds what `wanted` says."""
    here = f"{path}/{qualified_name(wanted)}"
    element = find_counterpart(parent, wanted, here)
    if element is None:
        yield _Leaf(
            path=here,
            parent=parent,
            element=None,
            name=None,
            desired=fragment(copy_of(wanted)),
            new=wanted,
        )
        return
    for name, value in attributes_of(wanted):
        if not _is_same(element.get(name), value, recognise):
            yield _Leaf(
                path=f"{here}/@{name}", parent=parent, element=element, name=name, desired=value
            )
    text = (wanted.text or "").strip()
    if text and not _is_same((element.text or "").strip(), text, recognise):
        yield _Leaf(path=f"{here}/text()", parent=parent, element=element, name=None, desired=text)
    for child in children_of(wanted):
        yield from _leaves(element, child, here, recognise)


def _is_same(found: Optional[str], wanted: str, recognise: Recognise) -> bool:
    if find_refs(wanted):
        return is_same_secret(wanted, found, recognise)
    return means_same(found, wanted)


def _difference(leaf: _Leaf) -> Difference:
    if leaf.element is None:
        return Difference(f"xml[{leaf.path}]", DifferenceKind.ADD, None, leaf.desired)
    found = leaf.element.text if leaf.name is None else leaf.element.get(leaf.name)
    return Difference(f"xml[{leaf.path}]", DifferenceKind.CHANGE, found, leaf.desired)


def _added(path: str, wanted: Element) -> Difference:
    return Difference(f"xml[{path}]", DifferenceKind.ADD, None, fragment(copy_of(wanted)))


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
