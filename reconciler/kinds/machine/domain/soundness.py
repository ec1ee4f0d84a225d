"""What must not be in a definition, and what the host must offer for it."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from reconciler.core.field_table import CDROM, CPUS, DISK, MACHINE
from reconciler.core.fields import Field
from reconciler.core.frozen import replace
from reconciler.core.images import read_source
from reconciler.core.machine import Cpus, Disk, Machine, chipset_of
from reconciler.core.names import name_of
from reconciler.core.plan import Value
from reconciler.core.world import MachineCaps
from reconciler.core.xmltree import Element, parse
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.buses import SERIAL_LIMITS
from reconciler.kinds.machine.domain.devices import default_cache

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
    if former and _list_parts(former) == _list_parts(xml):
        return
    before = {double.key for double in _find_doubles(former, find_chain)} if former else set()
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
        _call(element)
        for element in parse(xml).iterfind("devices/disk[@device='cdrom']")
        if element.find("target[@bus='usb']") is not None and _is_empty(element.find("source"))
    ]


def _is_empty(source: Optional[Element]) -> bool:
    """Whether it names no medium; libvirt keeps what should happen without one."""
    return source is None or set(source.attrib) <= {"startupPolicy", "index"}


class _Part:
    """What only one device may have, unless none of them owns it: an image, a MAC address."""

    def __init__(self, key: str, what: str) -> None:
        """Begin with no device that has it."""
        self.key, self.what = key, what
        self.devices: List[str] = []
        self.is_owned = False


def _list_parts(xml: str) -> Sequence[Tuple[str, str, bool]]:
    """Return what only one device may have as the definition says it, without looking below."""
    return sorted(
        part
        for device in parse(xml).iterfind("devices/*")
        for part in _unique_parts(device, lambda source, kind: ((f"{kind} {source}", source),))
    )


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
        for place in _macs(device):
            mac = place.get("address", "").lower()
            yield f"mac {mac}", f"MAC address {mac}", True
    source = read_source(device.find("source")) if device.tag == "disk" else None
    if source:
        driver = device.find("driver")
        kind = "" if driver is None else driver.get("type", "")
        is_shared = any(device.find(tag) is not None for tag in ("readonly", "shareable"))
        writes = device.get("device", "disk") in ("disk", "lun") and not is_shared
        for depth, (identity, name) in enumerate(find_chain(source, kind)):
            yield f"image {identity}", f"image {name}", writes and depth == 0


def _macs(device: Element) -> Iterator[Element]:
    return (element for element in device.iterfind("mac") if element.get("address"))


def _call(device: Element) -> str:
    """Return what a person calls the device: its kind, its target or MAC, and its alias."""
    kind = {"cdrom": "CD-ROM drive", "floppy": "floppy"}.get(device.get("device", ""), device.tag)
    places = [element.get("dev") or "" for element in device.iterfind("target")]
    places = (
        places if device.tag == "disk" else [place.get("address", "") for place in _macs(device)]
    )
    aliases = [name_of(element.get("name")) for element in device.iterfind("alias")]
    words = [str(kind), *places[:1], *(f"({alias})" for alias in aliases if alias)]
    return " ".join(words)


Check = Callable[[Machine, MachineCaps], Iterator[str]]


def check_offer(machine: Machine, caps: MachineCaps) -> Tuple[str, ...]:
    """Return why this host cannot run the machine; empty if it can."""
    return tuple(refusal for check in _CHECKS for refusal in check(machine, caps))


def is_offered(row: Field, value: Value, caps: MachineCaps) -> bool:
    """Whether the host offers the value of a row."""
    offer = row.offer
    if offer is None or value == offer.always:
        return True
    offered = getattr(caps, offer.caps)
    return bool(offered) if isinstance(offered, bool) else value in offered


def _check_disks(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    for disk in machine.disks or ():
        yield from _check_table(DISK, disk, f"disks[{disk.name}].", caps)
        yield from _check_serial(disk)
        yield from find_unsound(replace(disk, cache=disk.cache or default_cache(disk)))


def _check_serial(disk: Disk) -> Iterator[str]:
    limit = SERIAL_LIMITS.get(disk.bus or "")
    if limit is not None and disk.serial is not None and len(disk.serial.encode()) > limit:
        yield (
            f"disks[{disk.name}].serial: {disk.serial!r} is longer than the {limit} characters "
            f"that a guest sees on bus {disk.bus}"
        )


def _check_cdroms(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    for cdrom in machine.cdroms or ():
        yield from _check_table(CDROM, cdrom, f"cdroms[{cdrom.name}].", caps)


def _check_machine(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    yield from _check_table(MACHINE, machine, "", caps)
    if machine.firmware == "uefi-secure" and chipset_of(caps.machine) != "q35":
        yield f"firmware: uefi-secure needs machine q35, this is {caps.machine}"


def _check_cpus(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    cpus = machine.cpus or Cpus()
    most = max(cpus.maximum or 0, cpus.count or 0)
    if most > caps.vcpu_max:
        field = "cpus.maximum" if (cpus.maximum or 0) == most else "cpus.count"
        yield f"{field}: {most} is more than the {caps.vcpu_max} that {caps.machine} can have"
    yield from _check_topology(cpus, most)
    yield from _check_table(CPUS, cpus, "cpus.", caps)


def _check_topology(cpus: Cpus, most: int) -> Iterator[str]:
    given = [number for number in (cpus.sockets, cpus.cores, cpus.threads) if number is not None]
    product = 1
    for number in given:
        product *= number
    complete = len(given) == len(("sockets", "cores", "threads"))
    if most and given and (product != most if complete else most % product):
        yield (
            f"cpus: sockets x cores x threads must make {most}, the most processors that the "
            f"machine can have; what is given makes {product}"
        )


def _check_table(
    table: Sequence[Field], part: object, prefix: str, caps: MachineCaps
) -> Iterator[str]:
    """Yield a refusal for each value of a part of the machine that is not on offer."""
    for row in table:
        value = None if row.offer is None else getattr(part, row.name)
        if row.offer is None or value is None or is_offered(row, value, caps):
            continue
        path, offered = f"{prefix}{row.key}", getattr(caps, row.offer.caps)
        if isinstance(offered, bool):
            yield f"{path}: not available for {caps.machine} on this host"
        else:
            always = {row.offer.always} - {None}
            names = ", ".join(sorted(always | offered))
            yield f"{path}: {value} is not available for {caps.machine}; available: {names}"


_CHECKS: Tuple[Check, ...] = (_check_disks, _check_cdroms, _check_machine, _check_cpus)
