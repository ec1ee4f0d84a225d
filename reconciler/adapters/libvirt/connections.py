"""The connections to one host, one per driver, and the events that come over them.

One thread runs libvirt's event loop for all connections of the process: without it no event comes
and no keepalive is answered. One thread for each driver sees that its connection is up: virtqemud,
virtnetworkd and virtstoraged are restarted each by itself.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional

from reconciler.adapters.libvirt import binding
from reconciler.core.frozen import regex
from reconciler.errors import ReconcilerError, TransientError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Connection
    from reconciler.control.ports import Listener

# Only the URI of QEMU's driver can be turned into that of another driver of the same host. The
# test driver has everything in one connection.
_SPLIT = regex(r"^qemu(?P<transport>\+[a-z0-9]+)?(?P<rest>://[^/]*/(?:system|session)\b.*)$")
_LOCAL = regex(r"^[a-z]+(?:\+unix)?:///")


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
SECRET = "secret"  # noqa: S105 - the driver's name

_DAEMONS = {
    MAIN: "virtqemud",
    STORAGE: "virtstoraged",
    NETWORK: "virtnetworkd",
    SECRET: "virtsecretd",
}


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
            known = self._open.get(driver)
            if known is None or not known.isAlive():
                known = self._open_driver(driver)
                self._let_go.pop(driver, _nothing)()
                self._open.pop(driver, None)
                if known is not self._open.get(MAIN):
                    self._let_go[driver] = self.on_open(driver, known)
                self._open[driver] = known
            return known

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

    def _open_driver(self, driver: str) -> Connection:
        if driver == MAIN:
            return _open(self._uri, driver)
        main = self.get(MAIN)
        uri = driver_uri(main.getURI(), driver)
        return main if uri == main.getURI() else _open_secondary(uri, driver, main)


def _ignore(_driver: str, _connection: Connection) -> Callable[[], None]:
    """Do nothing with a new connection."""
    return _nothing


def keep_up(_driver: str, connection: Connection) -> Callable[[], None]:
    """Have it noticed if the daemon at the other end hangs; needs libvirt's event loop."""
    with binding.calling("asking libvirt for signs of life"):
        binding.keep_alive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
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


# A daemon that hangs is noticed after interval * (count + 1) seconds, and its calls fail then.
KEEPALIVE_INTERVAL = 5  # seconds, libvirtd's own default
KEEPALIVE_COUNT = 5
FIRST_WAIT = 0.5  # seconds
MOST_WAIT = 30.0

_lock = threading.Lock()
_running: List[threading.Thread] = []


def run_event_loop() -> None:
    """Run libvirt's event loop in a thread of its own, once in a process, before any connection."""
    with _lock:
        if not _running:
            binding.register_event_loop()
            thread = threading.Thread(target=_turn, name="libvirt events", daemon=True)
            _running.append(thread)
            thread.start()


def _turn() -> None:
    while True:
        binding.run_events_once()


class LibvirtEvents:
    """News from the drivers of one host."""

    def __init__(self, connections: Connections) -> None:
        """Open nothing yet. The event loop must run before the first connection is opened."""
        self._connections = connections
        self._listener: Optional[Listener] = None
        self._stopped = threading.Event()
        self._threads: List[threading.Thread] = []
        self._woken: Dict[str, threading.Event] = {
            driver: threading.Event() for driver in (MAIN, STORAGE, NETWORK)
        }

    def start(self, listener: Listener) -> None:
        """Tell the listener from now on."""
        self._listener = listener
        self._connections.on_open = self._register
        for driver in self._woken:
            thread = threading.Thread(
                target=self._keep, args=(driver, listener), name=f"libvirt {driver}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def is_alive(self) -> bool:
        """Whether libvirt's event loop runs, and each driver has somebody who cares for it."""
        return all(thread.is_alive() for thread in (*_running, *self._threads))

    def stop(self) -> None:
        """Tell nothing more."""
        self._listener = None
        self._stopped.set()
        for woken in self._woken.values():
            woken.set()

    def _keep(self, driver: str, listener: Listener) -> None:
        """Keep one driver's connection up, and tell when it comes and goes."""
        wait, told = FIRST_WAIT, ""
        while not self._stopped.is_set():
            woken = self._woken[driver]
            woken.clear()
            try:
                self._connections.get(driver)
            except ReconcilerError as error:
                if str(error) != told:
                    listener.lost(driver, str(error))
                told = str(error)
                self._stopped.wait(wait)
                wait = min(wait * 2, MOST_WAIT)
                continue
            listener.reached(driver)
            wait, told = FIRST_WAIT, ""
            woken.wait()

    def _register(self, driver: str, connection: Connection) -> Callable[[], None]:
        """Ask a new connection for its events, and return how to take that back.

        Called by whoever opens it. libvirt holds on to a connection, and to its file descriptors,
        for as long as anything is registered with it. There are no news of secrets.
        """
        if driver not in _REGISTER:
            return _nothing
        undo: List[Callable[[], object]] = []

        def take_back() -> None:
            for unregister in undo:
                with suppress(binding.Error):  # it is dead, and forgets the callback all the same
                    unregister()

        try:
            with binding.calling(f"asking libvirt's {driver} driver for events"):
                connection.registerCloseCallback(self._closed, driver)
                undo.append(connection.unregisterCloseCallback)
                binding.keep_alive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
                for unregister in _REGISTER[driver](connection, self._hear):
                    undo.append(unregister)  # noqa: PERF402 - those before a failure count
        except ReconcilerError:
            take_back()
            raise
        return take_back

    def _closed(self, _connection: Connection, reason: int, driver: str) -> None:
        listener = self._listener
        try:
            if listener is not None and not self._stopped.is_set():
                listener.lost(driver, f"the connection was closed ({binding.close_reason(reason)})")
        finally:
            self._woken[driver].set()  # whatever becomes of the telling

    def _hear(self, kind: str, name: str) -> None:
        listener = self._listener
        if listener is None:
            return
        if kind == "domain":
            listener.domain_changed(name)
        elif kind == "guest":
            listener.guest_changed(name)
        elif kind == "migrated":
            listener.domain_left(name)
        else:
            listener.surroundings_changed(kind, name)


Hear = Callable[[str, str], None]
Undo = Iterator[Callable[[], object]]


def _register_domains(connection: Connection, hear: Hear) -> Undo:
    def tell(_connection: Connection, domain: Any, *_rest: Any) -> None:
        hear("domain", domain.name())

    def tell_of_guest(_connection: Connection, domain: Any, *_rest: Any) -> None:
        hear("domain", domain.name())
        hear("guest", domain.name())

    def tell_of_life(_connection: Connection, domain: Any, *rest: Any) -> None:
        if rest[:2] == binding.MIGRATED_AWAY:
            hear("migrated", domain.name())
        tell_of_guest(_connection, domain)

    for event in binding.DOMAIN_EVENTS:
        call = tell_of_guest if event in binding.GUEST_EVENTS else tell
        call = tell_of_life if event == binding.DOMAIN_LIFECYCLE else call
        number = connection.domainEventRegisterAny(None, event, call, None)
        yield partial(connection.domainEventDeregisterAny, number)


def _register_pools(connection: Connection, hear: Hear) -> Undo:
    def tell(_connection: Connection, pool: Any, *_rest: Any) -> None:
        hear("pool", pool.name())

    for event in binding.POOL_EVENTS:
        number = connection.storagePoolEventRegisterAny(None, event, tell, None)
        yield partial(connection.storagePoolEventDeregisterAny, number)


def _register_networks(connection: Connection, hear: Hear) -> Undo:
    def tell(_connection: Connection, network: Any, *_rest: Any) -> None:
        hear("network", network.name())

    for event in binding.NETWORK_EVENTS:
        number = connection.networkEventRegisterAny(None, event, tell, None)
        yield partial(connection.networkEventDeregisterAny, number)


_REGISTER: Dict[str, Callable[[Connection, Hear], Undo]] = {
    MAIN: _register_domains,
    STORAGE: _register_pools,
    NETWORK: _register_networks,
}
