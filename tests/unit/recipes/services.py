"""The comments of a pull request and the notes of a merge request, served to a script under test."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, Tuple
from urllib.parse import parse_qs, urlsplit

# Path of the list and of one, and the word for an update, as the services' documentation has them:
# https://docs.github.com/en/rest/issues/comments, https://docs.gitlab.com/api/notes/.
GITHUB = ("/repos/team/vms/issues/7/comments", "/repos/team/vms/issues/comments", "PATCH")
GITLAB = ("/projects/3/merge_requests/7/notes", "/projects/3/merge_requests/7/notes", "PUT")


class Comments:
    """A server on the loopback with one request's comments, oldest first."""

    def __init__(self, shape: Tuple[str, str, str]) -> None:
        self.shape = shape
        self.bodies: Dict[int, str] = {}
        self.calls: List[Tuple[str, str]] = []
        self.tokens: set[str] = set()
        comments = self

        class Handler(BaseHTTPRequestHandler):
            """Answers by `Comments.answer`."""

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                data = json.loads(self.rfile.read(size)) if size else {}
                token = self.headers.get("PRIVATE-TOKEN") or self.headers["Authorization"]
                comments.tokens.add(token)
                status, found = comments.answer(self.command, self.path, data)
                text = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815 - the server's names

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, method: str, path: str, data: Dict[str, str]) -> Tuple[int, Any]:
        """Do what the service would."""
        self.calls.append((method, path))
        parts = urlsplit(path)
        every, one, update = self.shape
        if (method, parts.path) == ("GET", every):
            words = parse_qs(parts.query)
            start, count = int(words["page"][0]) - 1, int(words["per_page"][0])
            found = [{"id": number, "body": body} for number, body in self.bodies.items()]
            return 200, found[start * count : (start + 1) * count]
        if (method, parts.path) == ("POST", every):
            number = 100 + len(self.bodies)
            self.bodies[number] = data["body"]
            return 201, {"id": number}
        folder, _, number_text = parts.path.rpartition("/")
        if (method, folder) == (update, one) and int(number_text) in self.bodies:
            self.bodies[int(number_text)] = data["body"]
            return 200, {"id": int(number_text)}
        return 404, {}

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
