"""The scripts that run in a guest, run here: they need nothing but a shell."""

from __future__ import annotations

import os
import socket
import subprocess

from reconciler.core.measurements.guest_script import make_listen_command


def wait_for_server(port: int, server: int) -> int:
    """Return the exit status of the command that waits for the server."""
    return subprocess.run(make_listen_command(port, server), check=False).returncode


def test_a_server_that_listens_is_found() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert wait_for_server(server.getsockname()[1], os.getpid()) == 0


def test_a_server_that_has_ended_is_not_waited_for() -> None:
    with subprocess.Popen("true") as server:
        server.wait()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert wait_for_server(free.getsockname()[1], server.pid) == 1
