"""The work queue: each key once, one worker a key, nothing lost."""

from __future__ import annotations

import threading
import time as clock
from collections import Counter
from typing import Dict, List, Optional

from hypothesis import given
from hypothesis import strategies as st

from reconciler.control.queue import WorkQueue
from reconciler.core.conditions import FIRST, MOST, find_delay, spread


class Time:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def take(queue: WorkQueue[str]) -> Optional[str]:
    taken = queue.take(0)
    return None if taken is None else taken[0]


def test_a_key_waits_once_however_often_it_is_added() -> None:
    queue: WorkQueue[str] = WorkQueue(Time())
    for _ in range(3):
        queue.add("a")
    assert (take(queue), take(queue)) == ("a", None)


def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    queue: WorkQueue[str] = WorkQueue(Time())
    for key in "bac":
        queue.add(key)
    assert [take(queue) for _ in range(3)] == ["b", "a", "c"]


def test_what_comes_in_meanwhile_is_looked_at_afterwards_and_not_beside() -> None:
    queue: WorkQueue[str] = WorkQueue(Time())
    queue.add("a")
    assert take(queue) == "a"
    queue.add("a")
    queue.add("a")
    assert take(queue) is None
    queue.done("a")
    assert take(queue) == "a"
    queue.done("a")
    assert take(queue) is None


def test_a_delayed_key_comes_when_its_time_has() -> None:
    time = Time()
    queue: WorkQueue[str] = WorkQueue(time)
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    time.now += 4.9
    assert take(queue) is None
    time.now += 0.2
    assert take(queue) == "a"
    queue.done("a")
    time.now += 100
    assert take(queue) is None


def test_an_event_ends_a_delay() -> None:
    time = Time()
    queue: WorkQueue[str] = WorkQueue(time)
    queue.add_after("a", 300)
    queue.add("a")
    assert take(queue) == "a"
    queue.done("a")
    time.now += 400
    assert take(queue) is None


def test_a_key_that_falls_due_while_it_is_worked_on_is_looked_at_again() -> None:
    time = Time()
    queue: WorkQueue[str] = WorkQueue(time)
    queue.add("a")
    take(queue)
    queue.add_after("a", 1)
    time.now += 2
    assert take(queue) is None
    queue.done("a")
    assert take(queue) == "a"


def test_how_long_a_key_waited_is_told() -> None:
    time = Time()
    queue: WorkQueue[str] = WorkQueue(time)
    queue.add("a")
    time.now += 2.5
    assert queue.take(0) == ("a", 2.5)


def test_a_closed_queue_lets_its_takers_go() -> None:
    queue: WorkQueue[str] = WorkQueue(clock.monotonic)
    got: List[object] = []
    taker = threading.Thread(target=lambda: got.append(queue.take()))
    taker.start()
    queue.close()
    taker.join(10)
    assert got == [None]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_no_key_is_ever_worked_on_twice_at_a_time_nor_forgotten(keys: List[str]) -> None:
    queue: WorkQueue[str] = WorkQueue(clock.monotonic)
    busy: Counter[str] = Counter()
    last: Dict[str, int] = {}
    wrong: List[str] = []

    def work() -> None:
        while True:
            taken = queue.take()
            if taken is None:
                return
            key = taken[0]
            busy[key] += 1
            if busy[key] > 1:
                wrong.append(key)
            last[key] = state[key]
            busy[key] -= 1
            queue.done(key)

    state: Counter[str] = Counter()
    workers = [threading.Thread(target=work) for _ in range(3)]
    for one in workers:
        one.start()
    for key in keys:
        state[key] += 1
        queue.add(key)
    limit = clock.monotonic() + 20
    while last != dict(state) and clock.monotonic() < limit:
        clock.sleep(0.001)
    queue.close()
    for one in workers:
        one.join(20)
    assert wrong == []
    assert last == dict(state), "the last state of each was looked at"


def test_delays_grow_to_a_limit_and_never_beyond() -> None:
    delays = [find_delay(failures, 0) for failures in (1, 2, 3, 9, 10, 500)]
    assert delays == [FIRST, 2, 4, 256, MOST, MOST]
    assert MOST * 0.8 <= find_delay(99, 0.999) <= MOST


def test_intervals_are_spread_by_a_tenth() -> None:
    assert (round(spread(30, 0), 6), round(spread(30, 1), 6)) == (27.0, 33.0)
