"""Device XML for a running guest: what libvirt's attach, update and detach want to be given.

libvirt updates and detaches by a whole device element as it stands in the running configuration,
so these start from that; only an attached device is built anew.
"""

from __future__ import annotations

from typing import Collection, Iterable

from reconciler.core.diff import Device, Difference, Kind
from reconciler.core.domain.build import build_device, place_device
from reconciler.core.domain.devices import change_device
from reconciler.core.domain.find import find_device
from reconciler.core.domain.layout import ensure, remove_children
from reconciler.core.xmltree import copy_of, fragment, indent, parse, serialise


def device_xml(item: Device, *configurations: str) -> str:
    """Return a new device for attaching; its target is free in every given domain XML.

    Without its boot number: it means nothing until the next start, and libvirt refuses one that
    does not go with those of the running devices.
    """
    element = build_device(place_device(item, *(parse(one) for one in configurations)))
    remove_children(element, "boot")
    indent(element, 0)
    return fragment(element)


def live_device(xml: str, difference: Difference, *more: Difference) -> str:
    """Return the whole element of the device, with the changes applied; unchanged for a removal."""
    root = parse(xml)
    element = find_device(root, difference)
    for one in (difference, *more):
        if one.kind is Kind.CHANGE:
            change_device(root, element, one)
    return fragment(copy_of(element))


def plug(xml: str, plugged: Iterable[str], unplugged: Collection[str]) -> str:
    """Return the running configuration with devices plugged in, and without those unplugged."""
    root = parse(xml)
    devices = ensure(root, "devices")
    for one in [one for one in devices if fragment(copy_of(one)) in unplugged]:
        devices.remove(one)
    devices.extend(parse(one) for one in plugged)
    return serialise(root)
