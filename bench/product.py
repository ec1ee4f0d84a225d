"""How the product is called: as the command that was installed beside this interpreter."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Tuple

PRODUCT = str(Path(sys.executable).with_name("virt-reconciler"))


def plan(uri: str, folder: Path) -> Tuple[str, ...]:
    """Return the command that plans; it succeeds only if nothing is to be changed."""
    return (PRODUCT, "-c", uri, "plan", "--detailed-exitcode", str(folder))


def apply(uri: str, path: Path) -> Tuple[str, ...]:
    """Return the command that applies without asking."""
    return (PRODUCT, "-c", uri, "apply", "--yes", str(path))


def unchanged(count: int) -> str:
    """Return how a plan of so many machines ends when it is empty."""
    return (
        "Plan: 0 to create, 0 to change (0 next-boot, 0 restart), 0 to delete (0 volumes), "
        f"{count} unchanged, 0 withheld."
    )
