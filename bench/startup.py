"""Starting up: `--version` and `--help` beside an interpreter that does nothing."""

from __future__ import annotations

import sys
from typing import Iterator

from bench.product import PRODUCT
from bench.timing import Contender, Goal, Race, race

ROUNDS = 15
GOAL = Goal("seconds", 0.15)


def measure() -> Iterator[Race]:
    """Measure; needs neither root nor libvirt."""
    contenders = (
        Contender("`python -c pass`", (sys.executable, "-c", "pass")),
        Contender("`virt-reconciler --version`", (PRODUCT, "--version"), "virt-rec", goal=GOAL),
        Contender("`virt-reconciler --help`", (PRODUCT, "--help"), "usage:", goal=GOAL),
    )
    yield race("Starting up", contenders, ROUNDS)
