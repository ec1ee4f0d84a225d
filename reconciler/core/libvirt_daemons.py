"""libvirt's daemons as values: the table of them, their sockets, and what was seen of a host's."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Callable, FrozenSet, Mapping, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

from reconciler.core.frozen import frozen
from reconciler.errors import TerminalError


class Verb(Enum):
    """What can be done to units, in the order in which it is done."""

    STOP = "stop"
    DISABLE = "disable"
    MASK = "mask"
    RESET = "reset-failed"
    ENABLE = "enable"
    START = "start"


RUN = "/run/libvirt"


class Mode(Enum):
    """How libvirt runs on a host: a daemon for each driver, or one for all."""

    MODULAR = "modular"
    MONOLITHIC = "monolithic"


@frozen
class Socket:
    """One socket of a daemon. `field` is its name in a plan; `path` is where it listens."""

    field: str
    unit: str
    path: str


@frozen
class LibvirtDaemon:
    """One daemon. `mode` is None for those that serve both modes.

    `socket` is that which clients use; `sides` are the others on local sockets; `remote` are the
    units that listen to the network, which nobody needs here.
    """

    name: str
    mode: Optional[Mode]
    socket: Socket
    sides: Tuple[Socket, ...]
    remote: Tuple[str, ...] = ()

    @property
    def service(self) -> str:
        """The service's unit."""
        return f"{self.name}.service"

    @property
    def sockets(self) -> Tuple[Socket, ...]:
        """The local sockets, the main one first."""
        return (self.socket, *self.sides)

    @property
    def units(self) -> Tuple[str, ...]:
        """Every unit, sockets first: a service whose socket is stopped is not started again."""
        return (*(socket.unit for socket in self.sockets), *self.remote, self.service)


def _driver(name: str) -> LibvirtDaemon:
    return _daemon(name, Mode.MODULAR, f"{name}-sock", f"{name}-admin-sock")


def _legacy(name: str, mode: Mode) -> LibvirtDaemon:
    remote = (f"{name}-tcp.socket", f"{name}-tls.socket")
    return _daemon(name, mode, "libvirt-sock", "libvirt-admin-sock", remote)


def _daemon(
    name: str, mode: Mode, main: str, admin: str, remote: Tuple[str, ...] = ()
) -> LibvirtDaemon:
    return LibvirtDaemon(
        name=name,
        mode=mode,
        socket=Socket("socket", f"{name}.socket", f"{RUN}/{main}"),
        sides=(
            Socket("roSocket", f"{name}-ro.socket", f"{RUN}/{main}-ro"),
            Socket("adminSocket", f"{name}-admin.socket", f"{RUN}/{admin}"),
        ),
        remote=remote,
    )


def _keeper(name: str) -> LibvirtDaemon:
    """Return a daemon that serves the other daemons, in both modes; it has no read-only socket."""
    return LibvirtDaemon(
        name,
        None,
        Socket("socket", f"{name}.socket", f"{RUN}/{name}-sock"),
        (Socket("adminSocket", f"{name}-admin.socket", f"{RUN}/{name}-admin-sock"),),
    )


DAEMONS: Tuple[LibvirtDaemon, ...] = (
    *map(
        _driver,
        (
            "virtqemud",
            "virtnetworkd",
            "virtstoraged",
            "virtnodedevd",
            "virtnwfilterd",
            "virtsecretd",
            "virtinterfaced",
        ),
    ),
    _legacy("virtproxyd", Mode.MODULAR),
    _keeper("virtlogd"),
    _keeper("virtlockd"),
    _legacy("libvirtd", Mode.MONOLITHIC),
)
BY_NAME: Mapping[str, LibvirtDaemon] = {daemon.name: daemon for daemon in DAEMONS}
ALL_UNITS: Tuple[str, ...] = tuple(unit for daemon in DAEMONS for unit in daemon.units)

# The daemon without which a host of that mode runs no guest.
MAIN: Mapping[Mode, str] = {Mode.MODULAR: "virtqemud", Mode.MONOLITHIC: "libvirtd"}


_ON = frozenset({"active", "activating", "reloading"})
# States of a unit file that start the unit at boot; "-runtime" ones are forgotten then.
_ENABLED = frozenset({"enabled", "generated", "alias"})
_ASKED_FOR = _ENABLED | {"enabled-runtime", "linked-runtime"}


@frozen
class Unit:
    """A systemd unit in systemd's own words: LoadState, ActiveState, UnitFileState, Result."""

    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    result: str = "success"

    @property
    def is_there(self) -> bool:
        """Whether it is installed, masked or not."""
        return self.load != "not-found"

    @property
    def is_masked(self) -> bool:
        """Whether nothing can start it."""
        return self.load == "masked" or self.enabled.startswith("masked")

    @property
    def is_usable(self) -> bool:
        """Whether it is installed and may be started."""
        return self.is_there and not self.is_masked

    @property
    def is_active(self) -> bool:
        """Whether it runs or listens, or is about to."""
        return self.active in _ON

    @property
    def is_failed(self) -> bool:
        """Whether systemd gave it up."""
        return self.active == "failed"

    @property
    def is_enabled(self) -> bool:
        """Whether it starts with the host."""
        return self.enabled in _ENABLED

    @property
    def is_on(self) -> bool:
        """Whether it runs now, or somebody asked for it to be started."""
        return self.is_active or self.enabled in _ASKED_FOR


@frozen
class SocketAnswer:
    """Who accepted a connection: a process and the unit it is of (empty: of none).

    `problem` says why that could not be found out; the rest is empty then. `refused`: nobody did.
    """

    unit: str = ""
    process: str = ""
    pid: int = 0
    problem: str = ""
    refused: bool = False


@frozen
class DaemonsView:
    """One host's daemons at one moment.

    `uri` is the connection in use, `client` the path of the socket that it goes to. `listening` are
    paths that somebody listens at. `guests` are those that run, None where that cannot be seen.
    `answers` maps those paths to which a connection was made; making one may start a daemon.
    """

    host: str
    uri: str
    client: str
    units: Mapping[str, Unit] = field(default_factory=dict)
    listening: FrozenSet[str] = frozenset()
    guests: Optional[Tuple[str, ...]] = ()
    answers: Mapping[str, SocketAnswer] = field(default_factory=dict)

    def unit(self, name: str) -> Unit:
        """Return the unit's state; one that was not seen is not installed."""
        return self.units.get(name, Unit())


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
        raise TerminalError(f"{uri} is another host; its systemd cannot be asked from here")
    if daemon is None or parts.path != "/system":
        raise TerminalError(f"{uri} is not served by a daemon of the host")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    own = query.get("socket")
    if own is not None:
        return own[4:] if own.startswith("/var/run/") else own
    return _choose(query.get("mode", "auto"), f"{RUN}/{daemon}-sock", exists)


def _choose(mode: str, direct: str, exists: Callable[[str], bool]) -> str:
    if mode == "legacy" or (mode == "auto" and not exists(direct) and exists(LEGACY)):
        return LEGACY
    return direct
