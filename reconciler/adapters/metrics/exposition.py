"""Show metrics where the settings say: in a file for node_exporter, by HTTP, or both."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Optional

from reconciler.core.loop.settings import MetricsSettings
from reconciler.errors import TransientError

if TYPE_CHECKING:
    from reconciler.adapters.metrics.address import Address

MODE = 0o644  # another user's collector reads the file


class Exposition:
    """Metrics on offer. `render` gives their text whenever somebody asks."""

    def __init__(self, settings: MetricsSettings, render: Callable[[], str]) -> None:
        """Offer nothing yet."""
        self._settings = settings
        self._render = render
        self._address: Optional[Address] = None

    def start(self) -> None:
        """Listen, where an address is set. Raises TransientError when that is not possible."""
        if self._settings.address is None:
            return
        # Costs 3 MiB, and few ask for it.
        from reconciler.adapters.metrics.address import Address  # noqa: PLC0415

        self._address = Address(self._settings.address, self._settings.port, self._render)

    @property
    def port(self) -> int:
        """The port that is listened on; 0 if none is."""
        return self._address.port if self._address is not None else 0

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
        if self._address is not None:
            self._address.close()


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
