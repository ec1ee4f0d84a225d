"""When connections are opened, shared, opened anew and closed."""

from __future__ import annotations

import threading
from typing import Dict, List, Optional, cast

import libvirt
import pytest

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import MAIN, NETWORK, STORAGE, Connections
from reconciler.adapters.libvirt.objects import Connection
from reconciler.errors import TransientError
from tests.unit.adapters.libvirt_driver.test_errors import Made

NO_DRIVER = Made(libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_FROM_NONE, "no connection driver")
REFUSED = Made(libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_FROM_RPC, "connection refused")


class Line:
    """A connection that knows its URI and can be cut."""

    def __init__(self, uri: str) -> None:
        """Start alive."""
        self.uri, self.alive, self.closed = uri, 1, False

    def getURI(self) -> str:  # noqa: N802
        return self.uri

    def isAlive(self) -> int:  # noqa: N802
        return self.alive

    def close(self) -> int:
        self.closed = True
        return 0


class Exchange:
    """Opens lines, and remembers them."""

    def __init__(self, errors: Optional[Dict[str, Exception]] = None) -> None:
        """Answer the given URIs with these errors."""
        self.errors = errors or {}
        self.opened: List[Line] = []

    def open(self, uri: Optional[str]) -> Connection:
        """Stand in for binding.open_connection."""
        uri = uri or "qemu:///system"
        if uri in self.errors:
            raise self.errors[uri]
        self.opened.append(Line(uri))
        return cast("Connection", self.opened[-1])

    @property
    def uris(self) -> List[str]:
        """What was opened, in order."""
        return [one.uri for one in self.opened]


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    exchange = Exchange()
    monkeypatch.setattr(binding, "open_connection", exchange.open)
    return exchange


def test_nothing_is_opened_before_it_is_needed(exchange: Exchange) -> None:
    Connections(None)
    assert exchange.uris == []


def test_each_driver_has_a_connection_of_its_own_and_keeps_it(exchange: Exchange) -> None:
    connections = Connections(None)
    for driver in (STORAGE, MAIN, NETWORK, STORAGE, MAIN):
        connections.get(driver)
    assert exchange.uris == ["qemu:///system", "storage:///system", "network:///system"]


def test_a_dead_connection_is_opened_anew_and_the_others_are_kept(exchange: Exchange) -> None:
    connections = Connections(None)
    connections.get(STORAGE)
    exchange.opened[1].alive = 0
    connections.get(STORAGE)
    assert exchange.uris == ["qemu:///system", "storage:///system", "storage:///system"]


def test_where_the_daemon_has_no_such_driver_the_main_one_relays(exchange: Exchange) -> None:
    exchange.errors = {"storage+unix:///system?socket=/q": NO_DRIVER}
    found = Connections("qemu+unix:///system?socket=/q").get(STORAGE)
    assert found.getURI() == "qemu+unix:///system?socket=/q"


def test_a_secondary_daemon_that_is_down_is_an_error_that_names_it(exchange: Exchange) -> None:
    exchange.errors = {"storage:///system": REFUSED}
    with pytest.raises(TransientError, match=r"storage:///system.*virtstoraged\.socket"):
        Connections(None).get(STORAGE)


def test_an_own_connection_is_new_and_closed_after_use(exchange: Exchange) -> None:
    connections = Connections(None)
    common = connections.get(STORAGE)
    with connections.own(STORAGE) as own:
        assert own is not common
    assert [one.closed for one in exchange.opened] == [False, False, True]


def test_a_single_connection_serves_all_and_is_never_closed(exchange: Exchange) -> None:
    connections = Connections("test:///default")
    with connections.own(STORAGE) as own:
        assert own is connections.get(MAIN) is connections.get(NETWORK)
    assert [one.closed for one in exchange.opened] == [False]


def test_a_daemon_that_does_not_answer_holds_up_no_other(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def hang(uri: Optional[str]) -> Connection:
        if uri == "storage:///system":
            asked.set()
            answered.wait(20)
        return exchange.open(uri)

    monkeypatch.setattr(binding, "open_connection", hang)
    connections = Connections(None)
    threading.Thread(target=connections.get, args=(STORAGE,), daemon=True).start()
    assert asked.wait(20)
    others = threading.Thread(
        target=lambda: [connections.get(one) for one in (MAIN, NETWORK)], daemon=True
    )
    others.start()
    others.join(5)
    alive = others.is_alive()
    answered.set()
    assert not alive
