"""Writing a host of 1,000 machines down, and planning against that, beside planning on the host."""

from __future__ import annotations

from typing import Iterator

from bench.fleet import Fleet
from bench.product import PRODUCT, plan, unchanged
from bench.timing import Contender, Race, race

COUNT, ROUNDS = 1000, 5


def measure(fleet: Fleet) -> Iterator[Race]:
    """Measure; all domains are off."""
    folder, state = fleet.grow(COUNT), str(fleet.folder / "state.json")
    command = plan(fleet.host.uri(), folder)
    against = (PRODUCT, "plan", "--detailed-exitcode", "--against", state, str(folder))
    contenders = [
        Contender("`virt-reconciler plan`", command, unchanged(COUNT)),
        Contender("`snapshot`", (PRODUCT, "-c", fleet.host.uri(), "snapshot", "--out", state)),
        Contender("`plan --against`", against, unchanged(COUNT)),
    ]
    yield race(f"A snapshot of {COUNT:,} machines", contenders, ROUNDS)
