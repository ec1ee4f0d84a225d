"""Work runs side by side, and what takes long holds up nobody."""

from __future__ import annotations

import threading
import time
from typing import List

import pytest

from reconciler.control import queue as lanes_module
from reconciler.control.queue import Lanes, WorkQueue

LIMIT = 20.0  # seconds


class Work:
    """Work that goes on until it is released."""

    def __init__(self) -> None:
        self.begun: List[str] = []
        self.changed = threading.Condition()
        self.released = threading.Event()

    def __call__(self, key: str, waited: float) -> None:
        with self.changed:
            self.begun.append(key)
            self.changed.notify_all()
        self.released.wait(LIMIT)

    def wait_begun(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= count, LIMIT), self.begun


def start(work: Work, count: int) -> WorkQueue[str]:
    queue: WorkQueue[str] = WorkQueue(time.monotonic)
    work_lanes = Lanes(queue, work, count, time.monotonic)
    threading.Thread(target=work_lanes.run, daemon=True).start()
    return queue


def test_only_so_many_run_side_by_side() -> None:
    work = Work()
    queue = start(work, 2)
    for key in "abc":
        queue.add(key)
    work.wait_begun(2)
    assert sorted(work.begun) == ["a", "b"]
    work.released.set()
    work.wait_begun(3)


def test_long_work_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "PATIENCE", 0.05)
    work = Work()
    queue = start(work, 1)
    for key in "abcde":
        queue.add(key)
    work.wait_begun(5)  # although none of them has ended
    work.released.set()


def test_idleness_can_be_waited_for() -> None:
    work = Work()
    queue: WorkQueue[str] = WorkQueue(time.monotonic)
    lanes = Lanes(queue, work, 1, time.monotonic)
    runner = threading.Thread(target=lanes.run, daemon=True)
    runner.start()
    queue.add("a")
    work.wait_begun(1)
    assert not queue.wait_idle(0.01)
    assert lanes.longest() > 0
    work.released.set()
    assert queue.wait_idle(LIMIT)
    queue.close()
    runner.join(LIMIT)
    assert not runner.is_alive()
