"""Which socket a client goes to, and what `ss` and cgroups say of who is there."""

from __future__ import annotations

from typing import FrozenSet

import pytest

from reconciler.adapters.units import find_unit, find_user
from reconciler.core.libvirt_daemons import find_socket, find_uri
from reconciler.errors import TerminalError

DIRECT, LEGACY = "/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"
BOTH = frozenset({DIRECT, LEGACY})


@pytest.mark.parametrize(
    ("uri", "files", "path"),
    [
        pytest.param("qemu:///system", BOTH, DIRECT, id="modular first"),
        pytest.param("qemu:///system", {LEGACY}, LEGACY, id="then legacy"),
        pytest.param("qemu:///system", set(), DIRECT, id="neither is there"),
        pytest.param("qemu:///system?mode=legacy", BOTH, LEGACY, id="legacy asked for"),
        pytest.param("qemu:///system?mode=direct", {LEGACY}, DIRECT, id="direct asked for"),
        pytest.param("qemu+unix:///system", BOTH, DIRECT, id="by name of the transport"),
        pytest.param("network:///system", set(), "/run/libvirt/virtnetworkd-sock", id="a driver"),
        pytest.param(
            "qemu+unix:///system?socket=/var/run/libvirt/libvirt-sock", BOTH, LEGACY, id="given"
        ),
    ],
)
def test_the_socket_is_chosen_as_libvirt_does(uri: str, files: FrozenSet[str], path: str) -> None:
    assert find_socket(uri, files.__contains__) == path


@pytest.mark.parametrize(
    "uri",
    ["qemu+ssh://kvm02/system", "qemu+tls://kvm02/system", "qemu:///session", "test:///default"],
)
def test_what_is_no_daemon_of_this_host_is_unknown(uri: str) -> None:
    with pytest.raises(TerminalError):
        find_socket(uri, BOTH.__contains__)


def test_the_uri_is_the_given_one_then_the_environments_then_the_configured_one() -> None:
    assert find_uri("a:///", "b:///", "c:///", is_root=True) == "a:///"
    assert find_uri(None, "b:///", "c:///", is_root=True) == "b:///"
    assert find_uri(None, None, "c:///", is_root=True) == "c:///"
    assert find_uri(None, "", None, is_root=True) == "qemu:///system"
    assert find_uri(None, None, None, is_root=False) == "qemu:///session"


# As iproute2 6.1 prints it: netid, state, queues, path, inode, peer's path and inode, processes.
ROWS = """\
u_str ESTAB 0      0                                 * 2843116 * 2843117 users:(("python3",pid=102,fd=3))
u_str ESTAB 0      0         /run/libvirt/libvirt-sock 2843117 * 2843116 users:(("libvirtd",pid=72,fd=16))
u_str ESTAB 0      0                       /run/a sock 31 * 30 users:(("systemd",pid=1,fd=9),("d",pid=4,fd=3))
u_str ESTAB 0      0                       /run/waiting 41 * 40
"""


@pytest.mark.parametrize(
    ("inode", "user"),
    [
        pytest.param(2843116, ("libvirtd", 72), id="the other end"),
        pytest.param(30, ("d", 4), id="not systemd, which only holds the socket"),
        pytest.param(40, None, id="accepted by nobody yet, or not ours to see"),
        pytest.param(50, None, id="not listed"),
    ],
)
def test_the_other_end_is_found_by_its_inode(inode: int, user: object) -> None:
    assert find_user(ROWS, inode) == user


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        pytest.param("0::/system.slice/virtqemud.service\n", "virtqemud.service", id="cgroup 2"),
        pytest.param(
            "9:name=systemd:/system.slice/libvirtd.service\n8:pids:/\n0::/\n",
            "libvirtd.service",
            id="cgroup 1",
        ),
        pytest.param(
            "0::/system.slice/libvirtd.service/main.scope\n", "libvirtd.service", id="outermost"
        ),
        pytest.param("0::/user.slice\n", "", id="of no unit"),
    ],
)
def test_a_process_is_of_the_unit_of_its_cgroup(cgroups: str, unit: str) -> None:
    assert find_unit(cgroups) == unit
