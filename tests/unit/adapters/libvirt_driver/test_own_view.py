"""Files and devices are seen as libvirt's daemon sees them, or not at all."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

from reconciler.adapters.libvirt import own_view
from reconciler.adapters.libvirt.images import read_version
from reconciler.core.world import FileKind


def test_the_daemon_is_known_by_the_connection_to_it(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    uri = f"qemu+unix:///system?socket={path}"
    assert own_view.find_daemon(uri) is None
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        assert own_view.find_daemon(uri) == os.getpid()
        assert own_view.find_daemon("qemu:///system") is None
    assert own_view.find_daemon(uri) is None


def test_what_lies_at_a_path_is_told_from_what_cannot_be_seen(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    for name, kind in (
        ("file", FileKind.FILE),
        ("gone", FileKind.MISSING),
        ("file/below", FileKind.MISSING),
        (".", FileKind.OTHER),
    ):
        found = own_view.read_file(str(tmp_path / name), os.getpid())
        assert found is not None
        assert found.kind is kind
    assert own_view.read_file(str(tmp_path / "gone"), own_view.UNSEEN) is None
    assert own_view.list_devices(own_view.UNSEEN) is None
    assert own_view.find_free(str(tmp_path), own_view.UNSEEN) is None


def test_the_devices_and_the_space_of_this_host_are_seen(tmp_path: Path) -> None:
    assert "lo" in (own_view.list_devices(None) or ())
    assert (own_view.find_free(str(tmp_path), None) or 0) > 0


def test_a_qcow2_says_its_version_and_the_snapshots_inside(tmp_path: Path) -> None:
    header = bytearray(72)
    struct.pack_into(">4sI", header, 0, b"QFI\xfb", 2)
    struct.pack_into(">I", header, 60, 3)
    (tmp_path / "old").write_bytes(header)
    (tmp_path / "raw").write_bytes(bytes(100))
    assert read_version(str(tmp_path / "old")) == (2, 3)
    assert read_version(str(tmp_path / "raw")) == (0, 0)
