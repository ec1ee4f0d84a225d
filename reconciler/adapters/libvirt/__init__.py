"""libvirt: domains, storage and networks of one host, behind the ports of `control`.

No policy lives here: what to do is the plan's, and it was decided before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.domains import LibvirtDomains
from reconciler.adapters.libvirt.events import LibvirtEvents, run_event_loop
from reconciler.adapters.libvirt.networks import LibvirtNetworks
from reconciler.adapters.libvirt.storage import LibvirtStorage
from reconciler.control.ports.locks import Locks, NoLocks
from reconciler.control.ports.units import NoUnits, Units

__all__ = ["Host", "LibvirtDomains", "LibvirtNetworks", "LibvirtStorage", "attend", "connect"]

NO_UNITS = NoUnits()
NO_LOCKS = NoLocks()


@dataclass(frozen=True)
class Host:
    """One libvirt host; each driver is reached when it is first used."""

    domains: LibvirtDomains
    storage: LibvirtStorage
    networks: LibvirtNetworks
    units: Units
    locks: Locks = NO_LOCKS


def connect(uri: Optional[str], units: Units = NO_UNITS, locks: Locks = NO_LOCKS) -> Host:
    """Return the host at that URI; None is what libvirt's own tools would use.

    `units` are its daemons, where somebody can see them; `locks` keep two runs from working on one
    object. Nothing is opened yet: that libvirt cannot
    be reached is told by the first call that needs it.
    """
    return _host(Connections(uri), units, locks)


def attend(
    uri: Optional[str], units: Units = NO_UNITS, locks: Locks = NO_LOCKS
) -> Tuple[Host, LibvirtEvents]:
    """Return the host at that URI with its news; libvirt's event loop runs from now on."""
    run_event_loop()
    connections = Connections(uri)
    return _host(connections, units, locks), LibvirtEvents(connections)


def _host(connections: Connections, units: Units, locks: Locks) -> Host:
    return Host(
        LibvirtDomains(connections),
        LibvirtStorage(connections),
        LibvirtNetworks(connections),
        units,
        locks,
    )
