"""What one row of the effect table changes, looked at: in a machine read from XML, and in the guest.

In one guest many rows are at work, so each look is at one device and at nothing else: a disk is
known by its size, an interface by its MAC.
"""

from __future__ import annotations

from typing import Any, Callable

from reconciler.core.machine import Machine
from reconciler.kinds.machine.match import by_name
from tests.lab.guest import Guest

Read = Callable[[Machine], Any]
Look = Callable[[Guest], Any]


def disk(name: str, attribute: str) -> Read:
    """Read one field of a disk."""
    return lambda machine: getattr(by_name(machine.disks, name), attribute, None)


def cdrom(name: str, attribute: str) -> Read:
    """Read one field of a drive."""
    return lambda machine: getattr(by_name(machine.cdroms, name), attribute, None)


def interface(name: str, attribute: str) -> Read:
    """Read one field of an interface."""
    return lambda machine: getattr(by_name(machine.interfaces, name), attribute, None)


def disk_seen(size: int, attribute: str = "bus") -> Look:
    """Look at the guest's disk of that size, which may not be there."""
    return lambda guest: guest.disk(size).get(attribute)


def drives_seen(bus: str) -> Look:
    """Count the guest's CD-ROM drives on that bus."""
    return lambda guest: [one["bus"] for one in guest.drives()].count(bus)


def card_seen(mac: str) -> Look:
    """Return the driver of the guest's interface with that MAC, which may not be there."""
    return lambda guest: guest.drivers().get(mac)


def link_seen(mac: str) -> Look:
    """Whether the guest's interface has a link."""
    return lambda guest: guest.carrier(mac)


def processors(guest: Guest) -> int:
    """Count the processors that the guest has."""
    return guest.processors()


def media_bytes(guest: Guest) -> int:
    """Return what the guest can read of the media in all its drives."""
    return guest.media_size()


def memory_in(step: int) -> Look:
    """Return the guest's memory, in steps of so many KiB."""
    return lambda guest: guest.memory_kib() // step
