"""Keep the boot order of a domain sound. libvirt refuses two kinds of order beside each other.

Either the domain names kinds of device (`<os><boot dev='hd'/>`), or each device has its number.
Where the first becomes the second, the devices that the kinds meant are numbered in their order.
"""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence, Set

from reconciler.core.domain import layout
from reconciler.core.xmltree import Element, make, parse_number
from reconciler.errors import TerminalError

# The kinds that the domain may name, each with the devices that it stands for.
_KINDS: Mapping[str, str] = {
    "cdrom": "devices/disk[@device='cdrom']",
    "network": "devices/interface",
    "fd": "devices/disk[@device='floppy']",
}
# QEMU boots from the first device of a kind only (qemuBuildDisksCommandLine, bootNet).
_FIRST: Mapping[str, str] = {**_KINDS, "hd": "devices/disk"}
_DISKS = ("disk", "lun")


def settle_boot(root: Element, chosen: Sequence[Element]) -> None:
    """Make the order valid again; the numbers of the `chosen` devices hold.

    A device whose number was taken gives way to the next free one; nobody else is touched, for
    their numbers may be the manifest's too.
    """
    numbered = _numbered(root)
    if chosen and numbered:
        _number_kinds(root)
        numbered = _numbered(root)
    _refuse_twins(numbered, chosen)
    taken = {_order(one) for one in numbered}
    fixed = {_order(one) for one in numbered if one.getparent() in chosen}
    for one in numbered:
        if one.getparent() not in chosen and _order(one) in fixed:
            order = _next_free(_order(one), taken)
            taken.add(order)
            one.set("order", str(order))


def _numbered(root: Element) -> List[Element]:
    return [one for one in root.iterfind("devices/*/boot") if one.get("order")]


def _number_kinds(root: Element) -> None:
    """Turn the kinds of device into numbers, behind those that are given, and drop the kinds."""
    os = layout.ensure(root, "os")
    kinds = [one.get("dev", "") for one in os.findall("boot")]
    layout.remove_children(os, "boot")
    for kind in kinds:
        device = _find_first(root, kind)
        if device is not None and device.find("boot") is None:
            last = max((_order(one) for one in _numbered(root)), default=0)
            layout.append(device, make("boot", {"order": last + 1}))


def _find_first(root: Element, kind: str) -> Optional[Element]:
    found = root.findall(_FIRST[kind]) if kind in _FIRST else []
    if kind == "hd":
        found = [one for one in found if one.get("device", "disk") in _DISKS]
    return found[0] if found else None


def drop_empty_kinds(root: Element, had: Sequence[str]) -> None:
    """Stop booting from a kind of device (of those `had` before) of which none is left."""
    os = root.find("os")
    if os is None:
        return
    gone = [one for one in os.findall("boot") if one.get("dev") in had and not _has(root, one)]
    if not gone:
        return
    if len(gone) == len(os.findall("boot")):
        gone.pop().set("dev", "hd")
    for one in gone:
        layout.remove(one)


def kinds_there(root: Element) -> List[str]:
    """Return the kinds of device of which the domain has at least one."""
    return [kind for kind, path in _KINDS.items() if root.find(path) is not None]


def _has(root: Element, boot: Element) -> bool:
    return root.find(_KINDS[boot.get("dev", "")]) is not None


def _refuse_twins(numbered: Sequence[Element], chosen: Sequence[Element]) -> None:
    orders = [_order(one) for one in numbered if one.getparent() in chosen]
    twice = sorted({one for one in orders if orders.count(one) > 1})
    if twice:
        raise TerminalError(f"boot: {twice[0]} is given to more than one device")


def _order(boot: Element) -> int:
    return parse_number(boot.get("order", "0"))


def _next_free(order: int, taken: Set[int]) -> int:
    while order in taken:
        order += 1
    return order
