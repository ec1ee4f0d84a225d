"""What is found in archives and images of strangers', and what is refused of them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Callable, Dict

import pytest

from reconciler.adapters.foreign.files import inspect, list_members, verify_members
from reconciler.errors import MissingError, ReconcilerError, TerminalError
from tests.lab.vmware_guest import NAME, VMX, write_ova

MIB = 2**20
DISK = f"{NAME}-disk1.vmdk"


def make_image(path: Path, image_format: str, *options: str) -> Path:
    """Make an image of one MiB."""
    words = ["qemu-img", "create", "-q", "-f", image_format, *options, str(path), "1M"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return path


def make_stream(folder: Path) -> bytes:
    """Return a VMDK as an OVA has it."""
    raw, path = make_image(folder / "raw.img", "raw"), folder / "stream.vmdk"
    words = ["-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(path)]
    subprocess.run(["qemu-img", "convert", "-f", "raw", *words], check=True)
    return path.read_bytes()


@pytest.fixture
def ova(tmp_path: Path) -> Path:
    """Return an OVA with one disk."""
    path = tmp_path / "vm006.ova"
    write_ova(path, {DISK: make_stream(tmp_path)}, MIB)
    return path


def change_ova(ova: Path, change: Callable[[str, bytes], Dict[str, bytes]]) -> None:
    """Write it anew, with each member as it is changed."""
    with tarfile.open(ova) as archive:
        files = {
            entry.name: archive.extractfile(entry).read()  # type: ignore[union-attr]
            for entry in archive
        }
    with tarfile.open(ova, "w") as archive:
        for name, data in files.items():
            for other, text in change(name, data).items():
                entry = tarfile.TarInfo(other)
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))


def test_an_ova_is_read_where_it_lies(ova: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found = inspect("ova", "", str(ova))
    [image] = found.images
    assert (image.name, image.format, image.capacity) == (DISK, "vmdk", MIB)
    assert (found.machine.os, found.checks) == ("debian12", True)
    assert image.stamps == (found.stamp,)
    verify_members(str(ova), lambda _done, _total: None)
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_disk_does_not_have_its_checksum(ova: Path) -> None:
    data = bytearray(ova.read_bytes())
    data[list_members(str(ova))[DISK].offset + 1000] ^= 1
    ova.write_bytes(data)
    with pytest.raises(TerminalError, match=f"{DISK} is damaged: its SHA256"):
        verify_members(str(ova), lambda _done, _total: None)


def test_a_checksum_of_nothing_is_refused(ova: Path) -> None:
    change_ova(ova, lambda name, data: {} if name == DISK else {name: data})
    with pytest.raises(TerminalError, match=f"its checksums name {DISK}, which is not in it"):
        verify_members(str(ova), lambda _done, _total: None)
    with pytest.raises(TerminalError, match=f"its OVF names {DISK}, which is not in it"):
        inspect("ova", "", str(ova))


@pytest.mark.parametrize("size", [600, 2000, 5000])
def test_a_truncated_ova_is_said_to_be_so(ova: Path, size: int) -> None:
    ova.write_bytes(ova.read_bytes()[:size])
    with pytest.raises(TerminalError, match=r"cut off|copy it again"):
        inspect("ova", "", str(ova))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "folder/disk.vmdk"])
def test_no_member_leads_outside(ova: Path, name: str) -> None:
    change_ova(ova, lambda old, data: {old: data, **({name: b"root"} if old == DISK else {})})
    with pytest.raises(TerminalError, match="which is not beside it"):
        inspect("ova", "", str(ova))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_only_plain_files_are_members(ova: Path, kind: bytes) -> None:
    with tarfile.open(ova, "a") as archive:
        entry = tarfile.TarInfo("disk2.vmdk")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(TerminalError, match="which is not a plain file"):
        inspect("ova", "", str(ova))


def test_a_packed_archive_is_named_so(ova: Path) -> None:
    subprocess.run(["gzip", str(ova)], check=True)
    ova.with_suffix(".ova.gz").rename(ova)
    with pytest.raises(TerminalError, match="is packed; unpack it first"):
        inspect("ova", "", str(ova))


def test_an_archive_without_a_description_is_refused(ova: Path) -> None:
    change_ova(ova, lambda name, data: {} if name.endswith(".ovf") else {name: data})
    with pytest.raises(TerminalError, match="has 0 files"):
        inspect("ova", "", str(ova))


@pytest.mark.parametrize(
    ("name", "image_format", "options"),
    [
        ("mono.vmdk", "vmdk", ()),
        ("flat.vmdk", "vmdk", ("-o", "subformat=monolithicFlat")),
        ("split.vmdk", "vmdk", ("-o", "subformat=twoGbMaxExtentSparse")),
        ("disk.vhdx", "vhdx", ()),
        ("disk.vdi", "vdi", ()),
        ("disk.vhd", "vpc", ("-o", "subformat=fixed,force_size=on")),
        ("disk.qcow2", "qcow2", ()),
        ("disk.img", "raw", ()),
        ("a:b,c=d.img", "raw", ()),
    ],
)
def test_formats_are_known_by_what_is_in_them(
    tmp_path: Path, name: str, image_format: str, options: tuple[str, ...]
) -> None:
    path = make_image(tmp_path / name, image_format, *options)
    [image] = inspect("disk", "", str(path)).images
    assert (image.format, image.capacity) == (image_format, MIB)
    assert {os.path.dirname(stamp.path) for stamp in image.stamps} == {str(tmp_path)}


def explain(path: Path, image_format: str = "") -> str:
    """Return why an image is not imported."""
    with pytest.raises(ReconcilerError) as caught:
        inspect("disk", image_format, str(path))
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_an_image_that_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    raw = make_image(tmp_path / "disk.vmdk", "raw")
    assert "has no header of vmdk as its name says" in explain(raw)
    assert "is raw, not vhdx as the manifest has it" in explain(raw, "vhdx")
    qcow2 = make_image(tmp_path / "disk.img", "qcow2")
    assert "is qcow2, not raw as its name says" in explain(qcow2)
    assert "is qcow2, not raw as the manifest has it" in explain(qcow2, "raw")
    unknown = make_image(tmp_path / "disk", "raw")
    assert "set import.format: raw" in explain(unknown)
    assert inspect("disk", "raw", str(unknown)).images[0].format == "raw"
    other = make_image(tmp_path / "disk.qed", "qed")
    assert "is qed, which is not imported" in explain(other)


def test_an_image_over_another_is_refused(tmp_path: Path) -> None:
    make_image(tmp_path / "base.vmdk", "vmdk")
    over = make_image(
        tmp_path / "snap.vmdk", "vmdk", "-b", str(tmp_path / "base.vmdk"), "-F", "vmdk"
    )
    assert "remove its snapshots in VMware first" in explain(over)
    linked = make_image(tmp_path / "over.qcow2", "qcow2", "-b", "/etc/hostname", "-F", "raw")
    assert "lies over another image" in explain(linked)
    data = ("-o", f"data_file={tmp_path}/data")
    assert "its data is in another file" in explain(
        make_image(tmp_path / "x.qcow2", "qcow2", *data)
    )


def test_a_vmdk_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(b"s" * 512)
    path = tmp_path / "images" / "disk.vmdk"
    path.parent.mkdir()
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 1 FLAT "{secret}" 0\n',
        encoding="utf-8",
    )
    assert "which is not beside it" in explain(path)
    (path.parent / "link").symlink_to(secret)
    path.write_text(path.read_text(encoding="utf-8").replace(str(secret), "link"), encoding="utf-8")
    assert "which is not beside it" in explain(path)


def test_an_image_that_is_cut_off_or_missing_is_refused(tmp_path: Path) -> None:
    stream = tmp_path / "cut.vmdk"
    stream.write_bytes(make_stream(tmp_path)[:700])
    assert "cannot be read as an image" in explain(stream)
    assert "there is no such file" in explain(tmp_path / "none.vmdk")
    assert "is not a file" in explain(Path("/dev/null"))
    split = make_image(tmp_path / "split.vmdk", "vmdk", "-o", "subformat=twoGbMaxExtentSparse")
    (tmp_path / "split-s001.vmdk").unlink()
    assert "one of its files is missing" in explain(split)
    packed = tmp_path / "disk.img"
    packed.write_bytes(b"\x1f\x8b" + bytes(1000))
    assert "is packed; unpack it first" in explain(packed)


def test_an_image_that_vmware_has_open_is_refused(tmp_path: Path) -> None:
    path = make_image(tmp_path / "disk.vmdk", "vmdk")
    (tmp_path / "disk.vmdk.lck").mkdir()
    assert "is in use by VMware" in explain(path)


def write_vmx(folder: Path) -> Path:
    """Write a VMX with one disk."""
    path = folder / "vm006.vmx"
    disks = 'scsi0:0.present = "TRUE"\nscsi0:0.fileName = "disk1.vmdk"\n'
    path.write_text(VMX.format(name=NAME, disks=disks), encoding="utf-8")
    return path


def test_a_vmx_has_its_disks_beside_it(tmp_path: Path) -> None:
    path = write_vmx(tmp_path)
    with pytest.raises(MissingError, match=r"names the disk disk1.vmdk, which is not beside it"):
        inspect("vmx", "", str(path))
    make_image(tmp_path / "disk1.vmdk", "vmdk")
    found = inspect("vmx", "", str(path))
    assert [image.name for image in found.images] == ["disk1.vmdk"]
    assert not found.checks


def test_a_vmx_in_an_older_encoding_is_read(tmp_path: Path) -> None:
    path = write_vmx(tmp_path)
    make_image(tmp_path / "disk1.vmdk", "vmdk")
    text = path.read_text(encoding="utf-8").replace("UTF-8", "windows-1252").replace(NAME, "Büro")
    path.write_bytes(text.encode("windows-1252"))
    assert inspect("vmx", "", str(path)).machine.name == "Büro"
