"""virtio-win ISOs and folders with the layout and the names of real ones, made for tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Dict, Iterator, Mapping, Sequence, Tuple

import pycdlib  # type: ignore[import-untyped,unused-ignore]

from reconciler.core.virtio_win import FOLDER, DriverMedium, read_medium

# As virtio-win's own packaging names them (util/filemap.py).
OSES = (
    "xp", "2k3", "2k8", "2k8R2", "w7", "w8", "w8.1", "2k12", "2k12R2", "w10", "2k16", "2k19", "w11",
    "2k22", "2k25",
)  # fmt: skip
CLIENTS = ("xp", "2k3", "2k8", "w7", "w8", "w8.1", "w10")  # those with 32-bit drivers
DRIVERS = ("viostor", "vioscsi", "NetKVM", "Balloon", "vioserial")
INF = """\
;
; {driver}.inf
;
[Version]
Signature="$Windows NT$"
Class=SCSIAdapter
Provider=%VENDOR%
DriverVer = 11/04/2024,100.{minor}.104.{build}00
CatalogFile={driver}.cat

[Strings]
VENDOR = "Red Hat, Inc."
{driver}.DeviceDesc = "Red Hat VirtIO"
"""


def list_drivers(oses: Sequence[str]) -> Iterator[Tuple[str, str, str]]:
    """Yield driver, release and architecture of each driver that a medium has."""
    for os in oses:
        for driver in DRIVERS:
            if driver == "vioscsi" and os in ("xp", "2k3"):
                continue  # was never made
            for arch in ("x86", "amd64") if os in CLIENTS else ("amd64",):
                yield driver, os, arch


def make_files(
    version: str, oses: Sequence[str] = OSES, *, listed: bool = True
) -> Mapping[str, bytes]:
    """Return the files of an ISO by their paths; `listed`: with data/info.json."""
    build = version.split("-")[0].rpartition(".")[2]
    files: Dict[str, bytes] = {"virtio-win_license.txt": b"BSD\n"}
    entries = []
    for driver, os, arch in list_drivers(oses):
        name = driver.lower()
        path = f"{driver}/{os}/{arch}/{name}.inf"
        files[path] = INF.format(driver=name, minor=90, build=build).encode()
        files[path.replace(".inf", ".sys")] = b"MZ"
        files[path.replace(".inf", ".cat")] = b"0"
        entries.append(
            {
                "arch": arch,
                "driver_version": f"11/04/2024,100.90.104.{build}00",
                "inf_path": path,
                "name": f"Red Hat VirtIO {driver}",
                "windows_version": os,
            }
        )
    if listed:
        files["data/info.json"] = json.dumps({"drivers": entries}, indent=2).encode()
    for name in ("qemu-ga-i386.msi", "qemu-ga-x86_64.msi"):
        files[f"guest-agent/{name}"] = b"\xd0\xcf\x11\xe0"
    files["virtio-win-gt-x64.msi"] = files["virtio-win-gt-x86.msi"] = b"\xd0\xcf\x11\xe0"
    files["virtio-win-guest-tools.exe"] = b"MZ"
    files["cert/Virtio_Win_Red_Hat_CA.cer"] = b"0"
    return files


def make_medium(version: str, oses: Sequence[str] = OSES) -> DriverMedium:
    """Return what is understood of an ISO of that version in the usual place."""
    files = make_files(version, oses)
    path = f"{FOLDER}/virtio-win-{version}.iso"
    medium = read_medium(path, path, f"virtio-win-{version}", files, lambda name: files[name])
    assert medium is not None
    return medium


def make_iso(files: Mapping[str, bytes], label: str) -> bytes:
    """Return an ISO as virtio-win's packaging makes it: level 4, with Rock Ridge, without Joliet."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=4, vol_ident=label, rock_ridge="1.09")
    folders = {
        "/".join(parts[:depth])
        for parts in (name.split("/") for name in files)
        for depth in range(1, len(parts))
    }
    for folder in sorted(folders):
        image.add_directory(f"/{folder}", rr_name=folder.rpartition("/")[2])
    for name, content in files.items():
        image.add_fp(io.BytesIO(content), len(content), f"/{name}", rr_name=name.rpartition("/")[2])
    written = io.BytesIO()
    image.write_fp(written)
    image.close()
    return written.getvalue()


def write_iso(path: Path, version: str, oses: Sequence[str] = OSES, **options: bool) -> Path:
    """Write an ISO of that version, whatever it is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_iso(make_files(version, oses, **options), f"virtio-win-{version}"))
    return path


def write_folder(root: Path, version: str, *, with_iso: bool = True) -> Path:
    """Write what the RPM installs: drivers by driver and by release, the agent, the ISO."""
    folder = root / FOLDER.lstrip("/")
    files = make_files(version, listed=False)
    for name, content in files.items():
        parts = name.split("/")
        places = [folder / name]
        if len(parts) == 4:
            _driver, os, arch, file = parts
            by_os = folder / "drivers" / "by-os" / ("i386" if arch == "x86" else arch) / os / file
            places = [folder / "drivers" / "by-driver" / name, by_os]
        elif parts[0] == "cert":
            places = [folder / "drivers" / "by-driver" / name]
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    if with_iso:
        write_iso(folder / f"virtio-win-{version}.iso", version)
        (folder / "virtio-win.iso").symlink_to(f"virtio-win-{version}.iso")
    return folder
