"""virtio-win ISOs and RPM folders are found on a host, and what is in them is understood."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

import pytest

from reconciler.adapters.libvirt import driver_media, own_view
from reconciler.adapters.libvirt.driver_media import find_driver_media
from reconciler.core.virtio_win import (
    FOLDER,
    DriverMedia,
    DriverVersion,
    parse_version,
    read_medium,
)
from tests.unit.windows.media import OSES, make_files, make_iso, write_folder, write_iso


class FakeStream:
    """Gives what a download put into it, a bit at a time."""

    def __init__(self) -> None:
        self.content, self.ended = b"", ""

    def recv(self, size: int) -> bytes:
        part, self.content = self.content[: min(size, 65536)], self.content[min(size, 65536) :]
        return part

    def finish(self) -> None:
        self.ended = "finished"

    def abort(self) -> None:
        self.ended = "aborted"


class FakeVolume:
    """A volume of which a part can be downloaded."""

    def __init__(self, path: str, content: bytes) -> None:
        self._path, self._content = path, content
        self.downloaded = 0

    def path(self) -> str:
        return self._path

    def info(self) -> List[int]:
        return [0, len(self._content), len(self._content)]

    def download(self, stream: FakeStream, offset: int, length: int) -> None:
        stream.content = self._content[offset : offset + length]
        self.downloaded += length


class FakePool:
    """A pool of files with these volumes, as far as libvirt knows them."""

    def __init__(self, name: str, folder: str, volumes: Mapping[str, FakeVolume]) -> None:
        self._name, self._folder, self.volumes = name, folder, volumes

    def name(self) -> str:
        return self._name

    def listVolumes(self) -> List[str]:  # noqa: N802 - libvirt's name
        return list(self.volumes)

    def storageVolLookupByName(self, name: str) -> FakeVolume:  # noqa: N802
        return self.volumes[name]

    def XMLDesc(self) -> str:  # noqa: N802
        return f"<pool type='dir'><target><path>{self._folder}</path></target></pool>"


class FakeHost:
    """Connections to a host whose files are below a folder; `is_local` False: another host's."""

    uri = "qemu:///system"

    def __init__(self) -> None:
        self.is_local = True
        self.pools: Dict[str, FakePool] = {}
        self.streams: List[FakeStream] = []

    def get(self, driver: str) -> FakeHost:
        del driver
        return self

    def listAllStoragePools(self, flags: int) -> List[FakePool]:  # noqa: N802
        del flags
        return list(self.pools.values())

    def storagePoolLookupByName(self, name: str) -> FakePool:  # noqa: N802
        return self.pools[name]

    def newStream(self) -> FakeStream:  # noqa: N802
        self.streams.append(FakeStream())
        return self.streams[-1]


Find = Callable[..., DriverMedia]


@pytest.fixture
def host() -> FakeHost:
    """Return a host without anything."""
    return FakeHost()


@pytest.fixture
def find(host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Return what finds media, on a host whose files are in `tmp_path`."""
    monkeypatch.setattr(own_view, "find_own_root", lambda _uri: str(tmp_path))
    connections: Any = host
    return lambda place="": find_driver_media(connections, place)


def test_the_iso_of_the_package_is_found_once(find: Find, tmp_path: Path) -> None:
    write_iso(tmp_path / "usr/share/virtio-win/virtio-win-0.1.248.iso", "0.1.248")
    (tmp_path / "usr/share/virtio-win/virtio-win.iso").symlink_to("virtio-win-0.1.248.iso")
    (medium,) = find().media
    assert medium.path.startswith(f"{FOLDER}/virtio-win")
    assert medium.version == DriverVersion("0.1", 248)
    assert not medium.is_folder
    found = medium.find_driver("viostor", "2k16")
    assert found is not None
    assert (found.path, found.build) == ("viostor/2k16/amd64/viostor.inf", 248)
    assert medium.find_agent("x86_64") == "guest-agent/qemu-ga-x86_64.msi"


def test_several_versions_side_by_side_are_found(find: Find, tmp_path: Path) -> None:
    for version in ("0.1.173", "0.1.248", "1.9.46"):
        write_iso(tmp_path / f"usr/share/virtio-win/virtio-win-{version}.iso", version)
    assert [str(medium.version) for medium in find().media] == ["0.1.173", "0.1.248", "1.9.46"]


def test_a_renamed_iso_is_known_by_its_label(find: Find, tmp_path: Path) -> None:
    write_iso(tmp_path / "srv/isos/virtio-win-0.1.100.iso", "0.1.285")
    (medium,) = find("/srv/isos/virtio-win-0.1.100.iso").media
    assert medium.version == DriverVersion("0.1", 285)


def test_the_folder_of_the_rpm_is_found(find: Find, tmp_path: Path) -> None:
    write_folder(tmp_path, "0.1.285")
    iso, folder = find().media
    assert (iso.is_folder, folder.is_folder) == (False, True)
    assert folder.where == FOLDER
    assert folder.version == DriverVersion("0.1", 285)
    for os_name in OSES:
        assert folder.find_driver("viostor", os_name), os_name
    found = folder.find_driver("vioscsi", "2k25")
    assert found is not None
    assert found.path == "drivers/by-driver/vioscsi/2k25/amd64/vioscsi.inf"
    assert found.build == 285
    assert folder.find_agent() == "guest-agent/qemu-ga-x86_64.msi"


def test_a_folder_without_iso_is_as_old_as_its_drivers(find: Find, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "0.1.262", with_iso=False)
    (medium,) = find(FOLDER).media
    assert medium.version == DriverVersion("0.1", 262)
    (folder / "drivers/by-driver/cert/Virtio_Win_Red_Hat_CA.cer").unlink()
    (medium,) = find(FOLDER).media
    assert medium.version is None  # it may be RHEL's, whose versions are others


def test_a_volume_of_a_pool_is_found_by_its_name(
    find: Find, host: FakeHost, tmp_path: Path
) -> None:
    path = write_iso(tmp_path / "pool/virtio-win-0.1.215.iso", "0.1.215")
    volumes = {
        path.name: FakeVolume("/pool/virtio-win-0.1.215.iso", b""),
        "windows.iso": FakeVolume("/pool/windows.iso", b""),
    }
    host.pools["isos"] = FakePool("isos", "/pool", volumes)
    (medium,) = find().media
    assert (medium.where, medium.path) == (f"isos/{path.name}", f"/pool/{path.name}")


def test_an_iso_that_libvirt_has_not_seen_yet_is_found(
    find: Find, host: FakeHost, tmp_path: Path
) -> None:
    write_iso(tmp_path / "pool/virtio-win-0.1.215.iso", "0.1.215")
    host.pools["isos"] = FakePool("isos", "/pool", {})
    (medium,) = find().media
    assert medium.where == "isos/virtio-win-0.1.215.iso"


def test_a_volume_of_another_host_is_read_through_libvirt(find: Find, host: FakeHost) -> None:
    content = make_iso(make_files("0.1.173"), "virtio-win-0.1.173") + bytes(4 * 1024 * 1024)
    volume = FakeVolume("/pool/virtio-win-0.1.173.iso", content)
    host.pools["isos"] = FakePool("isos", "/pool", {"virtio-win-0.1.173.iso": volume})
    host.is_local = False
    found = find()
    (medium,) = found.media
    assert (medium.version, medium.path) == (DriverVersion("0.1", 173), volume.path())
    assert len(medium.drivers) > 50
    assert found.unseen == (f"{FOLDER} is on another host and cannot be read from here",)
    assert volume.downloaded < len(content) / 2  # only what is looked at
    assert {stream.ended for stream in host.streams} == {"finished"}


def test_a_volume_that_this_user_may_not_open_is_read_through_libvirt(
    find: Find, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_iso(tmp_path / "pool/virtio-win-0.1.173.iso", "0.1.173")
    volume = FakeVolume("/pool/virtio-win-0.1.173.iso", path.read_bytes())
    host.pools["isos"] = FakePool("isos", "/pool", {path.name: volume})

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(driver_media, "_read_file", refuse)
    (medium,) = find().media
    assert medium.version == DriverVersion("0.1", 173)
    assert volume.downloaded


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/srv/none.iso", "/srv/none.iso does not exist on this host"),
        ("/srv/text.iso", "/srv/text.iso is not an ISO 9660 image"),
        ("/srv/other.iso", "/srv/other.iso has no drivers of virtio-win"),
        ("/srv", "/srv has no drivers of virtio-win"),
    ],
)
def test_what_a_manifest_names_and_is_no_medium_is_said(
    find: Find, tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/text.iso").write_text("not here")
    (tmp_path / "srv/other.iso").write_bytes(make_iso({"setup.exe": b"MZ"}, "WINDOWS"))
    found = find(place)
    assert found.media == ()
    (unseen,) = found.unseen
    assert unseen.startswith(reason)


def test_an_iso_of_which_only_the_beginning_is_there_hides_no_other(
    find: Find, tmp_path: Path
) -> None:
    write_iso(tmp_path / "usr/share/virtio-win/virtio-win-0.1.248.iso", "0.1.248")
    half = write_iso(tmp_path / "usr/share/virtio-win/virtio-win-0.1.285.iso", "0.1.285")
    content = half.read_bytes()
    begun = 20 * 2048  # the size of the file is already that of the whole
    half.write_bytes(content[:begun] + bytes(len(content) - begun))
    found = find()
    assert [medium.version for medium in found.media] == [DriverVersion("0.1", 248)]
    [unseen] = found.unseen
    assert unseen.startswith(f"{FOLDER}/{half.name} is not an ISO 9660 image")


def test_nothing_of_another_host_is_called_absent(find: Find, host: FakeHost) -> None:
    host.is_local = False
    found = find("/srv/virtio-win.iso")
    assert found.unseen == ("/srv/virtio-win.iso is on another host and cannot be read from here",)


def test_an_iso_is_read_again_only_when_it_changed(
    find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_iso(tmp_path / "srv/virtio-win.iso", "0.1.173")
    reads: List[str] = []

    def count(*given: Any) -> Any:
        reads.append(given[1])
        return read_medium(*given)

    monkeypatch.setattr(driver_media, "read_medium", count)
    for _ in range(3):
        find("/srv/virtio-win.iso")
    assert reads == ["/srv/virtio-win.iso"]
    write_iso(path, "0.1.285")
    os.utime(path, ns=(1, 1))
    (medium,) = find("/srv/virtio-win.iso").media
    assert medium.version == DriverVersion("0.1", 285)


def read_version(name: str, content: Optional[bytes], path: str = "/x.iso") -> Optional[int]:
    """Return the build of viostor in a medium with this INF."""
    medium = read_medium("x", path, "", [name], lambda _: content or b"")
    assert medium is not None
    (driver,) = medium.drivers
    return driver.build


INF = "[version]\r\nDriverVer=06/07/2019,61.77.104.17200 ; old\r\n"


@pytest.mark.parametrize("content", [INF.encode(), INF.encode("utf-16"), INF.encode("utf-16-le")])
def test_without_a_list_the_inf_tells_the_build(content: bytes) -> None:
    assert read_version("viostor/w7/amd64/viostor.inf", content) == 172


@pytest.mark.parametrize("content", [b"", b"DriverVer=nonsense", b"\xff\xfe"])
def test_an_inf_that_says_nothing_is_no_fault(content: bytes) -> None:
    assert read_version("VIOSTOR/W7/AMD64/VIOSTOR.INF", content) is None


def test_a_damaged_list_is_no_fault() -> None:
    files = {"data/info.json": b'{"drivers": [{}]}', "viostor/w10/amd64/viostor.inf": INF.encode()}
    medium = read_medium("x", "/x.iso", "L", files, lambda name: files[name])
    assert medium is not None
    assert medium.drivers[0].build == 172


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("virtio-win-0.1.285", "0.1.285"),
        ("virtio-win-1.9.46", "1.9.46"),
        ("virtio-win-0.1-81.iso", "0.1.81"),
        ("VIRTIO-WIN-0.1.173-9.ISO", "0.1.173"),
        ("virtio-win.iso", "None"),
        ("cidata", "None"),
    ],
)
def test_versions_are_written_in_several_ways(text: str, version: str) -> None:
    assert str(parse_version(text)) == version
