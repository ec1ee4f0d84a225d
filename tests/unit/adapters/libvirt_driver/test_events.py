"""Whoever cares for the connections is missed when it is gone."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from reconciler.adapters.libvirt.connections import (
    MAIN,
    SECRET,
    Connections,
    LibvirtEvents,
    run_event_loop,
)

LIMIT = 20.0  # seconds
NOWHERE = "qemu+unix:///system?socket=/nowhere/virtqemud-sock"


class Ear:
    """Hears that drivers are not there, and may not bear it."""

    def __init__(self, *, is_faulty: bool = False) -> None:
        self.is_faulty = is_faulty
        self.heard = threading.Event()

    def lost(self, _driver: str, _reason: str) -> None:
        self.heard.set()
        if self.is_faulty:
            raise ValueError("a bug")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_missed() -> None:
    news, ear = LibvirtEvents(Connections(NOWHERE)), Ear(is_faulty=True)
    news.start(cast("Any", ear))
    assert ear.heard.wait(LIMIT)
    for thread in news._threads:
        thread.join(LIMIT)
    assert not news.is_alive()
    news.stop()


def test_while_all_are_there_nobody_is_missed() -> None:
    news, ear = LibvirtEvents(Connections(NOWHERE)), Ear()
    news.start(cast("Any", ear))
    assert ear.heard.wait(LIMIT)
    assert news.is_alive()
    news.stop()


def test_a_connection_for_secrets_is_opened_beside_those_that_have_news() -> None:
    run_event_loop()
    connections = Connections("test:///default")
    connections.on_open = LibvirtEvents(connections)._register  # as when it is started
    connections.get(MAIN)
    assert connections.on_open(SECRET, connections.get(SECRET))() is None
