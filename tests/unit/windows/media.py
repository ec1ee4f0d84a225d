"""virtio-win ISOs and folders with the layout and the names of real ones, made for tests."""

from __future__ import annotations

import json
from typing import Dict, Iterator, Mapping, Sequence, Tuple

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
