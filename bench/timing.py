"""Run whole processes in turn and keep how long each took. Judges nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Callable, Mapping, Optional, Sequence, Tuple

SHOWN = 2000  # characters of a failed command's output
# Without what a developer may have set: PYTHONDONTWRITEBYTECODE would compile at every start.


def clean() -> Mapping[str, str]:
    """Return the environment without what changes how Python runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@dataclass(frozen=True)
class Goal:
    """What is aimed for: a `ratio` or a `difference` to the yardstick, or `seconds` in all."""

    measure: str
    limit: float


def leave() -> None:
    """Undo nothing."""


@dataclass(frozen=True)
class Contender:
    """One command. `sign` must be in what it prints; `undo` follows each run and is not timed."""

    name: str
    command: Sequence[str]
    sign: str = ""
    undo: Callable[[], None] = leave
    goal: Optional[Goal] = None
    environment: Mapping[str, str] = field(default_factory=clean)


@dataclass(frozen=True)
class Race:
    """Seconds of each contender, round by round; the first contender is the yardstick."""

    title: str
    contenders: Tuple[Contender, ...]
    rounds: Tuple[Tuple[float, ...], ...]
    notes: Tuple[str, ...] = ()
    processor: Tuple[Tuple[float, ...], ...] = ()  # seconds of each process, as in `rounds`

    def processor_seconds(self, index: int) -> Sequence[float]:
        """Return the processor time of one contender, without that of libvirt's daemon."""
        return [one[index] for one in self.processor]

    def seconds(self, index: int) -> Sequence[float]:
        """Return the times of one contender."""
        return [one[index] for one in self.rounds]

    def ratios(self, index: int) -> Sequence[float]:
        """Return how many times as long as the yardstick it took in each round."""
        return [one[index] / one[0] for one in self.rounds]

    def differences(self, index: int) -> Sequence[float]:
        """Return how much longer than the yardstick it took in each round."""
        return [one[index] - one[0] for one in self.rounds]


def race(title: str, contenders: Sequence[Contender], rounds: int, *, warm_up: bool = True) -> Race:
    """Run all contenders in turn, A B C A B C …, after a first round that does not count."""
    print(f"{title}: {rounds} rounds of {len(contenders)}", file=sys.stderr, flush=True)
    if warm_up:
        _run_all(contenders)
    timed = [_run_all(contenders) for _ in range(rounds)]
    seconds = tuple(tuple(one[0] for one in row) for row in timed)
    processor = tuple(tuple(one[1] for one in row) for row in timed)
    return Race(title, tuple(contenders), seconds, processor=processor)


def _run_all(contenders: Sequence[Contender]) -> Tuple[Tuple[float, float], ...]:
    return tuple(_run(contender) for contender in contenders)


def _run(contender: Contender) -> Tuple[float, float]:
    """Return the seconds that passed, and those of the processor: a busy machine leaves them be."""
    start, before = time.perf_counter(), _processor()
    done = subprocess.run(
        contender.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=contender.environment,
        check=False,
    )
    seconds, processor = time.perf_counter() - start, _processor() - before
    if done.returncode != 0 or contender.sign not in done.stdout:
        raise RuntimeError(
            f"{contender.name} ended with {done.returncode}, or without {contender.sign!r}:\n"
            f"{done.stdout[-SHOWN:]}"
        )
    contender.undo()
    return seconds, processor


def _processor() -> float:
    """Return the processor time of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
