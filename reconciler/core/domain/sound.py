"""What must not be in a definition, whatever a manifest says, so that a plan can say it first.

Settings of one disk that libvirt refuses together: the same rows hold for a disk that a manifest
describes and for one that an edit leaves behind. And one image, or one MAC address, on two devices;
and an empty drive on a bus that has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

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


# Returns (identity, name) of the image of that source and format, and of those below it.
FindChain = Callable[[str, str], Sequence[Tuple[str, str]]]


def refuse_doubles(xml: str, former: str, find_chain: FindChain) -> None:
    """Raise TerminalError if two devices have one image, or one MAC, that had not in `former`.

    An image may be on several disks, or below several, if none of them writes to it, or if each
    says `shareable`.
    """
    before = {one.key for one in _find_doubles(former, find_chain)} if former else set()
    for double in _find_doubles(xml, find_chain):
        if double.key not in before:
            raise TerminalError(
                f"{double.what} would be on two devices, {' and '.join(double.devices)}: the guest "
                "would not start, or damage its data; give one of them another, or name the one "
                "that is there (`target` of a disk, `mac` of an interface)"
            )


def refuse_empty_usb(xml: str, former: str) -> None:
    """Raise TerminalError if a CD-ROM drive on usb has no medium, and was not so in `former`.

    QEMU does not start such a guest, and newer libvirt (11.3 does) refuses the definition.
    """
    before = _find_empty_usb(former) if former else ()
    for drive in _find_empty_usb(xml):
        if drive not in before:
            raise TerminalError(
                f"{drive} would be empty, and a drive on usb cannot be: the guest would not start; "
                "give it media, or put it on sata or scsi (`bus`)"
            )


def _find_empty_usb(xml: str) -> Sequence[str]:
    return [
        _call(one)
        for one in parse(xml).iterfind("devices/disk[@device='cdrom']")
        if one.find("target[@bus='usb']") is not None and _is_empty(one.find("source"))
    ]


def _is_empty(source: Optional[Element]) -> bool:
    """Whether it names no medium; libvirt keeps what should happen without one."""
    return source is None or set(source.attrib) <= {"startupPolicy", "index"}


@dataclass
class _Part:
    """What only one device may have, unless none of them owns it: an image, a MAC address."""

    key: str
    what: str
    devices: List[str] = field(default_factory=list)
    is_owned: bool = False


def _find_doubles(xml: str, find_chain: FindChain) -> Iterator[_Part]:
    parts: Dict[str, _Part] = {}
    for device in parse(xml).iterfind("devices/*"):
        for key, what, is_owned in _unique_parts(device, find_chain):
            part = parts.setdefault(key, _Part(key, what))
            part.devices.append(_call(device))
            part.is_owned |= is_owned
    return (part for part in parts.values() if part.devices[1:] and part.is_owned)


def _unique_parts(device: Element, find_chain: FindChain) -> Iterator[Tuple[str, str, bool]]:
    if device.tag == "interface":
        for one in _macs(device):
            mac = one.get("address", "").lower()
            yield f"mac {mac}", f"MAC address {mac}", True
    source = SOURCE.read(device.find("source")) if device.tag == "disk" and SOURCE.read else None
    if source:
        driver = device.find("driver")
        kind = "" if driver is None else driver.get("type", "")
        is_shared = any(device.find(one) is not None for one in ("readonly", "shareable"))
        writes = device.get("device", "disk") in ("disk", "lun") and not is_shared
        for depth, (identity, name) in enumerate(find_chain(source, kind)):
            yield f"image {identity}", f"image {name}", writes and depth == 0


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
