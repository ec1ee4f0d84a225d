"""Show metrics where the settings say: in a file for node_exporter, by HTTP, or both."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Optional

from reconciler.core.loop.settings import MetricsSettings
from reconciler.errors import TransientError

if TYPE_CHECKING:
    from reconciler.adapters.metrics.endpoint import Endpoint

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
        from reconciler.adapters.metrics.endpoint import Endpoint  # noqa: PLC0415

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
            _write(path, self._render())
        except OSError as error:
            raise TransientError(f"cannot write {path}: {error.strerror}") from error

    def stop(self) -> None:
        """Listen no more."""
        if self._endpoint is not None:
            self._endpoint.stop()
            self._thread.join()
            self._endpoint = None


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
