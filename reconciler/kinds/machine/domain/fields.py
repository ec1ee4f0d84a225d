"""The one table of which field is where in domain XML, and the features of a whole domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

from reconciler.core.plan import Value
from reconciler.core.xmltree import Element, make, make_text
from reconciler.kinds.machine.domain import layout, xml_values
from reconciler.kinds.machine.domain.xml_values import GUEST_AGENT_CHANNEL, Form

Make = Callable[[Value], Sequence[Element]]

NONE = "none"
_AGENT = f"channel/target[@name='{GUEST_AGENT_CHANNEL}']/.."


@dataclass(frozen=True)
class Feature:
    """Paths below <devices> of what belongs to it, and how to make it for a value."""

    paths: Tuple[str, ...]
    make: Make


def make_agent(_: Value) -> Sequence[Element]:
    """Return the channel that the guest agent listens on."""
    target = make("target", {"type": "virtio", "name": GUEST_AGENT_CHANNEL})
    return [make("channel", {"type": "unix"}, make("source", {"mode": "bind"}), target)]


def make_console(_: Value) -> Sequence[Element]:
    """Return a serial console on a pseudo terminal."""
    return [make("serial", {"type": "pty"}), make("console", {"type": "pty"})]


def make_graphics(kind: Value) -> Sequence[Element]:
    """Return a display that listens on this host alone, on a port that libvirt chooses."""
    listen = make("listen", {"type": "address", "address": "127.0.0.1"})
    if kind in ("vnc", "spice"):
        return [make("graphics", {"type": kind, "port": -1, "autoport": "yes"}, listen)]
    return [make("graphics", {"type": kind})]


def make_video(model: Value) -> Sequence[Element]:
    """Return a graphics card."""
    return [make("video", None, make("model", {"type": model}))]


def make_rng(_: Value) -> Sequence[Element]:
    """Return a random number generator that the host's kernel feeds."""
    backend = make_text("backend", "/dev/urandom", {"model": "random"})
    return [make("rng", {"model": "virtio"}, backend)]


def make_tpm(_: Value) -> Sequence[Element]:
    """Return an emulated TPM 2.0."""
    backend = make("backend", {"type": "emulator", "version": "2.0"})
    return [make("tpm", {"model": "tpm-crb"}, backend)]


FEATURES: Mapping[str, Feature] = {
    "guest_agent": Feature((_AGENT,), make_agent),
    "console": Feature(("serial", "console"), make_console),
    "graphics": Feature(("graphics",), make_graphics),
    "video": Feature(("video",), make_video),
    "rng": Feature(("rng",), make_rng),
    "tpm": Feature(("tpm",), make_tpm),
}

# libvirt refuses these without a SPICE display: agent, folder sharing, smart card, USB redirection.
_SPICE_TYPES = ("spicevmc", "spiceport")
_SPICE_TAGS = ("channel", "serial", "console", "parallel", "smartcard", "redirdev")
# Displays that bring OpenGL, without which a video card with 3D acceleration does not start.
_GL_DISPLAYS = ("egl-headless", "sdl", "dbus")


def set_feature(root: Element, field: str, value: Value) -> None:
    """Give the domain the feature in that form, or take it away (False or `none`)."""
    feature = FEATURES[field]
    devices = layout.ensure(root, "devices")
    former = [
        element
        for path in feature.paths
        for element in devices.findall(path)
        if is_display(element)
    ]
    kept = [one for one in former if field == "graphics" and one.get("type") == value][:1]
    place = _place_before(former)
    for one in former:
        if one not in kept:
            layout.remove(one)
    if field == "graphics":
        _drop_unserved(devices, value)
    if is_wanted(field, value) and not kept:
        _put(devices, place, feature.make(value))


def is_display(element: Element) -> bool:
    """Whether it is not a mere renderer for other displays, which nobody looks at."""
    return element.get("type") != "egl-headless"


def is_wanted(field: str, value: Value) -> bool:
    """Whether an element is to be written for the value.

    A domain without a graphics card says so: where there is a display, libvirt would add a card.
    """
    return value not in (None, False, NONE) or (field == "video" and value == NONE)


def _put(devices: Element, place: Optional[Element], elements: Sequence[Element]) -> None:
    """Put new devices where the former ones were, else where libvirt would write them."""
    for element in elements:
        if place is None:
            layout.insert_device(devices, element)
        else:
            layout.insert_after(place, element)
            place = element


def _place_before(elements: Sequence[Element]) -> Optional[Element]:
    return elements[0].getprevious() if elements else None


def _drop_unserved(devices: Element, display: Value) -> None:
    """Take away what only the former display could serve: SPICE's devices, OpenGL."""
    if display != "spice":
        _drop_spice(devices)
    has_gl = any(_has_gl(element) for element in devices.findall("graphics"))
    for acceleration in devices.findall("video/model/acceleration[@accel3d='yes']"):
        if not has_gl:
            acceleration.set("accel3d", "no")


def _drop_spice(devices: Element) -> None:
    for child in list(devices.iterchildren(*_SPICE_TAGS)):
        if child.get("type") in _SPICE_TYPES:
            layout.remove(child)
    if devices.find("redirdev") is None:
        layout.remove_children(devices, "redirfilter")
    for audio in devices.findall("audio[@type='spice']"):
        audio.set("type", NONE)


def _has_gl(display: Element) -> bool:
    gl = display.find("gl")
    return display.get("type") in _GL_DISPLAYS or (gl is not None and gl.get("enable") == "yes")


Kids = Mapping[str, Element]
Reader = Callable[[Kids, Element], Any]


@dataclass(frozen=True)
class Binding:
    """One field and its place below the device's element (or the domain's).

    `form` converts the text there. A path that ends in an element name, not `@…` or `text()`,
    means the presence of that element, or is left to the form altogether.
    """

    field: str
    path: str
    form: Form = xml_values.TEXT

    @property
    def tag(self) -> str:
        """The element of the path."""
        return self.path.rsplit("/", 1)[0] if self.leaf else self.path

    @property
    def leaf(self) -> str:
        """The path's last part, if it is an attribute or text."""
        last = self.path.rsplit("/", 1)[-1]
        return last if last.startswith("@") or last == "text()" else ""


DISK: Tuple[Binding, ...] = (
    Binding("format", "driver/@type"),
    Binding("cache", "driver/@cache"),
    Binding("io", "driver/@io"),
    Binding("discard", "driver/@discard"),
    Binding("source", "source", xml_values.SOURCE),
    Binding("target", "target/@dev"),
    Binding("bus", "target/@bus"),
    Binding("readonly", "readonly", xml_values.PRESENCE),
    Binding("shareable", "shareable", xml_values.PRESENCE),
    Binding("serial", "serial/text()"),
    Binding("boot", "boot/@order", xml_values.INTEGER),
    Binding("alias", "alias/@name", xml_values.ALIAS),
)

CDROM: Tuple[Binding, ...] = (
    Binding("media", "source", xml_values.MEDIA),
    Binding("target", "target/@dev"),
    Binding("bus", "target/@bus"),
    Binding("boot", "boot/@order", xml_values.INTEGER),
    Binding("alias", "alias/@name", xml_values.ALIAS),
)

INTERFACE: Tuple[Binding, ...] = (
    Binding("mac", "mac/@address"),
    Binding("network", "source/@network", xml_values.NETWORK),
    Binding("bridge", "source/@bridge", xml_values.BRIDGE),
    Binding("model", "model/@type"),
    Binding("boot", "boot/@order", xml_values.INTEGER),
    Binding("link", "link/@state", xml_values.LINK),
    Binding("alias", "alias/@name", xml_values.ALIAS),
)

CPUS: Tuple[Binding, ...] = (
    Binding("count", "vcpu", xml_values.ONLINE),
    Binding("maximum", "vcpu/text()", xml_values.INTEGER),
    Binding("sockets", "cpu/topology/@sockets", xml_values.INTEGER),
    Binding("cores", "cpu/topology/@cores", xml_values.INTEGER),
    Binding("threads", "cpu/topology/@threads", xml_values.INTEGER),
    Binding("mode", "cpu/@mode"),
    Binding("model", "cpu/model/text()"),
    Binding("unpluggable", "vcpus", xml_values.UNPLUGGABLE),
)

MEMORY: Tuple[Binding, ...] = (
    Binding("size", "currentMemory|memory", xml_values.BYTES),
    Binding("maximum", "memory", xml_values.BYTES),
    Binding("balloon", "devices/memballoon", xml_values.BALLOON),
)

MACHINE: Tuple[Binding, ...] = (
    Binding("name", "name/text()"),
    Binding("uuid", "uuid/text()"),
    Binding("machine", "os/type/@machine"),
    Binding("firmware", "os", xml_values.FIRMWARE),
    Binding("guest_agent", "devices", xml_values.GUEST_AGENT),
    Binding("console", "devices/serial|devices/console", xml_values.PRESENCE),
    Binding("graphics", "devices/graphics/@type", xml_values.OR_NONE),
    Binding("video", "devices/video/model/@type", xml_values.OR_NONE),
    Binding("rng", "devices/rng", xml_values.PRESENCE),
    Binding("tpm", "devices/tpm", xml_values.PRESENCE),
)

TABLES: Mapping[str, Tuple[Binding, ...]] = {
    "disks[].": DISK,
    "cdroms[].": CDROM,
    "interfaces[].": INTERFACE,
    "cpus.": CPUS,
    "memory.": MEMORY,
    "": MACHINE,
}

# Fields of the model that do not stand in the XML, each with the reason.
UNBOUND: Mapping[str, str] = {
    "os": "hint: stands in our mark",
    "power": "libvirt keeps the state outside the XML",
    "autostart": "libvirt keeps it outside the XML",
    "firmware_open": "hint: read beside the firmware (read.py)",
    "overlays": "compared on the tree itself (overlays.py)",
    "disks": "a table of its own",
    "cdroms": "a table of its own",
    "interfaces": "a table of its own",
    "cpus": "a table of its own",
    "memory": "a table of its own",
    "disks[].name": "is alias or target",
    "disks[].size": "a property of the volume",
    "disks[].pool": "hint: how the source is found",
    "disks[].volume": "hint: how the source is found",
    "disks[].template": "hint: how the volume is made",
    "disks[].clone": "hint: how the volume is made",
    "cdroms[].name": "is alias or target",
    "cdroms[].pool": "hint: how the medium is found",
    "cdroms[].volume": "hint: how the medium is found",
    "interfaces[].name": "is alias or MAC",
    "interfaces[].uplink": "said in other words by each type of interface (read.py)",
}


def find_binding(prefix: str, field: str) -> Optional[Binding]:
    """Return the row of a field, given the table's prefix (`disks[].`)."""
    return next((table for table in TABLES[prefix] if table.field == field), None)
