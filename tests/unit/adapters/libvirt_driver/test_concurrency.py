"""Many short calls in threads, and one long call that is watched."""

from __future__ import annotations

import threading
import time
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.libvirt.clones import run_watched
from reconciler.adapters.libvirt.domain_reader import THREADS, map_in_threads


@given(st.lists(st.integers(), max_size=60))
def test_results_come_in_the_order_of_the_items(items: List[int]) -> None:
    assert map_in_threads(lambda one: one * 2, items) == [item * 2 for item in items]


def test_many_are_done_at_the_same_time() -> None:
    together = threading.Barrier(THREADS, timeout=30)
    map_in_threads(lambda _: together.wait(), list(range(THREADS)))


@pytest.mark.parametrize("count", [3, 30])
def test_an_error_is_the_callers(count: int) -> None:
    def fail(one: int) -> None:
        if one == 2:
            raise ValueError(str(one))

    with pytest.raises(ValueError, match="2"):
        map_in_threads(fail, list(range(count)))


def test_a_long_call_is_looked_at_and_gives_its_result() -> None:
    looks: List[float] = []

    def work() -> str:
        time.sleep(0.9)
        return "done"

    assert run_watched(work, lambda: looks.append(time.monotonic())) == "done"
    assert 2 <= len(looks) <= 4


def test_a_short_call_is_not_waited_for() -> None:
    started = time.monotonic()
    run_watched(lambda: None, lambda: pytest.fail("looked"))
    assert time.monotonic() - started < 0.2


def test_an_error_of_the_long_call_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        run_watched(lambda: 1 / 0, lambda: None)


def test_an_interrupt_ends_the_wait_at_once() -> None:
    release = threading.Event()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_watched(release.wait, interrupt)
    release.set()
