"""What one row of the effect table promises, as data, and the machine that all of them change.

`read` looks at a machine read from XML, `seen` into the running guest; both are compared before
and after. A row that the guest cannot see (a cache mode) is judged by its XML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from reconciler.core.machine import Cpus, Disk, Interface, Machine, Memory, Power
from reconciler.core.plan import Effect
from tests.real.changes import Change
from tests.real.looks import Look, Read
from tests.real.worlds import MIB

# One processor and no balloon, as without KVM each takes seconds of a boot.
CPUS = Cpus(1, 4)
BASE = Machine(
    "guest",
    os="rocky9",
    power=Power.RUNNING,
    autostart=False,
    cpus=CPUS,
    memory=Memory(256 * MIB),
    disks=(Disk("root", "virtio", 64 * MIB),),
    cdroms=(),
    interfaces=(),
)


@dataclass(frozen=True)
class Scenario:
    """What one row of the table promises, on a running guest: one change, and two looks at it."""

    row: str
    path: str
    effect: Effect
    before: Change
    after: Change
    read: Read
    seen: Optional[Look] = None


def extra(name: str, bus: str, size: int) -> Disk:
    """Return a disk that the guest knows by its size in MiB."""
    return Disk(name, bus, size * MIB)


def card(name: str, network: str = "default", model: str = "virtio", link: Optional[str] = None) -> Interface:  # fmt: skip
    """Return an interface that the guest knows by its MAC, which is made of the name."""
    return Interface(name, network, model=model, mac=mac_of(name), link=link)


def mac_of(name: str) -> str:
    """Return the MAC of `card`."""
    return "52:54:00:" + ":".join(f"{ord(one):02x}" for one in name[:3])
