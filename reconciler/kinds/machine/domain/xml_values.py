"""How the value of one field is written in XML, both ways.

A `Conversion` either converts the text at the field's path, or reads and writes the element itself
where one path cannot say it. It looks at nothing but the element it is given.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from reconciler.core.field_table import GUEST_AGENT_CHANNEL
from reconciler.core.fields import Form
from reconciler.core.frozen import frozen
from reconciler.core.names import alias_of, name_of
from reconciler.core.xmltree import Element, attributes_of, children_of, parse_number
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.firmware import read_firmware, write_firmware

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


def read_source(source: Optional[Element]) -> Optional[str]:
    """Return a path, `pool/volume`, or `protocol:name` of an image on the network."""
    if source is None:
        return None
    plain = source.get("file") or source.get("dev") or source.get("dir")
    if plain is not None:
        return str(plain)
    if source.get("volume") is not None:
        return f"{source.get('pool')}/{source.get('volume')}"
    if source.get("protocol") is not None:
        return f"{source.get('protocol')}:{source.get('name') or ''}"
    return None


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


def _unplug(interface: Element, kind: str) -> None:
    """Forget what described the former connection; where it kept the guest apart, refuse."""
    if interface.find("vlan") is not None:
        address = interface.find("mac")
        mac = "" if address is None else address.get("address", "")
        raise TerminalError(
            f"interface {mac}: it has a VLAN of its own, and is not moved to a {kind} with it, nor "
            f"without: remove its <vlan> first: {layout.edit_command(interface)}"
        )
    layout.remove_children(interface, "source", "virtualport")
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
}
