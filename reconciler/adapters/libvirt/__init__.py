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

__all__ = ["Host", "LibvirtDomains", "LibvirtNetworks", "LibvirtStorage", "attend", "connect"]


@dataclass(frozen=True)
class Host:
    """One libvirt host; each driver is reached when it is first used."""

    domains: LibvirtDomains
    storage: LibvirtStorage
    networks: LibvirtNetworks


def connect(uri: Optional[str]) -> Host:
    """Return the host at that URI; None is what libvirt's own tools would use.

    Nothing is opened yet: that libvirt cannot be reached is told by the first call that needs it.
    """
    return _host(Connections(uri))


def attend(uri: Optional[str]) -> Tuple[Host, LibvirtEvents]:
    """Return the host at that URI with its news; libvirt's event loop runs from now on."""
    run_event_loop()
    connections = Connections(uri)
    return _host(connections), LibvirtEvents(connections)


def _host(connections: Connections) -> Host:
    return Host(
        LibvirtDomains(connections), LibvirtStorage(connections), LibvirtNetworks(connections)
    )
