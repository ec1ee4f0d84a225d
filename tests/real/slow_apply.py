"""`virt-reconciler apply`, in whose making of volumes somebody has time to look.

`python -m tests.real.slow_apply STEP URI PATH`: says so on a line and waits for one before (`before`)
or after (`after`) each volume is made.
"""

from __future__ import annotations

import sys
from typing import Any

from reconciler.adapters.libvirt.storage import LibvirtStorage
from reconciler.cli import main


def wait(step: str) -> None:
    """Say where we are, and go on when somebody says so."""
    print(step, flush=True)  # noqa: T201 - the test reads it
    sys.stdin.readline()


def slow(wanted: str) -> None:
    """Have volumes made slowly in this process."""
    quick = LibvirtStorage.create_volume

    def create(*arguments: Any) -> Any:
        if wanted == "before":
            wait(wanted)
        made = quick(*arguments)
        if wanted == "after":
            wait(wanted)
        return made

    setattr(LibvirtStorage, "create_volume", create)  # noqa: B010 - as mypy has it


if __name__ == "__main__":
    step, uri, path = sys.argv[1:]
    slow(step)
    sys.exit(main(["--connect", uri, "apply", "--yes", path]))
