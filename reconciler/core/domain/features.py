"""What a domain has or has not as a whole: agent channel, console, graphics, video, rng, TPM.

Each is one row: how it is recognised, what else goes with it, and how it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Sequence, Tuple

from reconciler.core.domain import layout
from reconciler.core.domain.forms import GUEST_AGENT_CHANNEL
from reconciler.core.plan import Value
from reconciler.core.xmltree import Element, make, make_text

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
    former = [one for path in feature.paths for one in devices.findall(path) if is_display(one)]
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
    has_gl = any(_has_gl(one) for one in devices.findall("graphics"))
    for acceleration in devices.findall("video/model/acceleration[@accel3d='yes']"):
        if not has_gl:
            acceleration.set("accel3d", "no")


def _drop_spice(devices: Element) -> None:
    for one in list(devices.iterchildren(*_SPICE_TAGS)):
        if one.get("type") in _SPICE_TYPES:
            layout.remove(one)
    if devices.find("redirdev") is None:
        layout.remove_children(devices, "redirfilter")
    for audio in devices.findall("audio[@type='spice']"):
        audio.set("type", NONE)


def _has_gl(display: Element) -> bool:
    gl = display.find("gl")
    return display.get("type") in _GL_DISPLAYS or (gl is not None and gl.get("enable") == "yes")
