"""What systemd is told, on a socket as it has it."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Iterator, List

import pytest

from reconciler.adapters.systemd import SystemdSupervisor
from reconciler.control.service_ports import Supervisor


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Return the service manager's end of this process's notifications."""
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    # pytest's own folders may be longer than a socket's path can be.
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end,
    ):
        end.bind(f"{folder}/notify")
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"{folder}/notify")
        yield end


def received(manager: socket.socket) -> List[str]:
    """Return every notification that has come, each as it was sent."""
    found = []
    while True:
        try:
            found.append(manager.recv(65536).decode())
        except BlockingIOError:
            return found


def test_each_call_is_its_notification(manager: socket.socket) -> None:
    supervisor: Supervisor = SystemdSupervisor(os.environ)
    supervisor.ready()
    supervisor.status("37 machines, all ready")
    supervisor.alive()
    supervisor.stopping()
    assert received(manager) == [
        "READY=1",
        "STATUS=37 machines, all ready",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_a_reload_says_when_it_began(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    SystemdSupervisor(os.environ).reloading()
    (text,) = received(manager)
    first, second = text.split("\n")
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_the_same_status_is_sent_once(manager: socket.socket) -> None:
    supervisor = SystemdSupervisor(os.environ)
    for text in ("a", "a", "b", "a", "a"):
        supervisor.status(text)
    assert received(manager) == ["STATUS=a", "STATUS=b", "STATUS=a"]


def test_a_status_cannot_say_anything_else(manager: socket.socket) -> None:
    SystemdSupervisor(os.environ).status("web01\nREADY=1\0\x1b[31m\udcff")
    assert received(manager) == [r"STATUS=web01 READY=1\x00\x1b[31m\udcff"]


def test_a_manager_that_is_away_stops_nothing_and_gets_the_status_later(
    manager: socket.socket,
) -> None:
    path = Path(manager.getsockname())
    supervisor = SystemdSupervisor(os.environ)
    path.rename(f"{path}.away")
    supervisor.alive()
    supervisor.status("a")
    Path(f"{path}.away").rename(path)
    supervisor.status("a")
    assert received(manager) == ["STATUS=a"]


def test_outside_of_a_service_nothing_is_said(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = SystemdSupervisor({"WATCHDOG_USEC": "60000000"})
    supervisor.ready()
    supervisor.status("a")
    assert (received(manager), supervisor.watchdog_interval) == ([], 0.0)


HERE = str(os.getpid())


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        pytest.param({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": HERE}, 30.0, id="ours"),
        pytest.param({"WATCHDOG_USEC": "1500000"}, 0.75, id="for-whom-it-may-concern"),
        pytest.param({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, 0.0, id="another's"),
        pytest.param({"WATCHDOG_PID": HERE}, 0.0, id="none"),
        pytest.param({"WATCHDOG_USEC": "-1"}, 0.0, id="negative"),
        pytest.param({"WATCHDOG_USEC": "soon"}, 0.0, id="no-number"),
        pytest.param({"WATCHDOG_USEC": "²"}, 0.0, id="a-digit-that-is-none"),
    ],
)
def test_a_sign_of_life_is_given_twice_as_often_as_it_is_wanted(
    environ: dict[str, str], seconds: float
) -> None:
    supervisor = SystemdSupervisor({"NOTIFY_SOCKET": "/x", **environ})
    assert supervisor.watchdog_interval == seconds
