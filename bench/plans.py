"""No-op plans of 1, 100 and 1,000 machines that are defined and off, beside their floor."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Tuple

from bench.fleet import A_FILE, Fleet
from bench.product import plan, unchanged
from bench.timing import Contender, Goal, Race, race

FLOOR = str(Path(__file__).with_name("floor.py"))
COUNTS = ((1, 9), (100, 9), (1000, 5))  # machines, rounds
GOAL_AT, GOAL = 1000, Goal("ratio", 2)
THREADS = 8  # as many as the product reads with


def measure(fleet: Fleet) -> Iterator[Race]:
    """Measure, with a host that has just these machines."""
    for count, rounds in COUNTS:
        folder = fleet.grow(count)
        contenders = [*_floors(fleet, folder, count), _plan(fleet, folder, count)]
        if count > A_FILE:
            packed = _plan(fleet, fleet.pack(folder), count)
            contenders.append(replace(packed, name=f"the same, {A_FILE} manifests to a file"))
        machines = "machine" if count == 1 else "machines"
        yield race(f"No-op plan of {count:,} {machines}", contenders, rounds)


def _plan(fleet: Fleet, folder: Path, count: int) -> Contender:
    command = plan(fleet.host.uri(), folder)
    goal = GOAL if count == GOAL_AT else None
    return Contender("`virt-reconciler plan`", command, unchanged(count), goal=goal)


def _floors(fleet: Fleet, folder: Path, count: int) -> List[Contender]:
    """Return the floor first that is the lowest: threads help where there is much to read."""
    few = count <= THREADS
    forms: List[Tuple[str, ...]] = [("1",)] if few else [(str(THREADS),), ("1",)]
    forms.append((*forms[0], "sizes"))
    return [
        Contender(
            _name(form),
            (sys.executable, FLOOR, fleet.host.uri(), str(folder), *form),
            f"{count} domains, {count} documents",
        )
        for form in forms
    ]


def _name(form: Tuple[str, ...]) -> str:
    threads = "1 thread" if form[0] == "1" else f"{form[0]} threads"
    return f"floor, {threads}{' and the size of each disk' if form[1:] else ''}"
