"""The network driver: which networks there are. Implements `ports.Networks`; changes nothing."""

from __future__ import annotations

from typing import Mapping

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import NETWORK, Connections


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
