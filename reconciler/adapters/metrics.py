"""Metrics for those who collect them: a file, a loopback address. Counts nothing itself."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Callable, Dict, Optional

from reconciler.adapters.text_files import write_file
from reconciler.core.settings import MetricsSettings
from reconciler.errors import RefusedError, TransientError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATIENCE = 10  # seconds for a request to come in, and for its answer to be taken


class Endpoint(ThreadingTCPServer):
    """Listens from the start, and answers within `serve`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: str, port: int, render: Callable[[], str]) -> None:
        """Listen. Raises OSError, and RefusedError for an address that others can reach."""
        if not ipaddress.ip_address(address).is_loopback:
            raise RefusedError(
                f"{address} can be reached from a network, so metrics are not served there"
            )
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.texts: Dict[str, Callable[[], str]] = {"/metrics": render, "/healthz": lambda: "ok\n"}
        self._stopped = False
        super().__init__((address, port), _Answer)

    def serve(self) -> None:
        """Answer until `stop`. Sleeps in between, which `serve_forever` does not."""
        while not self._stopped:
            self.handle_request()
        self.server_close()

    def stop(self) -> None:
        """Have `serve` end, which listens no more then."""
        self._stopped = True
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes it

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about who has gone away meanwhile; a fault of ours is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Answer(BaseHTTPRequestHandler):
    """Answers GET /metrics and GET /healthz."""

    server: Endpoint
    timeout = PATIENCE
    server_version = "virt-reconciler"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        make = self.server.texts.get(self.path.split("?")[0])
        if make is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = make().encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet: a collector asks every few seconds."""


MODE = 0o644  # another user's collector reads the file


class Exposition:
    """Metrics on offer. `render` gives their text whenever somebody asks."""

    def __init__(self, settings: MetricsSettings, render: Callable[[], str]) -> None:
        """Offer nothing yet."""
        self._settings = settings
        self._render = render
        self._endpoint: Optional[Endpoint] = None
        self._thread = threading.Thread()

    def show(self) -> None:
        """Write the file, and listen if that is not done yet; to be called now and then.

        Raises TransientError when either is not possible; the other is done all the same.
        """
        try:
            self.write()
        finally:
            self.start()

    def start(self) -> None:
        """Listen, where an address is set.

        Raises TransientError when that is not possible, RefusedError for an address of a network.
        """
        address, port = self._settings.address, self._settings.port
        if address is None or self._endpoint is not None:
            return
        # The HTTP server takes 3 MiB, and most collect the file.

        try:
            self._endpoint = Endpoint(address, port, self._render)
        except OSError as error:
            raise TransientError(f"cannot listen on {address}:{port}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._endpoint.serve, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that is listened on; 0 if none is."""
        return self._endpoint.port if self._endpoint is not None else 0

    def write(self) -> None:
        """Write the file, where one is set, in one piece. Raises TransientError."""
        path = self._settings.file
        if path is None:
            return
        try:
            # The collector takes every *.prom file; the half-made one does not end in that.
            write_file(path, self._render(), MODE)
        except OSError as error:
            raise TransientError(f"cannot write {path}: {error.strerror}") from error

    def stop(self) -> None:
        """Listen no more."""
        if self._endpoint is not None:
            self._endpoint.stop()
            self._thread.join()
            self._endpoint = None
