"""The command line inside this process, so that hundreds of domains take seconds. No test is here."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.cli.console import Console
from reconciler.cli.run import run
from reconciler.cli.services import Services


class Piped(io.StringIO):
    """A text stream that is no terminal."""

    encoding = "utf-8"


class Connected(Services):
    """The real services, connected already."""

    def __init__(self, host: LibvirtHost) -> None:
        """Keep the connections."""
        super().__init__("test", {})
        self._host = host

    def connect(self, uri: Optional[str]) -> LibvirtHost:
        """Return the host."""
        return self._host


@dataclass(frozen=True)
class Commanding:
    """`virt-reconciler VERB …` on a host; what it writes down for itself goes to a folder."""

    host: LibvirtHost
    folder: Path

    def __call__(self, *words: str, status: int = 0) -> str:
        """Run it, check its exit status, and return what it printed."""
        out, err = Piped(), Piped()
        environ = {"XDG_STATE_HOME": str(self.folder)}
        done = run(
            list(words),
            Console(out, err, Piped(""), environ),
            lambda _options, _console: Connected(self.host),
        )
        assert done == status, f"{words}: {done}, not {status}\n{err.getvalue()}\n{out.getvalue()}"
        return out.getvalue()
