"""The addresses of a guest that its host knows: of leases, and of the ARP table."""

from __future__ import annotations

from typing import FrozenSet, Mapping, Tuple

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.objects import Domain
from reconciler.core.guest import AddressSource, GuestInterface
from reconciler.core.xmltree import Element


def find_macs(root: Element) -> FrozenSet[str]:
    """Return the MACs of a domain's interfaces."""
    cards = root.iterfind("devices/interface/mac")
    return frozenset(card.get("address", "").lower() for card in cards)


def add_addresses(
    domain: Domain, macs: FrozenSet[str], interfaces: Tuple[GuestInterface, ...]
) -> Tuple[GuestInterface, ...]:
    """Return the interfaces with what the host knows of those that have no address."""
    found = list(interfaces)
    for flag, source in (
        (binding.ADDRESSES_LEASE, AddressSource.LEASE),
        (binding.ADDRESSES_ARP, AddressSource.ARP),
    ):
        missing = macs - {interface.mac for interface in found if interface.addresses}
        if not missing:
            break
        for mac, addresses in _read_host_addresses(domain, flag).items():
            if mac in missing and addresses:
                former = next((each for each in found if each.mac == mac), None)
                if former is not None:
                    found.remove(former)
                name = former.name if former else ""
                found.append(GuestInterface(mac, name, addresses, source))
    return tuple(sorted(found, key=lambda interface: (interface.name, interface.mac)))


def _read_host_addresses(domain: Domain, source: int) -> Mapping[str, Tuple[str, ...]]:
    """Return MAC → addresses as the host knows them; nothing where libvirt cannot tell."""
    try:
        answer = domain.interfaceAddresses(source)
    except binding.Error:
        return {}
    return {
        str(card.get("hwaddr") or "").lower(): tuple(
            sorted(
                f"{address['addr']}/{address['prefix']}"
                for address in card.get("addrs") or ()
                if address.get("addr")
            )
        )
        for card in answer.values()
    }
