"""A warm resync of many machines, beside reading the same XML and doing nothing with it."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from statistics import median
from typing import Callable, Iterator, List

from bench.fleet import Fleet
from reconciler.adapters.clock import StoppableClock
from reconciler.adapters.libvirt.host import attend
from reconciler.adapters.manifests.reader import load_manifests
from reconciler.control.loop import Loop
from reconciler.control.state import LoopServices
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.settings import Settings
from tests.unit.loop.fakes import CountingMeter, ListJournal, MemoryHistory, MemoryStore

COUNT = 1000
ROUNDS = 15
GOAL = 1.3
LIMIT = 120.0  # seconds


def measure(fleet: Fleet) -> Iterator[str]:
    """Yield the table."""
    manifests = fleet.grow(COUNT)
    loop = _start(fleet, manifests)
    loop.resync()  # both ways are warm
    floor: List[float] = []
    resync: List[float] = []
    for _ in range(ROUNDS):
        floor.append(_time(loop.shared.services.host.domains.list_domains))
        resync.append(_time(loop.resync))
    if len(loop.queue):
        raise RuntimeError("a resync found something to do")
    loop.queue.close()
    loop.shared.services.news.stop()
    yield _table(floor, resync)


def _start(fleet: Fleet, manifests: Path) -> Loop:
    host, news = attend(fleet.host.uri())
    parts = LoopServices(
        host=host,
        news=news,
        store=MemoryStore(),
        journal=ListJournal(),
        meter=CountingMeter(),
        clock=StoppableClock(),
        chance=random.random,
        history=MemoryHistory(),
    )
    loop = Loop(parts, Settings())
    threading.Thread(target=loop.lanes.run, daemon=True).start()
    news.start(loop)
    loaded = load_manifests([str(manifests)])
    _wait(lambda: not loop.shared.unreached)
    loop.publish(ManifestSet("bench", loaded.desired))
    _wait(lambda: len(loop.shared.ledger.all()) == COUNT and not len(loop.queue))
    if not loop.queue.wait_idle(LIMIT):
        raise RuntimeError("the loop does not come to rest")
    return loop


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the loop does not get there")
        time.sleep(0.05)


def _time(do: Callable[[], object]) -> float:
    begun = time.perf_counter()
    do()
    return time.perf_counter() - begun


def _table(floor: List[float], resync: List[float]) -> str:
    ratios = [two / one for one, two in zip(floor, resync)]
    verdict = "met" if median(ratios) <= GOAL else "missed"
    return "\n".join(
        [
            f"### Warm resync of {COUNT:,} machines",
            "",
            "|  | times | min s | median s | max s | ratio | goal |",
            "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
            _row("reading both configurations of each", floor, "1 | "),
            _row(
                "resync",
                resync,
                f"**{median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}) "
                f"| {GOAL:g} times: {verdict}",
            ),
            "",
        ]
    )


def _row(name: str, seconds: List[float], rest: str) -> str:
    figures = " | ".join(f"{one:.3f}" for one in (min(seconds), median(seconds), max(seconds)))
    return f"| {name} | {len(seconds)} | {figures} | {rest} |"
