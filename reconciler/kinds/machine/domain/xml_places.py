"""Where in the XML a field is, and how its value is written there.

A `Conversion` either converts the text at the field's path, or reads and writes the element itself
where one path cannot say it. It looks at nothing but the element it is given.

Paths are absolute and plain: `/domain/devices/disk[@device='disk']/driver`, in the end perhaps
`/@attribute`. A path that fits several elements is refused; nothing is ever chosen by position.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from reconciler.core.field_table import GUEST_AGENT_CHANNEL
from reconciler.core.fields import Form
from reconciler.core.frozen import frozen, regex
from reconciler.core.images import read_source
from reconciler.core.names import alias_of, name_of
from reconciler.core.secret_refs import read_secret
from reconciler.core.xmltree import Element, attributes_of, children_of, make, parse_number
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.features import (
    read_credentials,
    read_firmware,
    write_firmware,
)

_BYTES_PER_UNIT = {
    "b": 1, "bytes": 1, "KB": 10**3, "k": 2**10, "KiB": 2**10, "MB": 10**6, "M": 2**20,
    "MiB": 2**20, "GB": 10**9, "G": 2**30, "GiB": 2**30, "TB": 10**12, "T": 2**40, "TiB": 2**40,
}  # fmt: skip


@frozen
class Conversion:
    """Conversion of one value.

    With `read`, it is given the element of the path (None if it is not there) instead of its text.
    With `write`, it is given the device's element (or the domain's) and the value.
    """

    decode: Callable[[str], Any] = str
    encode: Callable[[Any], str] = str
    read: Optional[Callable[[Optional[Element]], Any]] = None
    write: Optional[Callable[[Element, Any], None]] = None


def _write_source(disk: Element, value: Optional[str]) -> None:
    """Point a disk elsewhere. What described the former image (its chain, its index) goes."""
    kind, attributes = _source_of(value)
    if kind == "file" and disk.get("device") == "lun":
        raise TerminalError(f"source {value!r}: a disk that is a LUN needs a block device")
    keep = {"startupPolicy"} if value else set()
    layout.remove_children(disk, "backingStore", "auth")
    source = disk.find("source")
    if source is not None:
        names = {name for name, _ in attributes_of(source)}
        layout.drop_attributes(source, *(names - keep))
        for child in children_of(source):
            layout.remove(child)
    disk.set("type", kind)
    if not attributes and source is not None:
        layout.remove(source)
    for name, text in attributes.items():
        layout.ensure(disk, "source").set(name, text)


def _source_of(value: Optional[str]) -> Tuple[str, Dict[str, str]]:
    if not value:
        return "file", {}
    if value.startswith("/dev/"):
        return "block", {"dev": value}
    if value.startswith("/"):
        return "file", {"file": value}
    pool, slash, volume = value.partition("/")
    if not slash or ":" in pool:
        raise TerminalError(f"source {value!r} is neither a path nor POOL/VOLUME")
    return "volume", {"pool": pool, "volume": volume}


_OTHER = {"network": "bridge", "bridge": "network"}


def _uplink(kind: str) -> Callable[[Element, Any], None]:
    """Return the writer that plugs an interface into a network or a bridge."""

    def write(interface: Element, value: str) -> None:
        if interface.get("type") != kind:
            _unplug(interface, kind)
        source = layout.ensure(interface, "source")
        # A port group belongs to the network that is left.
        layout.drop_attributes(source, "portid", "portgroup", _OTHER[kind])
        source.set(kind, value)

    return write


# What libvirt knows on interfaces of other types only.
_OF_OTHER_KINDS = ("ip", "route", "script", "downscript", "backend", "portForward")


def _unplug(interface: Element, kind: str) -> None:
    """Forget what described the former connection; where it kept the guest apart, refuse."""
    if interface.find("vlan") is not None:
        address = interface.find("mac")
        mac = "" if address is None else address.get("address", "")
        raise TerminalError(
            f"interface {mac}: it has a VLAN of its own, and is not moved to a {kind} with it, nor "
            f"without: remove its <vlan> first: {layout.edit_command(interface)}"
        )
    layout.remove_children(interface, "source", "virtualport", *_OF_OTHER_KINDS)
    if interface.get("type") not in _OTHER:  # a device of the host that is not ours to take
        layout.remove_children(interface, "target")
    if interface.get("type") == "hostdev":
        layout.drop_attributes(interface, "managed")
        layout.remove_children(interface, "driver")
    interface.set("type", kind)


def read_bytes(element: Optional[Element]) -> Optional[int]:
    """Return a number with a unit (KiB where it has none) in bytes."""
    if element is None or not element.text:
        return None
    return parse_number(element.text) * _BYTES_PER_UNIT.get(element.get("unit", "KiB"), 2**10)


def _read_online(vcpu: Optional[Element]) -> int:
    if vcpu is None:
        return 1
    return parse_number(vcpu.get("current") or vcpu.text or "1")


def _read_unpluggable(vcpus: Optional[Element]) -> int:
    """Count the processors that are online and were not there when the guest started."""
    if vcpus is None:
        return 0
    rows = vcpus.iterfind("vcpu")
    return sum(row.get("enabled") == "yes" == row.get("hotpluggable") for row in rows)


def _read_balloon(balloon: Optional[Element]) -> bool:
    return balloon is not None and balloon.get("model") != "none"


def _read_agent(devices: Optional[Element]) -> bool:
    if devices is None:
        return False
    channels = devices.iterchildren("channel")
    targets = (target for channel in channels for target in channel.iterchildren("target"))
    return any(target.get("name") == GUEST_AGENT_CHANNEL for target in targets)


def _is_there(element: Optional[Element]) -> bool:
    return element is not None


CONVERSIONS: Mapping[Form, Conversion] = {
    Form.SECRET: Conversion(read_secret),
    Form.TEXT: Conversion(),
    Form.INTEGER: Conversion(decode=parse_number),
    Form.PRESENCE: Conversion(read=_is_there),
    Form.ALIAS: Conversion(decode=name_of, encode=alias_of),
    Form.SOURCE: Conversion(read=read_source, write=_write_source),
    Form.MEDIA: Conversion(read=lambda source: read_source(source) or "", write=_write_source),
    Form.NETWORK: Conversion(write=_uplink("network")),
    Form.BRIDGE: Conversion(write=_uplink("bridge")),
    Form.BYTES: Conversion(read=read_bytes),
    Form.ONLINE: Conversion(read=_read_online),
    Form.UNPLUGGABLE: Conversion(read=_read_unpluggable),
    Form.BALLOON: Conversion(read=_read_balloon),
    Form.FIRMWARE: Conversion(read=read_firmware, write=write_firmware),
    Form.GUEST_AGENT: Conversion(read=_read_agent),
    Form.CREDENTIALS: Conversion(read=read_credentials),
}


# Prefixes that a path may use without declaring them.
NAMESPACES = {
    "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
    "libosinfo": "http://libosinfo.org/xmlns/libvirt/domain/1.0",
}
_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_STEP = regex(rf"(?:(?P<prefix>{_NAME}):)?(?P<name>{_NAME})(?P<conditions>(?:\[[^\[\]]*\])*)")
_CONDITION = regex(
    rf"\[(?P<path>(?:(?:{_NAME}:)?{_NAME}/)*)@(?P<name>{_NAME})=(?P<mark>['\"])"
    r"(?P<value>(?:(?!(?P=mark))[^\[\]])*)(?P=mark)\]"
)
# A slash within a condition is part of it.
_PART = regex(r"(?:[^/\[]|\[[^\]]*(?:\]|\Z))*")
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


_ENDS = regex(r"(/.*)/([^/@\[\]]+)(?:\[[^\]]*\])*")
_NESTED = frozenset({"backingStore"})  # libvirt has no other element that is in one of its name


def explain_parent(xpath: str, tag: str) -> str:
    """Return what to write where the path of a fragment ends at the fragment's own element."""
    found = _ENDS.fullmatch(xpath)
    if found is None or found[2] != tag or tag in _NESTED or "/metadata" in xpath:
        return ""
    return f"must name the parent of <{tag}>: write {found[1]}"
