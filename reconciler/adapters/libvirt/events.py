"""Events of libvirt, and the care for the connections they come over. Implements `ports.events`.

One thread runs libvirt's event loop for all connections of the process: without it no event comes
and no keepalive is answered. One thread for each driver sees that its connection is up: virtqemud,
virtnetworkd and virtstoraged are restarted each by itself.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Optional

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import MAIN, NETWORK, STORAGE, Connections
from reconciler.adapters.libvirt.objects import Connection
from reconciler.control.ports import Listener
from reconciler.errors import ReconcilerError

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
            one: threading.Event() for one in (MAIN, STORAGE, NETWORK)
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
        return all(one.is_alive() for one in (*_running, *self._threads))

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
        for as long as anything is registered with it.
        """
        undo: List[Callable[[], object]] = []

        def take_back() -> None:
            for one in undo:
                with suppress(binding.Error):  # it is dead, and forgets the callback all the same
                    one()

        try:
            with binding.calling(f"asking libvirt's {driver} driver for events"):
                connection.registerCloseCallback(self._closed, driver)
                undo.append(connection.unregisterCloseCallback)
                binding.keep_alive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
                for one in _REGISTER[driver](connection, self._hear):
                    undo.append(one)  # noqa: PERF402 - what was registered before a failure counts
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
        elif kind == "migrated":
            listener.domain_left(name)
        else:
            listener.surroundings_changed(kind, name)


Hear = Callable[[str, str], None]
Undo = Iterator[Callable[[], object]]


def _register_domains(connection: Connection, hear: Hear) -> Undo:
    def tell(_connection: Connection, domain: Any, *_rest: Any) -> None:
        hear("domain", domain.name())

    def tell_of_life(_connection: Connection, domain: Any, *rest: Any) -> None:
        if rest[:2] == binding.MIGRATED_AWAY:
            hear("migrated", domain.name())
        hear("domain", domain.name())

    for event in binding.DOMAIN_EVENTS:
        call = tell_of_life if event == binding.DOMAIN_LIFECYCLE else tell
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
