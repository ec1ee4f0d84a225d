"""`virt-reconciler apply`, in whose making of volumes somebody has time to look.

`python -m tests.real.slow_apply STEP URI PATH`: says so on a line and waits for one byte before
(`before`) or after (`after`) each volume is made; `never` waits nowhere. Ctrl-C is said on a line too.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from reconciler.adapters.libvirt.storage import LibvirtStorage
from reconciler.cli import main

INTERRUPTED = "interrupted"


def say_interrupted(_number: int, _frame: object) -> None:
    """Have Ctrl-C seen by the test, and then by the product."""
    os.write(sys.stdout.fileno(), f"{INTERRUPTED}\n".encode())  # it may come amid another write
    raise KeyboardInterrupt


def wait(step: str) -> None:
    """Say where we are, and go on when somebody says so."""
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()
    os.read(sys.stdin.fileno(), 1)  # not a line: several lanes may wait


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
    signal.signal(signal.SIGINT, say_interrupted)
    sys.exit(main(["--connect", uri, "apply", "--yes", path]))
