"""The command line: verbs in, exit status out. The only room that may import every other.

This file and `arguments` are on the start-up path, so they import the standard library only;
everything else is imported by the verb that needs it.
"""

from __future__ import annotations

import gc
from typing import Optional, Sequence


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command with this process's streams; returns the exit status."""
    gc.disable()  # a command is over before a search for cycles would pay: 5% of a large plan
    from reconciler.cli.console import Console  # noqa: PLC0415 - start-up time
    from reconciler.cli.run import run  # noqa: PLC0415
    from reconciler.cli.services import Services  # noqa: PLC0415

    try:
        return run(argv, Console.of_process(), Services.from_options)
    finally:
        gc.freeze()  # nor does one pay at the very end
