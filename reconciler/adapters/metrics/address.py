"""Metrics by HTTP, for whoever is on this machine. Answers two paths and nothing else."""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable, Dict, Type

from reconciler.errors import TransientError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Address:
    """A loopback address that is listened on."""

    def __init__(self, address: str, port: int, render: Callable[[], str]) -> None:
        """Listen. Raises TransientError when that is not possible."""
        try:
            self._server = ThreadingHTTPServer((address, port), _answering(render))
        except OSError as error:
            raise TransientError(
                f"metrics: cannot listen on {address}:{port}: {error.strerror}"
            ) from error
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    @property
    def port(self) -> int:
        """The port, also where the system chose it."""
        return self._server.server_port

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


def _answering(render: Callable[[], str]) -> Type[BaseHTTPRequestHandler]:
    class Answer(BaseHTTPRequestHandler):
        """Answers GET /metrics and GET /healthz."""

        def do_GET(self) -> None:
            """Answer."""
            texts: Dict[str, Callable[[], str]] = {"/metrics": render, "/healthz": lambda: "ok\n"}
            make = texts.get(self.path.split("?")[0])
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

    return Answer
