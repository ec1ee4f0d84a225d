"""Answer those who ask for metrics by HTTP, on this host alone. Reads nothing that it is sent.

Built on the plain TCP server: the standard library's HTTP server asks the name service for the
host's name when it starts, which waits long where there is none.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Callable, Dict

from reconciler.errors import RefusedError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATIENCE = 10  # seconds for a request to come in, and for its answer to be taken


class Endpoint(ThreadingTCPServer):
    """Listens from the start, and answers within `serve`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: str, port: int, render: Callable[[], str]) -> None:
        """Listen. Raises OSError, and RefusedError for an address that others can reach."""
        if not ipaddress.ip_address(address).is_loopback:
            raise RefusedError(f"{address} can be reached from a network; not listened on")
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
