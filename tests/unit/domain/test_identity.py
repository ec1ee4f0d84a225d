"""Derived names: pinned, because a change here would change machines that exist."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import guests
from reconciler.core.names import alias_of, derive_mac, name_of, volume_name
from reconciler.errors import TerminalError

MACS = {
    ("vm", "lan"): "52:54:00:2f:0a:f7",
    ("vm", "wan"): "52:54:00:5d:81:84",
}


@pytest.mark.parametrize(("machine", "interface"), MACS)
def test_a_mac_is_for_ever(machine: str, interface: str) -> None:
    assert derive_mac(machine, interface) == MACS[machine, interface]


@given(st.text(), st.text())
def test_a_mac_is_qemus_and_unicast(machine: str, interface: str) -> None:
    mac = derive_mac(machine, interface)
    assert mac.startswith("52:54:00:")
    assert len(mac.split(":")) == 6
    assert int(mac[:2], 16) & 3 == 2


def test_names_do_not_run_into_each_other() -> None:
    assert derive_mac("vm", "lan") != derive_mac("vml", "an")


VOLUMES = {
    ("vm", "root", "qcow2"): "vm-root.qcow2",
    ("vm", "root", "raw"): "vm-root.img",
    ("vm", "root", ""): "vm-root",
}


@pytest.mark.parametrize("case", VOLUMES)
def test_a_volume_is_named_after_machine_and_disk(case: tuple[str, str, str]) -> None:
    assert volume_name(*case) == VOLUMES[case]


@pytest.mark.parametrize("name", ["root", "Data-1", "a_b"])
def test_an_alias_carries_the_name(name: str) -> None:
    assert name_of(alias_of(name)) == name


@pytest.mark.parametrize("name", ["", "a b", "a.b", "ä", "a/b", "52:54:00:00:00:01"])
def test_a_name_that_libvirt_would_drop_is_refused(name: str) -> None:
    with pytest.raises(TerminalError, match="device name"):
        alias_of(name)


@pytest.mark.parametrize("alias", [None, "net0", "virtio-disk0", ""])
def test_libvirts_own_alias_is_no_name(alias: Optional[str]) -> None:
    assert name_of(alias) is None


WINDOWS = {
    "win2k16": True,
    "win11": True,
    "winxp": True,
    "win2k8r2": True,
    "winnt4.0": True,
    "WIN10": True,
    "rocky9": False,
    "windriver": False,
    "linux2022": False,
    "": False,
    None: False,
}


@pytest.mark.parametrize("os", WINDOWS)
def test_windows_is_known_by_its_short_id(os: Optional[str]) -> None:
    assert guests.is_windows(os) is WINDOWS[os]


FULL_IDS = {
    "win2k16": "http://microsoft.com/win/2k16",
    "win2k8r2": "http://microsoft.com/win/2k8r2",
    "win11": "http://microsoft.com/win/11",
    "rocky9": "http://rockylinux.org/rocky/9",
    "debian12": "http://debian.org/debian/12",
    "ubuntu22.04": "http://ubuntu.com/ubuntu/22.04",
    "rhel9.4": "http://redhat.com/rhel/9.4",
    "centos-stream9": "http://centos.org/centos-stream/9",
    "winxp": None,
    "rhel9": None,
    "gentoo": None,
    None: None,
}


@pytest.mark.parametrize("os", FULL_IDS)
def test_a_full_id_is_certain_or_none(os: Optional[str]) -> None:
    assert guests.full_id(os) == FULL_IDS[os]


@pytest.mark.parametrize("os", ["win11", "win2k25"])
def test_some_systems_need_a_tpm(os: str) -> None:
    assert guests.needs_tpm(os)
    assert not guests.needs_tpm("win10")
