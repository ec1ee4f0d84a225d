"""What the kernel's files tell: who listens, and which guests run. Connects to nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import FrozenSet, Iterator, Optional, Tuple

from reconciler.errors import TransientError

_SOCKETS = Path("/proc/self/net/unix")
_ACCEPTS = 0x10000  # __SO_ACCEPTCON, among the flags of a row
_COLUMNS = 8  # those before and with the path, which may hold spaces
# QEMU's state, by either daemon: NAME.xml is there while the guest is, NAME.pid its process.
_GUESTS = Path("/run/libvirt/qemu")


def read_listening() -> FrozenSet[str]:
    """Return the paths that somebody listens at. Raises TransientError if that cannot be seen."""
    try:
        return frozenset(_listening(_SOCKETS.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        raise TransientError(f"who listens cannot be seen: {error}") from error


def _listening(text: str) -> Iterator[str]:
    for line in text.splitlines()[1:]:
        columns = line.split(None, _COLUMNS - 1)
        if len(columns) == _COLUMNS and int(columns[3], 16) & _ACCEPTS:
            yield columns[-1].replace("/var/run/", "/run/", 1)


def read_guests() -> Optional[Tuple[str, ...]]:
    """Return the names of the guests that run; None if that cannot be seen."""
    try:
        names = sorted(one[: -len(".xml")] for one in os.listdir(_GUESTS) if one.endswith(".xml"))
    except FileNotFoundError:
        return ()
    except OSError:
        return None
    return tuple(one for one in names if not _has_ended(one))


def _has_ended(name: str) -> bool:
    """Whether it is certain that the guest's process is gone; in doubt it runs."""
    try:
        pid = int((_GUESTS / f"{name}.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return not Path(f"/proc/{pid}").exists()
