"""What a qcow2 header says against copying the file alone; headers are made here by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from reconciler.adapters.libvirt.images import MAGIC, find_obstacle


def header(version: int = 3, features: int = 0, below: bytes = b"") -> bytes:
    offset = 512 if below else 0
    head = struct.pack(">4sIQI", MAGIC, version, offset, len(below)).ljust(72, b"\0")
    return (head + struct.pack(">Q", features)).ljust(512, b"\0") + below.ljust(512, b"\0")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty file"),
        pytest.param(b"\0" * 4096, id="a raw image"),
        pytest.param(MAGIC, id="a header that was cut off"),
        pytest.param(header(), id="an image of its own"),
        pytest.param(header(features=1), id="an image that was not closed properly"),
        pytest.param(
            header(version=2, features=4), id="a version 2, where the bits are other data"
        ),
        pytest.param(header(below=b"/elsewhere/base.qcow2"), id="an absolute path below"),
        pytest.param(header(below=b"nbd://host/base"), id="a network path below"),
    ],
)
def test_a_copy_of_the_file_is_a_copy_of_the_image(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "image"
    image.write_bytes(content)
    assert find_obstacle(str(image), "/other/folder") is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (header(features=4), "another file"),
        (header(features=2), "corrupt"),
        (header(below=b"base.qcow2"), "relative"),
        (header(below=b"../base.qcow2"), "relative"),
    ],
)
def test_a_copy_of_the_file_would_be_something_else(
    tmp_path: Path, content: bytes, why: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(content)
    assert why in (find_obstacle(str(image), "/other/folder") or "")


def test_a_relative_path_below_means_the_same_in_the_same_folder(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(header(below=b"base.qcow2"))
    (tmp_path / "again").symlink_to(tmp_path)
    assert find_obstacle(str(image), str(tmp_path / "again")) is None


def test_an_image_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_obstacle(str(tmp_path / "absent"), "/")
