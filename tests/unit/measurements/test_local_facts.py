"""What is below a folder, by what the kernel lists as mounted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.adapters.measurement.local_facts import (
    Mount,
    choose_mount,
    find_block_device,
    find_images_on,
    find_mount,
    is_on_system_disk,
    read_host_facts,
)
from reconciler.errors import RefusedError

LINES = (
    "22 1 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/rl-root rw",
    "30 22 8:1 / /srv rw - ext4 /dev/sda1 rw",
    r"31 30 0:40 / /srv/my\040pool rw shared:2 master:1 - nfs4 nas:/vm rw",
    "32 22 8:2 / /srv rw - xfs /dev/sdb1 rw",
)


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/", Mount("/", "xfs", "/dev/mapper/rl-root")),
        ("/var/lib", Mount("/", "xfs", "/dev/mapper/rl-root")),
        ("/srv/x", Mount("/srv", "xfs", "/dev/sdb1")),  # the last one mounted there
        ("/srvx", Mount("/", "xfs", "/dev/mapper/rl-root")),
        ("/srv/my pool/images", Mount("/srv/my pool", "nfs4", "nas:/vm")),
    ],
)
def test_the_file_system_of_a_path_is_the_nearest_above(path: str, mount: Mount) -> None:
    assert choose_mount(LINES, path) == mount


def test_this_host_is_known(tmp_path: Path) -> None:
    facts = read_host_facts()
    assert facts.host == os.uname().nodename
    assert facts.memory is not None
    assert find_mount(str(tmp_path)) is not None


def test_guests_with_an_image_in_the_same_file_system_are_found(tmp_path: Path) -> None:
    image = tmp_path / "web01.qcow2"
    image.write_bytes(b"")
    images = [
        ("web01", str(image)),
        ("web01", str(image)),
        ("db01", "/proc/self/status"),
        ("x", "/absent"),
    ]
    assert find_images_on(str(tmp_path), images) == ("web01",)


def test_the_root_is_on_the_system_disk() -> None:
    assert is_on_system_disk("/")
    assert not is_on_system_disk("/proc")


@pytest.mark.parametrize(
    ("path", "words"),
    [("/absent", "is not a device here: No such file"), ("/dev/null", "is not a block device")],
)
def test_what_is_no_block_device_is_refused(path: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        find_block_device(path)
