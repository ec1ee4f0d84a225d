"""What of this host may have come since a machine failed for want of it. Reads two kernel files.

Neither read ever waits for a disk or a server, as asking for a file on a lost share would.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import FrozenSet

from reconciler.control.ports.service import HostSigns

LINKS = "/sys/class/net"
MOUNTS = "/proc/self/mountinfo"


def read_signs() -> HostSigns:
    """Return the network interfaces and the mounts; what cannot be read is left out."""
    links: FrozenSet[str] = frozenset()
    mounts = ""
    with suppress(OSError):
        links = frozenset(os.listdir(LINKS))
    with suppress(OSError), open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        mounts = file.read()
    return HostSigns(links, mounts)
