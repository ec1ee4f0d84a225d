"""Block sharing where it cannot be had; where it can is in tests/real/test_storage.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.libvirt.clones import can_share, share


@pytest.fixture
def image(tmp_path: Path) -> Path:
    image = tmp_path / "image"
    image.write_bytes(b"x" * 4096)
    return image


def test_what_stands_in_the_way_means_no_and_leaves_nothing(tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    for place, source in (("absent", image), ("pool", tmp_path / "absent"), ("image", image)):
        assert can_share(str(tmp_path / place), str(source)) is False
    assert can_share("/proc", str(image)) is False
    assert list(folder.iterdir()) == []


def test_a_link_is_not_written_through(tmp_path: Path, image: Path) -> None:
    precious, link = tmp_path / "precious", tmp_path / "link"
    precious.write_text("keep", encoding="utf-8")
    link.symlink_to(precious)
    with pytest.raises(OSError, match="symbolic"):
        share(str(image), str(link))
    assert precious.read_text(encoding="utf-8") == "keep"


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, image: Path) -> None:
    with pytest.raises(FileNotFoundError):
        share(str(image), str(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()
