"""The daemon: from drift to its repair, what it takes when nothing happens, and a resync.

Runs the installed command on a private host; what it does is watched from outside, through libvirt.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List, Sequence, Tuple

import libvirt  # type: ignore[import-untyped,unused-ignore]

from bench.fleet import Fleet
from bench.product import PRODUCT
from bench.timing import clean

DRIFTING = 100  # machines
ROUNDS = 2  # drifts of each: more would be a fight, and given up
IDLE = 1000  # machines
IDLE_SECONDS = 120.0
LIMIT = 120.0  # seconds
GOAL_MS, GOAL_SHARE, GOAL_MIB = 50, 0.001, 64
CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec:
  connect: "{uri}"
  state: {state}
  source: {{directory: {manifests}}}
"""


@dataclass(frozen=True)
class Daemon:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    state: Path

    def seconds(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Return its resident memory in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def wait_looked(self, count: int) -> None:
        """Wait until it has looked at so many machines."""
        deadline = time.monotonic() + LIMIT
        while len(list(self.state.glob("objects/*.json"))) < count:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("the daemon has not looked at all machines")
            time.sleep(0.1)


@contextlib.contextmanager
def running(fleet: Fleet, manifests: Path) -> Iterator[Daemon]:
    """Run the daemon on the fleet's host."""
    state = fleet.folder / f"state-{manifests.name}"
    config = fleet.folder / "config.yaml"
    config.write_text(
        CONFIG.format(uri=fleet.host.uri(), state=state, manifests=manifests), "utf-8"
    )
    process = subprocess.Popen(
        [PRODUCT, "run", "--config", str(config)],
        stderr=subprocess.DEVNULL,
        env={**clean(), "MALLOC_ARENA_MAX": "2"},  # as the service's unit has it
    )
    try:
        yield Daemon(process, state)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def measure(fleet: Fleet) -> Iterator[str]:
    """Yield the tables."""
    manifests = fleet.grow(DRIFTING)
    with running(fleet, manifests) as daemon:
        daemon.wait_looked(DRIFTING)
        yield _drift_table(_drift(fleet))
    manifests = fleet.grow(IDLE)
    with running(fleet, manifests) as daemon:
        begun = time.monotonic()
        daemon.wait_looked(IDLE)
        first = time.monotonic() - begun
        time.sleep(5)  # until it is quiet
        before = daemon.seconds()
        time.sleep(IDLE_SECONDS)
        share = (daemon.seconds() - before) / IDLE_SECONDS
        yield _idle_table(first, share, daemon.resident())


def _drift(fleet: Fleet) -> List[Tuple[float, float]]:
    """Change each machine by hand; return seconds of libvirt's own call and until the repair."""
    connection = libvirt.open(fleet.host.uri())
    found = [
        _drift_one(connection.lookupByName(f"vm{number:04}"))
        for _ in range(ROUNDS)
        for number in range(DRIFTING)
    ]
    connection.close()
    return found


def _drift_one(domain: Any) -> Tuple[float, float]:
    """Redefine a machine with less memory, and wait until it is as it was."""
    good = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    bad = good.replace("2097152</", "1048576</")
    connection = domain.connect()
    begun = time.perf_counter()
    # Validated, as the daemon's own is: that is most of what the call takes.
    connection.defineXMLFlags(bad, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    call = time.perf_counter() - begun
    deadline = time.monotonic() + LIMIT
    while "1048576</" in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{domain.name()} was not repaired")
        time.sleep(0.0005)
    return call, time.perf_counter() - begun - call


def _drift_table(found: Sequence[Tuple[float, float]]) -> str:
    calls, repairs = sorted(one for one, _ in found), sorted(one for _, one in found)
    rows = [
        f"| {name} | {len(some)} | {_ms(some, 0.5)} | {_ms(some, 0.99)} | {_ms(some, 1)} |"
        for name, some in (
            ("libvirt's own: define, validated", calls),
            ("from the change by hand to its repair", repairs),
        )
    ]
    more = 1000 * (_at(repairs, 0.99) - _at(calls, 0.99))
    goal = (
        f"p99 beyond libvirt's own: {more:.1f} ms (goal: {GOAL_MS} ms: {_judge(more <= GOAL_MS)})"
    )
    return "\n".join(
        [
            f"### Drift to repair, {DRIFTING} machines",
            "",
            "|  | times | p50 ms | p99 ms | max ms |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
            goal,
            "",
        ]
    )


def _idle_table(first: float, share: float, resident: float) -> str:
    return "\n".join(
        [
            f"### The daemon with {IDLE:,} machines",
            "",
            "|  | measured | goal |",
            "| --- | ---: | --- |",
            f"| from the start until each was checked | {first:.1f} s |  |",
            f"| idle, of one processor, over {IDLE_SECONDS:.0f} s | {100 * share:.2f} % "
            f"| {GOAL_SHARE:.1%}: {_judge(share <= GOAL_SHARE)} |",
            f"| resident memory | {resident:.1f} MiB "
            f"| {GOAL_MIB} MiB: {_judge(resident <= GOAL_MIB)} |",
            "",
        ]
    )


def _at(sorted_: Sequence[float], share: float) -> float:
    return sorted_[min(int(len(sorted_) * share), len(sorted_) - 1)]


def _ms(sorted_: Sequence[float], share: float) -> str:
    return f"{1000 * _at(sorted_, share):.1f}"


def _judge(met: bool) -> str:  # noqa: FBT001 - a word for it
    return "met" if met else "missed"
