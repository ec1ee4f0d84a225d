"""Disks in which libguestfs sees a Windows: real NTFS, with real registry hives made by hivexsh."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import List, Mapping

STATE = r"Microsoft\Windows\CurrentVersion\Setup\State"
PRODUCT = {"ProductName": "Windows Server 2016 Standard", "CurrentVersion": "6.3"}
_CELLS, _BLOCK = 0x20, 4096
_NONE = 0xFFFFFFFF

Keys = Mapping[str, Mapping[str, str]]


def _write_cell(content: bytes) -> bytes:
    """Return a cell in use: its length, negative, and its content."""
    length = (len(content) + 4 + 7) // 8 * 8
    return struct.pack("<i", -length) + content.ljust(length - 4, b"\0")


def make_empty_hive() -> bytes:
    """Return a hive that has nothing but its root, which hivexsh can add to."""
    name = b"ROOT"
    fields = (0x2C, 0, 0, 0, 0, 0, _NONE, _NONE, 0, _NONE)
    root = struct.pack("<2sHQIIIIIIII", b"nk", *fields)
    place = _CELLS + len(_write_cell(root + bytes(4 * 8) + name))
    root += struct.pack("<IIIIIIIHH", place, _NONE, 0, 0, 0, 0, 0, len(name), 0) + name
    descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)
    security = struct.pack("<2sHIIII", b"sk", 0, place, place, 1, len(descriptor)) + descriptor
    cells = _write_cell(root) + _write_cell(security)
    rest = struct.pack("<i", _BLOCK - _CELLS - len(cells))
    block = struct.pack("<4sII", b"hbin", 0, _BLOCK).ljust(_CELLS, b"\0") + cells + rest
    head = struct.pack("<4sIIQIIIIIII", b"regf", 1, 1, 0, 1, 3, 0, 1, _CELLS, _BLOCK, 1)
    head = head.ljust(0x1FC, b"\0")
    checksum = 0
    for (word,) in struct.iter_unpack("<I", head):
        checksum ^= word
    return (head + struct.pack("<I", checksum)).ljust(_BLOCK, b"\0") + block.ljust(_BLOCK, b"\0")


def make_hive(path: Path, keys: Keys) -> None:
    """Write a hive with these keys and their values: text, or numbers as `dword:1`."""
    path.write_bytes(make_empty_hive())
    lines: List[str] = []
    made = set()
    for key, values in keys.items():
        at = ""
        for part in key.split("\\"):
            if f"{at}\\{part}" not in made:
                lines += ["cd " + (at or "\\"), f"add {part}"]
            at = f"{at}\\{part}"
            made.add(at)
        lines += [f"cd {at}", f"setval {len(values)}"]
        for name, value in values.items():
            lines += [name, value if value.startswith("dword:") else f"string:{value}"]
    script = "\n".join([*lines, "commit", ""])
    home = {**os.environ, "HOME": str(path.parent)}  # it keeps a history of what is typed
    subprocess.run(["hivexsh", "-w", str(path)], input=script, text=True, check=True, env=home)


def _make_program() -> bytes:
    """Return the least that is a program of Windows for x86-64, by which it is recognised."""
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64)
    optional = struct.pack("<H", 0x20B).ljust(240, b"\0")
    kind = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x22)
    return head + b"PE\0\0" + kind + optional + bytes(552)


def make_disk(folder: Path) -> Path:
    """Return a raw disk with an NTFS, in which there is a Windows that says nothing of its state.

    ntfs-3g mounts it where FUSE works, which takes a second; else libguestfs makes it.
    """
    tree, disk = folder / "tree", folder / "windows.raw"
    config = tree / "Windows/System32/config"
    config.mkdir(parents=True)
    (tree / "Windows/Setup/State").mkdir(parents=True)
    (tree / "Windows/Setup/State/State.ini").write_text("[State]\r\n", encoding="utf-8")
    (tree / "Windows/System32/cmd.exe").write_bytes(_make_program())
    (tree / "hiberfil.sys").write_bytes(bytes(4096))
    make_hive(config / "SOFTWARE", {r"Microsoft\Windows NT\CurrentVersion": PRODUCT})
    control = "ControlSet001"
    system = {
        "Select": {"Current": "dword:1"},
        "MountedDevices": {},
        rf"{control}\Control\ProductOptions": {"ProductType": "ServerNT"},
        rf"{control}\Services\Tcpip\Parameters": {"Hostname": "template"},
    }
    make_hive(config / "SYSTEM", system)
    with disk.open("wb") as file:
        file.truncate(16 * 2**20)
    subprocess.run(["mkntfs", "-q", "-F", "-Q", str(disk)], check=True, stderr=subprocess.DEVNULL)
    mount = folder / "mount"
    mount.mkdir()
    if subprocess.run(["ntfs-3g", str(disk), str(mount)], check=False).returncode == 0:
        try:
            shutil.copytree(tree, mount, dirs_exist_ok=True, copy_function=shutil.copyfile)
        finally:
            subprocess.run(["umount", str(mount)], check=True)
    else:
        made = ["virt-make-fs", "--type=ntfs", "--size=+8M", str(tree), str(disk)]
        subprocess.run(made, check=True)
    return disk


def put_file(disk: Path, source: Path, name: str) -> None:
    """Write a file over one that the disk has."""
    subprocess.run(["ntfscp", "-q", "-f", str(disk), str(source), name], check=True)


def put_software(disk: Path, state: str) -> None:
    """Write a SOFTWARE hive with that state."""
    hive = disk.with_suffix(".hive")
    make_hive(hive, {STATE: {"ImageState": state}, r"Microsoft\Windows NT\CurrentVersion": PRODUCT})
    put_file(disk, hive, "Windows/System32/config/SOFTWARE")
