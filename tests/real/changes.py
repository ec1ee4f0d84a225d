"""Changes of a wanted machine that can be put one on another, so that one guest carries several."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Mapping, Tuple, Type, Union

from reconciler.core.machine import Cdrom, Disk, Interface, Machine

Device = Union[Disk, Cdrom, Interface]
Change = Callable[[Machine], Machine]
LISTS: Mapping[Type[Device], str] = {Disk: "disks", Cdrom: "cdroms", Interface: "interfaces"}


def nothing(machine: Machine) -> Machine:
    """Change nothing."""
    return machine


def put(**fields: Any) -> Change:
    """Give the machine other fields."""
    return lambda machine: replace(machine, **fields)


def plug(*devices: Device) -> Change:
    """Give the machine more devices, each in the place of the one that has its name."""

    def change(machine: Machine) -> Machine:
        for device in devices:
            machine = _with(machine, device)
        return machine

    return change


def unplug(kind: Type[Device], name: str) -> Change:
    """Take a device away."""

    def change(machine: Machine) -> Machine:
        left = tuple(one for one in getattr(machine, LISTS[kind]) if one.name != name)
        return put(**{LISTS[kind]: left})(machine)

    return change


def alter(kind: Type[Device], name: str, **fields: Any) -> Change:
    """Give a device other fields."""

    def change(machine: Machine) -> Machine:
        [device] = [one for one in getattr(machine, LISTS[kind]) if one.name == name]
        return _with(machine, replace(device, **fields))

    return change


def _with(machine: Machine, device: Device) -> Machine:
    listing = LISTS[type(device)]
    there: Tuple[Device, ...] = getattr(machine, listing)
    devices = {**{one.name: one for one in there}, device.name: device}
    return put(**{listing: tuple(devices.values())})(machine)
