"""The table of libvirt's daemons: their units and their sockets. Data, no judgement.

As of libvirt's docs/daemons.rst and the unit files in src/*/*.in. virtproxyd and libvirtd listen at
the same paths, of which only one can have them; modular services have `Conflicts=libvirtd.service`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Mapping, Optional, Tuple

RUN = "/run/libvirt"


class Mode(Enum):
    """How libvirt runs on a host: a daemon for each driver, or one for all."""

    MODULAR = "modular"
    MONOLITHIC = "monolithic"


@dataclass(frozen=True)
class Socket:
    """One socket of a daemon. `field` is its name in a plan; `path` is where it listens."""

    field: str
    unit: str
    path: str


@dataclass(frozen=True)
class Daemon:
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
        return (*(one.unit for one in self.sockets), *self.remote, self.service)


def _driver(name: str) -> Daemon:
    return _daemon(name, Mode.MODULAR, f"{name}-sock", f"{name}-admin-sock")


def _legacy(name: str, mode: Mode) -> Daemon:
    remote = (f"{name}-tcp.socket", f"{name}-tls.socket")
    return _daemon(name, mode, "libvirt-sock", "libvirt-admin-sock", remote)


def _daemon(name: str, mode: Mode, main: str, admin: str, remote: Tuple[str, ...] = ()) -> Daemon:
    return Daemon(
        name,
        mode,
        Socket("socket", f"{name}.socket", f"{RUN}/{main}"),
        (
            Socket("roSocket", f"{name}-ro.socket", f"{RUN}/{main}-ro"),
            Socket("adminSocket", f"{name}-admin.socket", f"{RUN}/{admin}"),
        ),
        remote,
    )


def _keeper(name: str) -> Daemon:
    """Return a daemon that serves the other daemons, in both modes; it has no read-only socket."""
    return Daemon(
        name,
        None,
        Socket("socket", f"{name}.socket", f"{RUN}/{name}-sock"),
        (Socket("adminSocket", f"{name}-admin.socket", f"{RUN}/{name}-admin-sock"),),
    )


DAEMONS: Tuple[Daemon, ...] = (
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
BY_NAME: Mapping[str, Daemon] = {one.name: one for one in DAEMONS}
ALL_UNITS: Tuple[str, ...] = tuple(unit for one in DAEMONS for unit in one.units)

# The daemon without which a host of that mode runs no guest.
MAIN: Mapping[Mode, str] = {Mode.MODULAR: "virtqemud", Mode.MONOLITHIC: "libvirtd"}
