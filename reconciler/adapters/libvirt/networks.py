"""The network driver: which networks there are. Implements `ports.Networks`; changes nothing."""

from __future__ import annotations

from typing import FrozenSet, Mapping, Optional

from reconciler.adapters.libvirt import binding, own_view
from reconciler.adapters.libvirt.connections import NETWORK, Connections
from reconciler.errors import ReconcilerError


class LibvirtNetworks:
    """Networks through libvirt's network driver."""

    def __init__(self, connections: Connections) -> None:
        """Keep the connections; nothing is opened yet."""
        self._connections = connections

    def list_networks(self) -> Mapping[str, bool]:
        """Names of all networks, and whether each is active."""
        connection = self._connections.get(NETWORK)
        with binding.calling("listing the networks"):
            names = sorted(one.name() for one in connection.listAllNetworks())
            flag = binding.LIST_ACTIVE_NETWORKS
            active = {one.name() for one in connection.listAllNetworks(flag)}
        return {name: name in active for name in names}

    def list_devices(self) -> Optional[FrozenSet[str]]:
        """Names of the host's network devices, the bridges among them; None if not known.

        Over a remote URI libvirt's interface driver is asked, where there is one.
        """
        if self._connections.is_local:
            return own_view.list_devices(own_view.find_daemon(self._connections.uri))
        try:
            return frozenset(one.name() for one in self._connections.get().listAllInterfaces())
        except (binding.Error, ReconcilerError):
            return None
