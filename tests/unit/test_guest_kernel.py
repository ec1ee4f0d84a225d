"""Modules for the tests' guest, from kernel packages of different layout and compression."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from tests.lab.guest_kernel import modules_of

DRIVERS = "kernel/drivers"


def module(*needs: str) -> bytes:
    """Return the part of a module that names its dependencies."""
    return b"\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0"


@pytest.mark.parametrize("folder", ["lib/modules", "usr/lib/modules"])
@pytest.mark.parametrize("ending", ["ko", "ko.xz"])
def test_modules_are_found_with_what_they_need(tmp_path: Path, folder: str, ending: str) -> None:
    kernel = tmp_path / folder / "6.12.0" / DRIVERS
    for name, content in (
        ("scsi/sd_mod", module("scsi-mod", "crc64")),
        ("scsi/scsi-mod", module()),
        ("net/crc64", module()),
        ("net/other", module()),
    ):
        path = kernel / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(content) if ending == "ko.xz" else content)
    found = modules_of(tmp_path)
    assert list(found.files) == ["scsi_mod", "crc64", "sd_mod"]
    assert found.files["sd_mod"] == module("scsi-mod", "crc64")
    assert "scsi:t-0x00*) load scsi_mod; load crc64; load sd_mod ;;" in found.script


def test_a_kernel_without_modules_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no modules of a kernel below"):
        modules_of(tmp_path)
