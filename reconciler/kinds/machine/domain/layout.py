"""Put elements into a document, find them and take them out; its layout stays as it was."""

from __future__ import annotations

import shlex
from typing import Callable, List, Mapping, Optional, Tuple

from reconciler.core.machine import Interface
from reconciler.core.names import ALIAS_PREFIX
from reconciler.core.xmltree import Element, children_of, indent, make
from reconciler.errors import TerminalError
from reconciler.kinds.machine.match import Device, Difference

# The order in which libvirt writes devices; a device of a new kind goes where libvirt would put it.
_DEVICE_ORDER: Tuple[str, ...] = (
    "emulator", "disk", "controller", "lease", "filesystem", "interface", "smartcard", "serial",
    "parallel", "console", "channel", "input", "tpm", "graphics", "sound", "audio", "video",
    "hostdev", "redirdev", "redirfilter", "hub", "watchdog", "memballoon", "rng",
)  # fmt: skip


def edit_command(element: Element) -> str:
    """Return the command that edits the domain which the element is a part of."""
    root = element.getroottree().getroot()
    return f"virsh edit {shlex.quote(root.findtext('name') or 'NAME')}"


def insert_after(anchor: Element, element: Element) -> None:
    """Put a new element behind a node, laid out like it."""
    parent = anchor.getparent()
    if parent is None:
        raise ValueError("the root has no place behind it")
    lead = _lead(anchor)
    indent(element, _depth(anchor))
    tail, anchor.tail = anchor.tail, lead
    parent.insert(parent.index(anchor) + 1, element)
    element.tail = tail


def insert_first(parent: Element, element: Element) -> None:
    """Put a new element before all others of its parent."""
    if not len(parent):
        append(parent, element)
        return
    indent(element, _depth(parent) + 1)
    parent.insert(0, element)
    element.tail = parent.text


def append(parent: Element, element: Element) -> None:
    """Put a new element behind all others of its parent."""
    if len(parent):
        insert_after(parent[-1], element)
        return
    depth = _depth(parent)
    parent.text = "\n" + "  " * (depth + 1)
    indent(element, depth + 1)
    parent.append(element)
    element.tail = "\n" + "  " * depth


def insert_device(devices: Element, element: Element) -> None:
    """Put a new device behind the last of its kind, or where libvirt would write it."""
    there = children_of(devices)
    alike = [child for child in there if child.tag == element.tag]
    before = alike or [child for child in there if rank(child) <= rank(element)]
    if before:
        insert_after(before[-1], element)
    else:
        insert_first(devices, element)


def remove(element: Element) -> None:
    """Take an element out, and the line it stood on."""
    parent = element.getparent()
    if parent is None:
        raise ValueError("the root cannot be removed")
    if element.getnext() is None:
        _close_up(element, parent)
    parent.remove(element)
    if not len(parent) and not (parent.text or "").strip():
        parent.text = None


def remove_children(parent: Element, *tags: str) -> None:
    """Take out every child of these tags."""
    for child in list(parent.iterchildren(*tags)):
        remove(child)


def ensure(parent: Element, path: str) -> Element:
    """Return the element at a path of plain tags, making what is missing."""
    for tag in path.split("/"):
        child = parent.find(tag)
        if child is None:
            child = make(tag)
            append(parent, child)
        parent = child
    return parent


def set_attribute(element: Element, name: str, value: Optional[object]) -> None:
    """Set an attribute, or take it away when the value is None."""
    if value is None:
        drop_attributes(element, name)
    else:
        element.set(name, str(value))


def drop_attributes(element: Element, *names: str) -> None:
    """Take attributes away, as far as they are there."""
    for name in names:
        if name in element.attrib:
            del element.attrib[name]


def rank(element: Element) -> int:
    """Return the place of a device in libvirt's order."""
    known = element.tag in _DEVICE_ORDER
    return _DEVICE_ORDER.index(element.tag) if known else len(_DEVICE_ORDER)


def _close_up(element: Element, parent: Element) -> None:
    before = element.getprevious()
    if before is not None:
        before.tail = element.tail
    elif element.tail and not element.tail.strip():
        parent.text = element.tail


def _lead(node: Element) -> Optional[str]:
    """Return the whitespace before a node."""
    before, parent = node.getprevious(), node.getparent()
    if before is not None:
        return before.tail
    return parent.text if parent is not None else None


def _depth(element: Element) -> int:
    return sum(1 for _ in element.iterancestors())


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
    candidates = [
        element for element in root.iterfind(f"devices/{_TAGS[kind][0]}") if _fits(element, kind)
    ]
    for is_it in _keys(difference):
        found = [candidate for candidate in candidates if is_it(candidate)]
        if found:
            return found[0]
    raise TerminalError(f"{difference.path}: the domain no longer has this device")


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
