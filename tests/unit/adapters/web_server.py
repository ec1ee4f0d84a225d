"""A web server in the test's own process: it serves bytes, counts them, and misbehaves as told."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

Answer = Callable[["Handler"], None]


@dataclass
class Files:
    """What the server has, by path. `asked` are the requests: path, and from which byte on.

    `cut` are, by path, after how many bytes of an answer the connection is cut, one after the
    other; `answers` answer a path in a way of their own. `sent` counts the bytes of all bodies.
    """

    content: Dict[str, bytes] = field(default_factory=dict)
    redirects: Dict[str, str] = field(default_factory=dict)
    cut: Dict[str, List[int]] = field(default_factory=dict)
    answers: Dict[str, Answer] = field(default_factory=dict)
    asked: List[Tuple[str, int]] = field(default_factory=list)
    sent: int = 0
    resumes: bool = True
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    files: Files
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        """Answer as the files say."""
        files, path = self.files, self.path
        start = self._find_start()
        files.asked.append((path, start))
        if path in files.answers:
            files.answers[path](self)
        elif path in files.redirects:
            self.send_response(302)
            self.send_header("Location", files.redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path in files.content:
            self._send(files.content[path], start)
        else:
            self.send_error(404)

    def _find_start(self) -> int:
        words = self.headers.get("Range", "")
        return int(words[len("bytes=") :].rstrip("-")) if words else 0

    def _send(self, content: bytes, start: int) -> None:
        if start and self.files.resumes:
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            content = content[start:]
        else:
            self.send_response(200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cuts = self.files.cut.get(self.path)
        self.send(content[: cuts.pop(0)] if cuts else content)

    def send(self, content: bytes) -> None:
        """Send part of a body, and count it. The connection ends with the answer."""
        self.close_connection = True
        self.wfile.write(content)
        self.files.sent += len(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_words: Any) -> None:
        """Keep quiet: clients that go away are what is tested."""


@contextmanager
def serve(context: Optional[Any] = None) -> Iterator[Files]:
    """Serve until the end of the block; by TLS with that context."""
    files = Files()
    handler = type("OwnHandler", (Handler,), {"files": files})
    with _Server(("127.0.0.1", 0), handler) as server:
        scheme = "http"
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        files.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()
