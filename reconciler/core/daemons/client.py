"""Which socket a client of libvirt connects to, as libvirt's src/remote/remote_sockets.c decides.

`mode=auto` looks whether the file of the modular socket exists, not whether anybody listens there.
"""

from __future__ import annotations

from typing import Callable, Mapping, Optional
from urllib.parse import parse_qs, urlsplit

from reconciler.core.daemons.table import RUN
from reconciler.errors import TerminalError

_DAEMONS: Mapping[str, str] = {
    "qemu": "virtqemud",
    "network": "virtnetworkd",
    "storage": "virtstoraged",
    "nodedev": "virtnodedevd",
    "nwfilter": "virtnwfilterd",
    "secret": "virtsecretd",
    "interface": "virtinterfaced",
}
LEGACY = f"{RUN}/libvirt-sock"
DEFAULT_ROOT = "qemu:///system"
DEFAULT_USER = "qemu:///session"


def find_uri(
    given: Optional[str], environment: Optional[str], configured: Optional[str], *, is_root: bool
) -> str:
    """Return the URI in use: what was asked for, else what libvirt's client would choose."""
    plain = DEFAULT_ROOT if is_root else DEFAULT_USER
    return given or environment or configured or plain


def find_socket(uri: str, exists: Callable[[str], bool]) -> str:
    """Return the path of the socket. Raises TerminalError where there is no such on this host."""
    parts = urlsplit(uri)
    driver, _, transport = parts.scheme.partition("+")
    daemon = _DAEMONS.get(driver)
    if parts.netloc or transport not in ("", "unix"):
        raise TerminalError(f"{uri} is another host, whose systemd is not ours to ask")
    if daemon is None or parts.path != "/system":
        raise TerminalError(f"{uri} is served by no daemon of the host")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    own = query.get("socket")
    if own is not None:
        return own[4:] if own.startswith("/var/run/") else own
    return _choose(query.get("mode", "auto"), f"{RUN}/{daemon}-sock", exists)


def _choose(mode: str, direct: str, exists: Callable[[str], bool]) -> str:
    if mode == "legacy" or (mode == "auto" and not exists(direct) and exists(LEGACY)):
        return LEGACY
    return direct
