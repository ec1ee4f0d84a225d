"""`console` and `ssh`: what they say where they cannot, and what ssh is called with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, List, Mapping, Sequence

import pytest

from reconciler.cli.services import Services
from reconciler.core.access import (
    describe_closed_console,
    find_first_user,
    find_shared_address,
    require_console,
)
from reconciler.core.guest import AddressSource, AgentState, GuestInterface, GuestReport
from reconciler.core.world import DomainView, GuestState
from reconciler.errors import MissingError, TerminalError

from .fakes import FakeServices, applied, call, manifests

XML = "<domain><devices>{}</devices></domain>"
PTY = XML.format("<console type='pty'/>")


def view(live: str, stored: str = "", state: GuestState = GuestState.RUNNING) -> DomainView:
    """Return a running domain."""
    return DomainView("my vm", "6b1b", state, stored or live, live_xml=live)


def test_a_console_needs_a_terminal() -> None:
    result = call(applied(vm1={"console": True, "power": "running"}), "console", "vm1")
    assert result.status == 64
    assert "console needs a terminal" in result.err


def test_a_guest_that_is_off_has_no_console() -> None:
    result = call(applied(vm1={"console": True}), "console", "vm1", answers="")
    assert result.status == 1
    assert result.err.endswith("vm1: is off, so it has no console; start it and see it boot: "
                               "virsh start vm1 --console\n")  # fmt: skip


def test_a_guest_without_a_serial_port_is_told_the_field_of_the_manifest() -> None:
    services = applied(vm1={"console": False, "power": "running"})
    result = call(services, "console", "vm1", answers="")
    assert result.status == 1
    assert "write `console: true` in its manifest" in result.err


def test_a_machine_that_is_not_there_has_no_console() -> None:
    result = call(FakeServices(manifests()), "console", "vm9", answers="")
    assert result.status == 1
    assert "domain vm9" in result.err


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ("<console type='tcp'/>", "is of type 'tcp'"),
        ("<serial type='file'/>", "is of type 'file'"),
        ("", "has no serial console"),
    ],
)
def test_what_libvirt_cannot_connect_to_is_refused(devices: str, words: str) -> None:
    with pytest.raises(TerminalError, match=words):
        require_console(view(XML.format(devices)))


def test_a_console_that_waits_for_the_next_start_is_said_to() -> None:
    with pytest.raises(Exception, match=r"from its next start on.*virsh shutdown 'my vm'"):
        require_console(view(XML.format(""), PTY))


def test_a_paused_guest_does_not_answer() -> None:
    assert require_console(view(PTY)) == ""
    assert require_console(view(PTY, state=GuestState.PAUSED)).endswith("virsh resume 'my vm'")


def test_why_a_console_was_closed_is_said() -> None:
    off = DomainView("vm1", "6b1b", GuestState.OFF, PTY)
    assert describe_closed_console(off) == "vm1 is off"
    assert "--force" in describe_closed_console(view(PTY))


LAN, DMZ = "52:54:00:00:00:01", "52:54:00:00:00:02"
SPEC: Mapping[str, Any] = {
    "power": "running",
    "guestAgent": True,
    "interfaces": [
        {"name": "lan", "network": "default", "mac": LAN},
        {"name": "dmz", "network": "default", "mac": DMZ},
    ],
    "cloudInit": {"users": [{"name": "deploy"}, {"name": "other"}]},
}


class SshServices(FakeServices):
    """Services that remember which program the command became."""

    became: List[str]

    def become(self, words: Sequence[str], packages: str) -> int:
        """Remember it."""
        del packages
        self.became = list(words)
        return 0


def reached(*cards: GuestInterface, uri: str = "qemu:///system", **spec: Any) -> SshServices:
    """Return services with a running machine whose guest has these interfaces."""
    services = SshServices(manifests(vm1={**SPEC, **spec}))
    assert call(services, "apply", "--yes", "p").status == 0
    services.host.snapshot = replace(services.host.snapshot, uri=uri)
    services.host.domains._snapshot = services.host.snapshot
    services.host.guests.reports["vm1"] = GuestReport(AgentState.ANSWERS, interfaces=cards)
    return services


@pytest.mark.parametrize(
    ("cards", "address"),
    [
        ([GuestInterface(LAN, addresses=("192.0.2.5/24",))], "192.0.2.5"),
        ([GuestInterface(LAN, addresses=("2001:db8::5/64", "192.0.2.5/24"))], "192.0.2.5"),
        ([GuestInterface(LAN, addresses=("fe80::5/64", "2001:db8::5/64"))], "2001:db8::5"),
        (
            [GuestInterface(DMZ, addresses=("192.0.2.9/24",)), GuestInterface(LAN, addresses=("192.0.2.5/24",))],
            "192.0.2.5",
        ),
        (
            [
                GuestInterface(LAN, addresses=("192.0.2.5/24",)),
                GuestInterface(DMZ, addresses=("198.51.100.5/24",), source=AddressSource.LEASE),
            ],
            "198.51.100.5",
        ),
    ],
    ids=["agent", "ipv4-first", "no-link-local", "first-interface", "lease-first"],
)  # fmt: skip
def test_ssh_takes_the_address_that_is_reached_best(
    cards: List[GuestInterface], address: str
) -> None:
    services = reached(*cards)
    assert call(services, "ssh", "vm1").status == 0
    assert f"HostName={address}" in services.became


CARD = GuestInterface(LAN, addresses=("192.0.2.5/24",))


def test_ssh_logs_in_as_the_first_user_of_the_manifest_and_passes_arguments_on() -> None:
    services = reached(CARD)
    call(services, "ssh", "vm1", "--", "-A", "uptime", "-p")
    assert services.became == [
        "ssh", "-o", "HostName=192.0.2.5", "-o", "HostKeyAlias=vm1", "-l", "deploy",
        "vm1", "-A", "uptime", "-p",
    ]  # fmt: skip
    call(services, "ssh", "-l", "admin", "vm1")
    assert services.became[-3:] == ["-l", "admin", "vm1"]


@pytest.mark.parametrize(
    ("cloud_init", "user"),
    [
        ({"userData": {"users": [{"name": "root2"}]}, "users": [{"name": "deploy"}]}, "root2"),
        ({"userData": {"users": ["default"]}, "users": [{"name": "deploy"}]}, ""),
        ({"userData": {"packages": []}, "users": [{"name": "deploy"}]}, "deploy"),
        ({"hostname": "vm1"}, ""),
    ],
)
def test_the_first_user_is_the_one_that_cloud_init_makes(cloud_init: Any, user: str) -> None:
    assert find_first_user(json.dumps({"cloudInit": cloud_init})) == user


def test_ssh_goes_through_the_host_that_libvirt_is_reached_at_by_ssh() -> None:
    services = reached(CARD, uri="qemu+ssh://root@kvm1:2222/system")
    call(services, "ssh", "vm1")
    assert "ProxyJump=root@kvm1:2222" in services.became
    result = call(services, "ssh", "--direct", "vm1")
    assert (result.err, "ProxyJump" in str(services.became)) == ("", False)


def test_ssh_says_how_to_go_through_a_host_that_is_reached_otherwise() -> None:
    services = reached(CARD, uri="qemu+tls://kvm1/system")
    result = call(services, "ssh", "vm1")
    assert "ProxyJump" not in str(services.became)
    assert "virt-reconciler ssh vm1 -- -J kvm1" in result.err


def test_ssh_without_an_address_says_what_was_tried() -> None:
    services = reached(GuestInterface(LAN, addresses=("fe80::5/64",)))
    result = call(services, "ssh", "vm1")
    assert result.status == 1
    for words in ("no address is known", "DHCP lease", "only fe80::5/64", "console vm1"):
        assert words in result.err


def test_ssh_to_a_guest_that_is_off_says_how_to_start_it() -> None:
    result = call(applied(vm1={}), "ssh", "vm1")
    assert (result.status, "virsh start vm1" in result.err) == (1, True)


def test_a_program_that_is_not_there_is_named_with_its_package() -> None:
    with pytest.raises(MissingError, match="no-such-ssh is not installed: dnf install x"):
        Services("test", {"PATH": "/nowhere"}).become(["no-such-ssh"], "dnf install x")


def test_the_address_that_two_guests_share_comes_before_others() -> None:
    card = "<interface><mac address='52:54:00:00:00:0{}'/></interface>"
    live = XML.format(card.format(1) + card.format(2))
    served = GuestReport(
        AgentState.ANSWERS,
        interfaces=(
            GuestInterface("52:54:00:00:00:01", addresses=("192.0.2.7/24",)),
            GuestInterface("52:54:00:00:00:02", addresses=("10.1.0.7/16",)),
        ),
    )
    client = GuestReport(interfaces=(GuestInterface("52:54:00:00:00:09", "", ("10.1.3.1/16",)),))
    assert find_shared_address(view(live), served, client) == "10.1.0.7"
    assert find_shared_address(view(live), served, GuestReport()) == "192.0.2.7"
