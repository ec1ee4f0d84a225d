"""No-op plans of 1, 100, 1,000 and 5,000 machines that are off, beside their floor."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple, Union

from bench.fleet import A_FILE, Fleet
from bench.product import plan, unchanged
from bench.timing import Contender, Goal, Race, clean, race

FLOOR = str(Path(__file__).with_name("floor.py"))
COUNTS = ((1, 9), (100, 9), (1000, 5))  # machines, rounds
MANY = (5000, 3)
GOALS = {1: Goal("ratio", 1.5), 1000: Goal("ratio", 1.5)}
THREADS = 8  # as many as the product reads with


def measure(fleet: Fleet) -> Iterator[Race]:
    """Measure, with a host that has just these machines."""
    return _measure(fleet, COUNTS)


def measure_growth(fleet: Fleet) -> Iterator[Union[Race, str]]:
    """Measure how time and memory grow; the host has more machines from now on."""
    yield from _measure(fleet, (MANY,))
    small, large = COUNTS[-1][0], MANY[0]
    for count in (small, large):
        yield _describe_memory(count, plan(fleet.host.uri(), fleet.grow(count)))


def _describe_memory(count: int, command: Sequence[str]) -> str:
    """Run a plan of this many machines alone, and say how much memory it had at most."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=clean()) as process:
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    seconds = used.ru_utime + used.ru_stime
    return (
        f"A plan of {count:,} machines has {used.ru_maxrss / 1024:.0f} MiB at most and takes "
        f"{seconds:.2f} s of processor: {1000 * seconds / count:.2f} ms a machine.\n"
    )


def _measure(fleet: Fleet, counts: Sequence[Tuple[int, int]]) -> Iterator[Race]:
    for count, rounds in counts:
        folder = fleet.grow(count)
        contenders = [*_floors(fleet, folder, count), _plan(fleet, folder, count)]
        if count > A_FILE:
            packed = _plan(fleet, fleet.pack(folder), count)
            contenders.append(replace(packed, name=f"the same, {A_FILE} manifests to a file"))
        machines = "machine" if count == 1 else "machines"
        yield race(f"No-op plan of {count:,} {machines}", contenders, rounds)


def _plan(fleet: Fleet, folder: Path, count: int) -> Contender:
    command = plan(fleet.host.uri(), folder)
    return Contender("`virt-reconciler plan`", command, unchanged(count), goal=GOALS.get(count))


def _floors(fleet: Fleet, folder: Path, count: int) -> List[Contender]:
    """Return the floor first that reads all that the plan must, in as many threads."""
    forms: List[Tuple[str, ...]] = [("1", "sizes"), ("1",)]
    if count > THREADS:
        forms = [(str(THREADS), "sizes"), (str(THREADS),), ("1",)]
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
