"""Give a domain what it has once or not at all (console, graphics, TPM …), or take it away.

Which elements that are is in `core.field_table`; what else goes with them is here.
"""

from __future__ import annotations

from typing import Optional, Sequence

from reconciler.core.field_table import FEATURES, NONE
from reconciler.core.plan import Value
from reconciler.core.xmltree import Element, children_of, parse
from reconciler.kinds.machine.domain import layout

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
        for path in feature.parts
        for element in devices.findall(path)
        if is_display(element)
    ]
    kept = [display for display in former if field == "graphics" and display.get("type") == value]
    kept = kept[:1]
    place = _place_before(former)
    for element in former:
        if element not in kept:
            layout.remove(element)
    if field == "graphics":
        _drop_unserved(devices, value)
    if is_wanted(field, value) and not kept:
        _put(devices, place, make_feature(field, value))


def make_feature(field: str, value: Value) -> Sequence[Element]:
    """Return the elements of a new one."""
    text = FEATURES[field].xml.format(value)
    return children_of(parse(f"<devices>{text}</devices>", is_ours=True))


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
