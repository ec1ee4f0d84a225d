"""Which URI reaches which driver."""

from __future__ import annotations

import pytest

from reconciler.adapters.libvirt.connections import driver_uri, is_local


@pytest.mark.parametrize(
    ("uri", "storage"),
    [
        ("qemu:///system", "storage:///system"),
        ("qemu:///session", "storage:///session"),
        ("qemu:///system?mode=direct", "storage:///system?mode=direct"),
        ("qemu+unix:///system?socket=/run/x", "storage+unix:///system?socket=/run/x"),
        ("qemu+ssh://root@kvm01:22/system", "storage+ssh://root@kvm01:22/system"),
        ("qemu+tls://kvm01/system?pkipath=/x", "storage+tls://kvm01/system?pkipath=/x"),
        ("qemu+libssh2://h/session?keyfile=k", "storage+libssh2://h/session?keyfile=k"),
    ],
)
def test_a_driver_is_reached_by_the_same_way_as_the_hypervisor(uri: str, storage: str) -> None:
    assert driver_uri(uri, "storage") == storage


@pytest.mark.parametrize("uri", ["test:///default", "qemu:///embed?root=/x", "xen:///system"])
def test_where_drivers_cannot_be_told_apart_there_is_one_connection(uri: str) -> None:
    assert driver_uri(uri, "storage") == uri


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("qemu:///session", True),
        ("qemu+unix:///system?socket=/run/x", True),
        ("qemu+ssh://kvm01/system", False),
        ("qemu+ssh:///system", False),
        ("qemu+tls://kvm01/system", False),
        ("qemu://kvm01/system", False),
        ("test:///default", False),
    ],
)
def test_files_are_looked_at_only_where_the_host_is_this_one(uri: str, local: bool) -> None:
    assert is_local(uri) is local
