"""Which URI reaches which libvirt driver of the same host. Pure.

With modular daemons (Rocky 9) each driver has its daemon, and a client of `qemu:///system` loses
the others' calls for good once one of them was restarted: virtqemud opens them once per client and
never again (libvirt, src/remote/remote_daemon_dispatch.c, remoteOpenConn). So each driver gets a
connection of its own. A monolithic libvirtd serves the same URIs.
"""

from __future__ import annotations

import re

# Only the URI of QEMU's driver can be turned into that of another driver of the same host. The
# test driver has everything in one connection.
_SPLIT = re.compile(r"^qemu(?P<transport>\+[a-z0-9]+)?(?P<rest>://[^/]*/(?:system|session)\b.*)$")
_LOCAL = re.compile(r"^[a-z]+(?:\+unix)?:///")


def driver_uri(uri: str, driver: str) -> str:
    """Return the URI of a driver (`storage`, `network`, `nodedev`) on the host that `uri` reaches.

    Transport, host and query stay. Where the drivers cannot be told apart (`test:///default`,
    `qemu:///embed`), it is `uri` itself.
    """
    match = _SPLIT.match(uri)
    if match is None:
        return uri
    return f"{driver}{match.group('transport') or ''}{match.group('rest')}"


def is_local(uri: str) -> bool:
    """Whether the host that `uri` reaches is this one, so that its files can be ours to see."""
    return _LOCAL.match(uri) is not None and not uri.startswith("test:")
