"""How a person gets at a running guest: by its serial console, or by ssh. Pure."""

from __future__ import annotations

import ipaddress
import json
import shlex
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from reconciler.core.frozen import regex
from reconciler.core.guest import AddressSource, AgentState, GuestReport, is_link_local
from reconciler.core.world import DomainView, GuestState
from reconciler.core.xmltree import parse
from reconciler.errors import TerminalError, TransientError


class ConsoleFiles(NamedTuple):
    """File descriptors of a terminal in raw mode; as soon as `stop` can be read, it is the end."""

    keyboard: int
    screen: int
    stop: int


# What libvirt can connect a client to (qemuDomainOpenConsole).
_OPEN_TYPES = ("pty", "unix")


def require_console(view: DomainView) -> str:
    """Return the note about a console that can be opened; empty if there is nothing to say.

    Raises TransientError if the guest is off, TerminalError if it has no console to connect to.
    """
    name = shlex.quote(view.name)
    if view.live_xml is None:
        raise TransientError(
            f"{view.name}: is off, so it has no console; start it and see it boot: "
            f"virsh start {name} --console"
        )
    kinds = _find_consoles(view.live_xml)
    if not kinds and view.persistent and _find_consoles(view.persistent_xml):
        raise TransientError(
            f"{view.name}: has a serial console from its next start on; shut it down and start it: "
            f"virsh shutdown {name}, then virsh start {name} --console"
        )
    if not kinds:
        raise TerminalError(
            f"{view.name}: has no serial console; write `console: true` in its manifest and run "
            "`virt-reconciler apply`; it takes effect at the next start"
        )
    if kinds[0] not in _OPEN_TYPES:
        raise TerminalError(
            f"{view.name}: its serial console is of type {kinds[0]!r}, and libvirt connects "
            f"only to {' and '.join(_OPEN_TYPES)}; change it: virsh edit {name}"
        )
    if view.state is GuestState.PAUSED:
        return f"{view.name} is paused, so its console does not answer: virsh resume {name}"
    return ""


def describe_busy_console(name: str) -> str:
    """Say that someone else has the console open, and how to disconnect them."""
    return (
        f"{name}: someone else has its console open; close it there, or disconnect them: "
        f"virt-reconciler console --force {shlex.quote(name)}"
    )


def describe_closed_console(view: DomainView) -> str:
    """Say why a console was closed that the person did not end."""
    if view.live_xml is None:
        return f"{view.name} is off"
    return (
        f"the console of {view.name} was closed: someone else opened it with --force, or libvirt "
        "was restarted"
    )


def _find_consoles(xml: str) -> Tuple[str, ...]:
    """Return the types of the domain's consoles, else of its serial ports; the first is opened."""
    devices = parse(xml).find("devices")
    if devices is None:
        return ()
    for tag in ("console", "serial"):
        found = tuple(element.get("type", "") for element in devices.iterchildren(tag))
        if found:
            return found
    return ()


# An address that libvirt's own DHCP server gave is one that the host reaches.
_RANKS = (AddressSource.LEASE, AddressSource.AGENT, AddressSource.ARP)
_SSH_TRANSPORTS = frozenset({"ssh", "libssh", "libssh2"})
_PLAIN_NAME = regex(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_AGENT = {
    AgentState.NONE: "the domain has no channel for the guest agent",
    AgentState.DISCONNECTED: "the guest agent is not connected",
    AgentState.SILENT: "the guest agent does not answer",
    AgentState.BUSY: "the guest agent is used by another program",
    AgentState.ANSWERS: "the guest agent reports none",
}


class RemoteHost(NamedTuple):
    """The host of a remote URI. `jump` is how ssh names it, if ssh reaches it."""

    name: str
    jump: str = ""


def find_remote_host(uri: str) -> Optional[RemoteHost]:
    """Return the host that a URI names; None if it is this one."""
    parts = urlsplit(uri)
    if not parts.hostname:
        return None
    transport = parts.scheme.partition("+")[2]
    if transport not in _SSH_TRANSPORTS:
        return RemoteHost(parts.hostname)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return RemoteHost(parts.hostname, f"{user}{host}{port}")


def find_address(view: DomainView, report: GuestReport) -> str:
    """Return the address to reach a guest at.

    A lease of libvirt's comes first, then what the agent names; IPv4 before IPv6, and the first
    interface of the domain. Raises TransientError, which says what was tried.
    """
    name = shlex.quote(view.name)
    if view.live_xml is None:
        raise TransientError(f"{view.name}: is off; start it: virsh start {name}")
    addresses = sorted(_rank_addresses(view.live_xml, report))
    if addresses:
        return addresses[0][-1]
    seen = [address for card in report.interfaces for address in card.addresses]
    only = f"; it has only {', '.join(seen)}" if seen else ""
    raise TransientError(
        f"{view.name}: no address is known: {_NO_AGENT.get(report.agent, 'no agent')}, and neither "
        f"a DHCP lease of a libvirt network nor the host's ARP table names one{only}. See "
        f"whether it has booted: virt-reconciler console {name}; ask again: virsh domifaddr {name} "
        "--source lease"
    )


def _rank_addresses(live_xml: str, report: GuestReport) -> Iterator[Tuple[int, int, int, str]]:
    macs = [card.get("address", "") for card in parse(live_xml).iterfind("devices/interface/mac")]
    for card in report.interfaces:
        place = macs.index(card.mac) if card.mac in macs else len(macs)
        for address in card.addresses:
            found = ipaddress.ip_interface(address).ip
            if not (found.is_loopback or is_link_local(str(found))):
                yield _RANKS.index(card.source), found.version, place, str(found)


def find_shared_address(view: DomainView, report: GuestReport, other: GuestReport) -> str:
    """Return the address of a guest that is in a network of the other guest's; else any of it."""
    networks = [
        ipaddress.ip_interface(address).network
        for card in other.interfaces
        for address in card.addresses
        if not is_link_local(address)
    ]
    ranked = sorted(_rank_addresses(view.live_xml or "<domain/>", report))
    shared = (
        rank[-1]
        for rank in ranked
        if any(ipaddress.ip_address(rank[-1]) in network for network in networks)
    )
    return next(shared, "") or find_address(view, report)


def find_first_user(spec: str) -> str:
    """Return the first user of `cloudInit` in a manifest's spec; empty if it names none."""
    try:
        cloud_init: Any = json.loads(spec)["cloudInit"]
    except (ValueError, KeyError, TypeError):
        return ""
    data = cloud_init.get("userData")
    is_replaced = isinstance(data, dict) and "users" in data
    users = data["users"] if is_replaced else cloud_init.get("users")
    first = users[0] if isinstance(users, list) and users else None
    return str(first.get("name", "")) if isinstance(first, dict) else ""


def write_ssh(name: str, address: str, user: str, jump: str, arguments: Sequence[str]) -> List[str]:
    """Return the command line of ssh.

    By the machine's name ssh finds what ~/.ssh/config says of it, and its host key: an address
    that another machine had before is no reason to doubt it.
    """
    options = ["-o", f"ProxyJump={jump}"] if jump else []
    options += ["-l", user] if user else []
    if not _PLAIN_NAME.fullmatch(name):
        return ["ssh", *options, address, *arguments]
    alias = ["-o", f"HostName={address}", "-o", f"HostKeyAlias={name}"]
    return ["ssh", *alias, *options, name, *arguments]
