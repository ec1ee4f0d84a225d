"""Find the element of a device that a difference is about."""

from __future__ import annotations

from typing import Callable, List, Mapping, Optional, Tuple

from reconciler.core.diff import Device, Difference
from reconciler.core.identity import ALIAS_PREFIX
from reconciler.core.model import Interface
from reconciler.core.xmltree import Element
from reconciler.errors import TerminalError

_TAGS: Mapping[str, Tuple[str, Tuple[str, ...]]] = {
    "disks[]": ("disk", ("disk", "lun")),
    "cdroms[]": ("disk", ("cdrom",)),
    "interfaces[]": ("interface", ()),
}


def find_device(root: Element, difference: Difference) -> Element:
    """Return the device's element; raise TerminalError if the domain has none such.

    It is looked for by what it was observed as (alias, target, MAC), or by its name where nothing
    observed is said.
    """
    kind = difference.field.partition(".")[0]
    candidates = [one for one in root.iterfind(f"devices/{_TAGS[kind][0]}") if _fits(one, kind)]
    for is_it in _keys(difference):
        found = [one for one in candidates if is_it(one)]
        if found:
            return found[0]
    raise TerminalError(f"{difference.path}: the domain has no such device any more")


def _fits(element: Element, kind: str) -> bool:
    roles = _TAGS[kind][1]
    return not roles or element.get("device", "disk") in roles


def _keys(difference: Difference) -> List[Callable[[Element], bool]]:
    item, name = difference.item, difference.device or ""
    if item is None:
        alias = _has("alias", "name", f"{ALIAS_PREFIX}{name}")
        return [alias, _has("target", "dev", name), _has("mac", "address", name)]
    if item.alias:
        return [_has("alias", "name", f"{ALIAS_PREFIX}{item.alias}")]
    return [_by_place(item)]


def _by_place(item: Device) -> Callable[[Element], bool]:
    if isinstance(item, Interface):
        return _has("mac", "address", item.mac)
    return _has("target", "dev", item.target)


def _has(tag: str, attribute: str, value: Optional[str]) -> Callable[[Element], bool]:
    def has(element: Element) -> bool:
        child = element.find(tag)
        return child is not None and value is not None and child.get(attribute) == value

    return has
