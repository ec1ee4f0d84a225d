"""The connections to one host: one per driver, each opened when it is first needed."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, Optional

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.objects import Connection
from reconciler.errors import ReconcilerError, TransientError

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


MAIN = "qemu"
STORAGE = "storage"
NETWORK = "network"

_DAEMONS = {MAIN: "virtqemud", STORAGE: "virtstoraged", NETWORK: "virtnetworkd"}


class Connections:
    """One host's connections, safe to use from several threads."""

    def __init__(self, uri: Optional[str]) -> None:
        """Open nothing yet; None is what libvirt's own tools would use."""
        self._uri = uri
        self._open: Dict[str, Connection] = {}
        # Told of each connection that is opened and kept; a daemon asks it for events. Returns what
        # takes back all that was asked for: libvirt keeps a connection that somebody listens to.
        self.on_open: Callable[[str, Connection], Callable[[], None]] = _ignore
        self._let_go: Dict[str, Callable[[], None]] = {}
        # One for each: opening waits for a daemon, and one that hangs must not hold up the others.
        self._locks = {driver: threading.Lock() for driver in _DAEMONS}

    def get(self, driver: str = MAIN) -> Connection:
        """Return the driver's connection. Raises TransientError when libvirt is not reachable."""
        with self._locks[driver]:
            return self._get(driver)

    @contextmanager
    def own(self, driver: str) -> Iterator[Connection]:
        """Yield a connection of the caller's own, for a call that takes minutes.

        libvirt serves five requests of one connection at a time (max_client_requests), and a
        long one would hold up the short ones.
        """
        main = self.get()
        uri = driver_uri(main.getURI(), driver)
        if uri == main.getURI():
            yield main
            return
        connection = _open_secondary(uri, driver, main)
        try:
            yield connection
        finally:
            with binding.calling("closing a connection to libvirt"):
                connection.close()

    @property
    def uri(self) -> str:
        """The main connection's URI, as libvirt reports it."""
        with binding.calling("asking libvirt for its URI"):
            return self.get().getURI()

    @property
    def is_local(self) -> bool:
        """Whether the host is this one."""
        return is_local(self.uri)

    def _get(self, driver: str) -> Connection:
        known = self._open.get(driver)
        if known is None or not known.isAlive():
            known = self._open_driver(driver)
            self._let_go.pop(driver, _nothing)()
            self._open.pop(driver, None)
            if known is not self._open.get(MAIN):
                self._let_go[driver] = self.on_open(driver, known)
            self._open[driver] = known
        return known

    def _open_driver(self, driver: str) -> Connection:
        if driver == MAIN:
            return _open(self._uri, driver)
        main = self.get(MAIN)
        uri = driver_uri(main.getURI(), driver)
        return main if uri == main.getURI() else _open_secondary(uri, driver, main)


def _ignore(_driver: str, _connection: Connection) -> Callable[[], None]:
    """Do nothing with a new connection."""
    return _nothing


def _nothing() -> None:
    """Take back nothing."""


def _open_secondary(uri: str, driver: str, main: Connection) -> Connection:
    """Open a secondary driver; where the daemon has none, open the main one, which relays.

    A `?socket=` may be virtqemud's, which answers `storage:///system` with "no connection driver
    available" but passes on the storage calls of a `qemu:///system` client. A driver that is there
    and cannot be reached is an error, not a reason to look elsewhere.
    """
    try:
        return binding.open_connection(uri)
    except binding.Error as error:
        if binding.code_of(error) == binding.NO_CONNECT:
            return _open(main.getURI(), driver)
        raise _unreachable(error, uri, driver) from error


def _open(uri: Optional[str], driver: str) -> Connection:
    try:
        return binding.open_connection(uri)
    except binding.Error as error:
        raise _unreachable(error, uri or "libvirt's default URI", driver) from error


def _unreachable(error: Exception, uri: str, driver: str) -> ReconcilerError:
    """Return one line with the URI and what to check."""
    daemon = _DAEMONS.get(driver, driver)
    problem = binding.translate(error, f"cannot reach libvirt at {uri}")
    if isinstance(problem, TransientError):
        advice = f"is {daemon}.socket (or libvirtd.socket) running, and may this user use it?"
        return TransientError(f"{problem} ({advice})")
    return problem
