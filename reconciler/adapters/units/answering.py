"""Who answers at a socket: connect as a client would, and find the process at the other end.

SO_PEERCRED names whoever called listen(), which is systemd for an activated socket. So the other
end is looked up by its inode with `ss`, and its process's unit in the process's cgroup.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import time
from pathlib import Path
from typing import Optional, Tuple

from reconciler.core.daemons.view import Answer

LIMIT = 15.0  # seconds; a daemon may first have to start and to look at its pools
POLL = 0.1  # seconds
AS_ROOT = "run as root to see who answers"
# Netid State Recv-Q Send-Q Local Inode Peer Inode [users:((…))]
_ROW = re.compile(r"^u_str\s+\S+\s+\d+\s+\d+\s+.*?\s(\d+)\s+\S+\s+(\d+)\s*(?:users:\((.*)\))?\s*$")
_USER = re.compile(r'\("([^"]*)",pid=(\d+),fd=\d+\)')
_UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?=/|$)")
_INIT = 1


def ask(path: str) -> Answer:
    """Connect, see who accepted, and hang up without a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LIMIT)
        try:
            connection.connect(path)
            return _find_peer(connection, path)
        except PermissionError:
            return Answer(problem=AS_ROOT)
        except OSError as error:
            return Answer(problem=f"{path}: {error.strerror or error}", refused=True)


def _find_peer(connection: socket.socket, path: str) -> Answer:
    """Wait until a process has the other end; before it is accepted, nobody has."""
    inode = os.fstat(connection.fileno()).st_ino
    deadline = time.monotonic() + LIMIT
    while True:
        rows = _list_sockets()
        if rows is None:
            return Answer(problem="ss (package iproute) is needed to see who answers")
        found = find_user(rows, inode)
        if found is not None:
            process, pid = found
            return Answer(_unit_of(pid), process, pid)
        if os.geteuid() != 0:
            return Answer(problem=AS_ROOT)
        if _is_hung_up(connection):
            return Answer(problem=f"{path}: the connection was closed", refused=True)
        if time.monotonic() > deadline:
            words = f"{path}: nobody accepted a connection within {LIMIT:.0f} s"
            return Answer(problem=words, refused=True)
        time.sleep(POLL)


def _is_hung_up(connection: socket.socket) -> bool:
    """Whether the other end was closed: systemd does so when the daemon cannot be started."""
    return bool(select.select([connection], [], [], 0)[0])  # a libvirt daemon never speaks first


def _list_sockets() -> Optional[str]:
    try:
        return subprocess.run(
            ["ss", "-xpH"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None


def find_user(rows: str, inode: int) -> Optional[Tuple[str, int]]:
    """Return name and number of the process at the other end of our socket, of `ss` rows."""
    for row in rows.splitlines():
        match = _ROW.match(row)
        if match and int(match.group(2)) == inode:
            users = [(name, int(pid)) for name, pid in _USER.findall(match.group(3) or "")]
            return next((one for one in users if one[1] != _INIT), None)
    return None


def _unit_of(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return find_unit(text)


def find_unit(cgroups: str) -> str:
    """Return the unit that a process's cgroups name; of none it is empty."""
    for line in cgroups.splitlines():
        number, name, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" or name == "name=systemd":
            units = _UNIT.findall(path)
            if units:
                return str(units[0])
    return ""
