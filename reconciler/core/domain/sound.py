"""What must not be in a definition, whatever a manifest says, so that a plan can say it first.

Settings of one disk that libvirt refuses together: the same rows hold for a disk that a manifest
describes and for one that an edit leaves behind. And one image, or one MAC address, on two devices.
"""

from __future__ import annotations

import posixpath
from typing import Callable, Dict, Iterator, List, Set, Tuple

from reconciler.core.domain.forms import SOURCE
from reconciler.core.identity import name_of
from reconciler.core.model import Disk
from reconciler.core.xmltree import Element, parse
from reconciler.errors import TerminalError

# QEMU's hard disks there cannot be read-only, and a guest must not suddenly be able to write.
_WRITABLE_ONLY = frozenset({"sata", "ide"})
_DIRECT = frozenset({"none", "directsync"})

Rule = Tuple[Callable[[Disk], bool], str]

_RULES: Tuple[Rule, ...] = (
    (
        lambda disk: bool(disk.readonly) and disk.bus in _WRITABLE_ONLY,
        "readonly: a disk on bus sata or ide cannot be read-only",
    ),
    (
        lambda disk: bool(disk.shareable) and disk.format not in (None, "raw"),
        "shareable: only a raw image can be written to by several guests; convert it (qemu-img "
        "convert -O raw) or leave shareable out",
    ),
    (
        lambda disk: disk.io == "native" and disk.cache not in _DIRECT,
        "io: native needs cache none or directsync",
    ),
)


def find_unsound(disk: Disk) -> Iterator[str]:
    """Yield, each with its field first, what libvirt would refuse of the disk."""
    for is_unsound, reason in _RULES:
        if is_unsound(disk):
            yield f"disks[{disk.name}].{reason}"


Resolve = Callable[[str], str]


def refuse_doubles(xml: str, former: str, resolve: Resolve) -> None:
    """Raise TerminalError if two devices have one image, or one MAC, that had not in `former`.

    `resolve` returns the path of what a definition names as POOL/VOLUME, or what it is given.
    An image may be on several disks if none of them writes to it, or if each says `shareable`.
    """
    before = {what for what, _ in _find_doubles(former, resolve)} if former else set()
    for what, names in _find_doubles(xml, resolve):
        if what not in before:
            raise TerminalError(
                f"{what} would be on two devices, {' and '.join(names)}: the guest would not "
                "start, or damage its data; give one of them another, or name the one that is "
                "there (`target` of a disk, `mac` of an interface)"
            )


def _find_doubles(xml: str, resolve: Resolve) -> Iterator[Tuple[str, List[str]]]:
    """Yield what is on two devices (`image PATH`, `MAC address …`), and what these are called."""
    holders: Dict[str, List[str]] = {}
    written: Set[str] = set()
    for device in parse(xml).iterfind("devices/*"):
        for what, is_written in _unique_parts(device, resolve):
            holders.setdefault(what, []).append(_call(device))
            written |= {what} if is_written else set()
    return ((what, names) for what, names in holders.items() if names[1:] and what in written)


def _unique_parts(device: Element, resolve: Resolve) -> Iterator[Tuple[str, bool]]:
    """Yield what no other device may have, and whether this one alone is reason enough."""
    if device.tag == "interface":
        yield from (
            (f"MAC address {one.get('address', '').lower()}", True) for one in _macs(device)
        )
    if device.tag == "disk" and SOURCE.read is not None:
        source = SOURCE.read(device.find("source"))
        kind = device.get("device", "disk")
        is_shared = any(device.find(one) is not None for one in ("readonly", "shareable"))
        if source:
            image = resolve(source)
            image = posixpath.normpath(image) if image.startswith("/") else image
            yield f"image {image}", kind in ("disk", "lun") and not is_shared


def _macs(device: Element) -> Iterator[Element]:
    return (one for one in device.iterfind("mac") if one.get("address"))


def _call(device: Element) -> str:
    """Return what a person calls the device: its kind, its target or MAC, and its alias."""
    kind = {"cdrom": "CD-ROM drive", "floppy": "floppy"}.get(device.get("device", ""), device.tag)
    places = [one.get("dev") or "" for one in device.iterfind("target")]
    places = places if device.tag == "disk" else [one.get("address", "") for one in _macs(device)]
    aliases = [name_of(one.get("name")) for one in device.iterfind("alias")]
    words = [str(kind), *places[:1], *(f"({one})" for one in aliases if one)]
    return " ".join(words)
