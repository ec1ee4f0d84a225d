"""libvirt: domains, storage and networks of one host, behind the ports of `control`."""

from __future__ import annotations

from typing import TYPE_CHECKING, FrozenSet, Mapping, Optional, Tuple

from reconciler.adapters.libvirt import binding, own_view
from reconciler.adapters.libvirt.connections import NETWORK, Connections
from reconciler.adapters.libvirt.domains import LibvirtDomains
from reconciler.adapters.libvirt.storage import LibvirtStorage
from reconciler.control.ports import Locks, NoLocks, NoUnits, Units
from reconciler.core.frozen import frozen
from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.connections import LibvirtEvents


class LibvirtNetworks:
    """Networks through libvirt's network driver."""

    def __init__(self, connections: Connections) -> None:
        """Keep the connections; nothing is opened yet."""
        self._connections = connections

    def list_networks(self) -> Mapping[str, bool]:
        """Names of all networks, and whether each is active."""
        connection = self._connections.get(NETWORK)
        with binding.calling("listing the networks"):
            names = sorted(network.name() for network in connection.listAllNetworks())
            flag = binding.LIST_ACTIVE_NETWORKS
            active = {network.name() for network in connection.listAllNetworks(flag)}
        return {name: name in active for name in names}

    def list_devices(self) -> Optional[FrozenSet[str]]:
        """Names of the host's network devices, the bridges among them; None if not known.

        Over a remote URI libvirt's interface driver is asked, where there is one.
        """
        if self._connections.is_local:
            return own_view.list_devices(own_view.find_daemon(self._connections.uri))
        try:
            return frozenset(
                interface.name() for interface in self._connections.get().listAllInterfaces()
            )
        except (binding.Error, ReconcilerError):
            return None


NO_UNITS = NoUnits()
NO_LOCKS = NoLocks()


@frozen
class LibvirtHost:
    """One libvirt host; each driver is reached when it is first used."""

    domains: LibvirtDomains
    storage: LibvirtStorage
    networks: LibvirtNetworks
    units: Units
    locks: Locks = NO_LOCKS


def connect(uri: Optional[str], units: Units = NO_UNITS, locks: Locks = NO_LOCKS) -> LibvirtHost:
    """Return the host at that URI; None is what libvirt's own tools would use.

    `units` are its daemons, where somebody can see them; `locks` keep two runs from working on one
    object. Nothing is opened yet: that libvirt cannot
    be reached is told by the first call that needs it.
    """
    return _host(Connections(uri), units, locks)


def attend(
    uri: Optional[str], units: Units = NO_UNITS, locks: Locks = NO_LOCKS
) -> Tuple[LibvirtHost, LibvirtEvents]:
    """Return the host at that URI with its news; libvirt's event loop runs from now on."""
    from reconciler.adapters.libvirt.connections import (  # noqa: PLC0415 - start-up time
        LibvirtEvents,
        run_event_loop,
    )

    run_event_loop()
    connections = Connections(uri)
    return _host(connections, units, locks), LibvirtEvents(connections)


def _host(connections: Connections, units: Units, locks: Locks) -> LibvirtHost:
    return LibvirtHost(
        LibvirtDomains(connections),
        LibvirtStorage(connections),
        LibvirtNetworks(connections),
        units,
        locks,
    )
