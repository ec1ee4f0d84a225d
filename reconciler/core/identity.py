"""Names and addresses that are derived and never stored: MAC, volume name, device alias.

Each is a pure function of names in the manifest, so that every pass, every host and every plan
comes to the same value. A change here would change machines that exist: the tests pin values.
"""

from __future__ import annotations

import hashlib
import re
from typing import Optional
from urllib.parse import parse_qs, quote, urlsplit

from reconciler.errors import TerminalError

MAC_PREFIX = "52:54:00"
ALIAS_PREFIX = "ua-"
_ALIAS_NAME = re.compile(r"[A-Za-z0-9_-]+")
_SUFFIXES = {"": "", "raw": ".img"}
IMAGES = ("qcow2", "raw", "")  # what the name of a volume that we made may tell of its format


def derive_mac(machine: str, interface: str) -> str:
    """Return the MAC of an interface for which the manifest gives none.

    QEMU's prefix 52:54:00, then the first three bytes of sha256 over both names with a zero byte
    between. A clash with another domain is found by the planner, which sees every MAC of the host.
    """
    seed = hashlib.sha256(f"{machine}\0{interface}".encode()).digest()
    return ":".join((MAC_PREFIX, *(f"{byte:02x}" for byte in seed[:3])))


def volume_name(machine: str, disk: str, image: str) -> str:
    """Return the name of the volume made for a disk: `MACHINE-DISK.qcow2`, or .img for raw.

    An empty `image` is for pools that hold no files, where a suffix means nothing.
    """
    return f"{machine}-{disk}{_SUFFIXES.get(image, f'.{image}')}"


def alias_of(name: str) -> str:
    """Return the user alias that carries a device's name.

    libvirt drops an alias with any other character without a word, and the device would have lost
    its identity; so such a name is refused.
    """
    if not is_alias_name(name):
        raise TerminalError(
            f"device name {name!r}: only letters, digits, '-' and '_' survive in libvirt's alias"
        )
    return f"{ALIAS_PREFIX}{name}"


def is_alias_name(name: str) -> bool:
    """Whether a user alias can carry the name."""
    return _ALIAS_NAME.fullmatch(name) is not None


def name_of(alias: Optional[str]) -> Optional[str]:
    """Return the name that a user alias carries; None for libvirt's own aliases (`net0`)."""
    if alias is None or not alias.startswith(ALIAS_PREFIX):
        return None
    return alias[len(ALIAS_PREFIX) :]


def name_place(host: str, uri: str) -> str:
    """Return a name for a host's driver that is the same by every way there: `qemu-system-kvm01`.

    `host` is the name that libvirt reports. Of what a URI may say besides, only a socket that is
    not libvirt's usual one leads elsewhere.
    """
    parts = urlsplit(uri)
    sockets = parse_qs(parts.query).get("socket", [])
    other = [one for one in sockets if not one.startswith(("/run/libvirt/", "/var/run/libvirt/"))]
    words = [parts.scheme.partition("+")[0], parts.path.strip("/"), host]
    words += [f"socket={one}" for one in other]
    return quote("-".join(one for one in words if one), safe=" _-").replace(".", "%2E")
