"""See files and network devices of this host as libvirt's daemon sees them, which may be confined.

Only for a daemon on this host. Where its namespaces are other than ours, what it sees is below
/proc/PID; its process is known by the connection to it.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import FrozenSet, Optional
from urllib.parse import parse_qs, urlsplit

from reconciler.adapters.libvirt.images import read_version
from reconciler.core.world import FileKind, FileView

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_SECTOR = 512
# By these a connection to the daemon of QEMU's driver is known where the URI names no socket.
_SOCKETS = ("/libvirt/virtqemud-sock", "/libvirt/libvirt-sock")
UNSEEN = -1  # a process of which nothing can be seen from here


def find_daemon(uri: str) -> Optional[int]:
    """Return the process that this process is connected to for that URI.

    None if there is no such connection, `UNSEEN` if its process is not visible from here, as from a
    container or where there is no /proc. The connections that libvirt's client library holds are
    asked, so nothing is opened.
    """
    wanted = parse_qs(urlsplit(uri).query).get("socket", [""])[0]
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return UNSEEN
    for name in names:
        pid = _find_peer(int(name), wanted)
        if pid is not None:
            return pid or UNSEEN
    return None


def _find_peer(descriptor: int, wanted: str) -> Optional[int]:
    """Return the process behind a socket of libvirt's; None for what is no such socket."""
    import socket  # noqa: PLC0415 - start-up time

    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            path = str(peer.getpeername())
            data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    pid = int(_CREDENTIALS.unpack(data)[0])
    is_it = _is_same_socket(path, pid, wanted) if wanted else path.endswith(_SOCKETS)
    return pid if is_it else None


def _is_same_socket(path: str, pid: int, wanted: str) -> bool:
    """Whether the path at which the daemon listens, in its own view, is the wanted one."""
    if path == wanted:
        return True
    try:
        return os.path.samefile(wanted, f"/proc/{pid}/root{path}")
    except OSError:
        return False


def list_devices(daemon: Optional[int]) -> Optional[FrozenSet[str]]:
    """Return the names of the network devices; None if they cannot be read."""
    if daemon == UNSEEN:
        return None
    try:
        with open(f"/proc/{daemon or 'self'}/net/dev", encoding="utf-8") as file:
            lines = file.read().splitlines()[2:]  # two lines of headings
    except OSError:
        return None
    return frozenset(line.partition(":")[0].strip() for line in lines)


def read_file(path: str, daemon: Optional[int]) -> Optional[FileView]:
    """Return what lies at a path; None if it cannot be seen from here."""
    if daemon == UNSEEN:
        return None
    place = _find_root(daemon) + path
    try:
        found = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return FileView(FileKind.MISSING)
    except (OSError, ValueError):
        return None
    if stat.S_ISBLK(found.st_mode):
        return FileView(FileKind.BLOCK, _read_device_size(found.st_rdev))
    if not stat.S_ISREG(found.st_mode):
        return FileView(FileKind.OTHER)
    try:
        version, snapshots = read_version(place)
    except OSError:
        version, snapshots = 0, 0
    return FileView(FileKind.FILE, found.st_size, version, snapshots)


def find_free(folder: str, daemon: Optional[int]) -> Optional[int]:
    """Return the bytes that are free in the file system of a folder; None if not known."""
    if daemon == UNSEEN:
        return None
    try:
        found = os.statvfs(_find_root(daemon) + folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def find_own_root(uri: str) -> Optional[str]:
    """Return what to put before a path to open it as the daemon does; None if that is not known."""
    daemon = find_daemon(uri)
    return None if daemon == UNSEEN else _find_root(daemon)


def read_swap() -> int:
    """Return the bytes of swap of this host; 0 if they cannot be read."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            pairs = dict(line.split(":", 1) for line in file)
        return int(pairs["SwapTotal"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def _find_root(daemon: Optional[int]) -> str:
    """Return what to put before a path to see it as the daemon does."""
    if daemon is None:
        return ""
    root = f"/proc/{daemon}/root"
    try:
        same = os.stat(f"/proc/{daemon}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return ""
    return "" if same else root


def _read_device_size(device: int) -> int:
    try:
        path = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/size"
        with open(path, encoding="ascii") as file:
            return int(file.read()) * _SECTOR
    except (OSError, ValueError):
        return 0
