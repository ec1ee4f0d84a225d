"""Show metrics where the settings say: in a file for node_exporter, by HTTP, or both."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Callable, Dict, Optional, Type

from reconciler.core.loop.settings import MetricsSettings
from reconciler.errors import TransientError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MODE = 0o644  # another user's collector reads the file


class Exposition:
    """Metrics on offer. `render` gives their text whenever somebody asks."""

    def __init__(self, settings: MetricsSettings, render: Callable[[], str]) -> None:
        """Offer nothing yet."""
        self._settings = settings
        self._render = render
        self._server: Optional[ThreadingHTTPServer] = None

    def start(self) -> None:
        """Listen, where an address is set. Raises TransientError when that is not possible."""
        address, port = self._settings.address, self._settings.port
        if address is None:
            return
        try:
            self._server = ThreadingHTTPServer((address, port), _answering(self._render))
        except OSError as error:
            raise TransientError(
                f"metrics: cannot listen on {address}:{port}: {error.strerror}"
            ) from error
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    @property
    def port(self) -> int:
        """The port that is listened on; 0 if none is."""
        return self._server.server_port if self._server is not None else 0

    def write(self) -> None:
        """Write the file, where one is set, in one piece. Raises TransientError."""
        path = self._settings.file
        if path is None:
            return
        try:
            _write(path, self._render())
        except OSError as error:
            raise TransientError(f"metrics: cannot write {path}: {error.strerror}") from error

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _write(path: str, text: str) -> None:
    """Write beside and rename: the collector never sees half a file."""
    # The collector takes every *.prom file, so the half-made one must not end in that.
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, MODE)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


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
