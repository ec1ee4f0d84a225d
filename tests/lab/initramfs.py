"""Write a kernel's first file system: an archive in cpio's `newc` format, the same for same files."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Dict, Tuple, Union

FOLDER = stat.S_IFDIR | 0o755
PROGRAM = stat.S_IFREG | 0o755
LINK = stat.S_IFLNK | 0o777


@dataclass
class Initramfs:
    """Files to be written, by their path below `/`."""

    _entries: Dict[str, Tuple[int, bytes]] = field(default_factory=dict)

    def add(self, path: str, content: Union[str, bytes, Path]) -> None:
        """Add a file that may be run: a text, bytes, or a copy of a file."""
        if isinstance(content, Path):
            content = content.read_bytes()
        self._put(path, PROGRAM, content.encode() if isinstance(content, str) else content)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._put(path, LINK, target.encode())

    def folder(self, path: str) -> None:
        """Add a folder, and those above it."""
        self._put(path, FOLDER, b"")

    def _put(self, path: str, mode: int, content: bytes) -> None:
        name = path.strip("/")
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            self._entries.setdefault(str(parent), (FOLDER, b""))
        self._entries[name] = (mode, content)

    def pack(self) -> bytes:
        """Return the archive."""
        entries = [
            _entry(number, name, mode, content)
            for number, (name, (mode, content)) in enumerate(self._entries.items(), 1)
        ]
        return b"".join((*entries, _entry(0, "TRAILER!!!", 0, b"")))


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    # inode, mode, owner, group, links, time, size, device and its number twice, name's size, sum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % one for one in fields)
    return _padded(head + name.encode() + b"\0") + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
