"""Say in a few words what a device is, for a plan's line. Pure; colour and layout are elsewhere."""

from __future__ import annotations

from typing import Iterable, Optional, Tuple

from reconciler.core.diff import Device
from reconciler.core.model import Cdrom, Disk, Interface
from reconciler.core.units import format_size


def describe_device(device: Device, about: str = "") -> str:
    """Return like `virtio 60GiB, linked clone of template win2016 as default/vm-root.qcow2`."""
    words = [one for one in _words(device) if one]
    return ", ".join(one for one in (" ".join(words), about) if one)


def _words(device: Device) -> Iterable[Optional[str]]:
    if isinstance(device, Disk):
        return (device.bus, format_size(device.size) if device.size else None)
    if isinstance(device, Cdrom):
        return (device.bus, device.media or "empty")
    return (
        *_source(device),
        device.model,
        device.mac,
        (device.link == "down" and "link down") or None,
    )


def _source(device: Interface) -> Tuple[Optional[str], ...]:
    if device.bridge:
        return ("bridge", device.bridge)
    return ("network", device.network) if device.network else (device.uplink,)
