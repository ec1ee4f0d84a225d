"""What a host knows of a guest without it: addresses of leases and ARP, and its agent's channel."""

from __future__ import annotations

from typing import FrozenSet, Mapping, Tuple

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.objects import Domain
from reconciler.core.field_table import GUEST_AGENT_CHANNEL
from reconciler.core.guest import AddressSource, AgentState, GuestInterface
from reconciler.core.xmltree import Element

PATIENCE = 2.0  # seconds that a plan waits for the first answer of an agent
SILENT = f"the guest agent did not answer within {PATIENCE:.0f} s"


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


def find_channel(root: Element) -> AgentState:
    """Return whether there is a channel for the agent, and whether the guest has opened it."""
    targets = root.iterfind("devices/channel/target")
    states = [
        target.get("state") for target in targets if target.get("name") == GUEST_AGENT_CHANNEL
    ]
    if not states:
        return AgentState.NONE
    return AgentState.ANSWERS if "connected" in states else AgentState.DISCONNECTED


def await_answer(domain: Domain) -> None:
    """Wait until the agent answers, at most for a short time. Raises AgentSilentError.

    libvirt waits for 5 s by itself for an agent that was silent before, and for 30 s where another
    call waits for it. So a thread asks, which ends with that call, whoever waits for it no more.
    """
    from reconciler.adapters.libvirt.clones import run_watched  # noqa: PLC0415 - start-up time

    until = SYSTEM_CLOCK.now() + PATIENCE

    def look() -> None:
        if SYSTEM_CLOCK.now() >= until:
            raise binding.AgentSilentError(SILENT)

    try:
        run_watched(lambda: binding.ask_agent(domain, "guest-ping"), look)
    except binding.AgentRefusedError:
        return  # that is an answer
