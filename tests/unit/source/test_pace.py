"""When to look: soon after a hint, not while hints pour in but never much later, and anyway."""

from __future__ import annotations

import threading
from typing import List, Optional, Tuple

from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.clock import SystemClock
from reconciler.control.manifest_follower import MOST, QUIET, LookCause, LookTimer
from tests.unit.source.clocks import wait_until
from tests.unit.source.fakes import Time


def make(chance: float = 0.5) -> Tuple[LookTimer, Time]:
    time = Time()
    pace = LookTimer(30.0, time, chance=lambda: chance)
    pace.begin()
    return pace, time


def due_in(pace: LookTimer, time: Time) -> Tuple[float, LookCause]:
    due, cause = pace.find_due()
    return round(due - time.now, 6), cause


def test_the_first_look_is_due_at_once() -> None:
    assert LookTimer(30.0, Time()).wait() is LookCause.HINT


def test_without_a_hint_it_is_the_timer_ten_percent_more_or_less() -> None:
    assert due_in(*make(0.5)) == (30.0, LookCause.TIMER)
    assert due_in(*make(0.0)) == (27.0, LookCause.TIMER)
    assert due_in(*make(1.0)) == (33.0, LookCause.TIMER)


def test_a_hint_waits_until_it_is_quiet() -> None:
    pace, time = make()
    pace.hint()
    assert due_in(pace, time) == (QUIET, LookCause.HINT)
    time.now += QUIET / 2
    pace.hint()
    assert due_in(pace, time) == (QUIET, LookCause.HINT)


def test_a_burst_that_never_ends_starves_nobody() -> None:
    pace, time = make()
    start = time.now
    pace.hint()
    while pace.find_due()[0] > time.now:
        time.now += QUIET / 2
        pace.hint()
    assert MOST <= time.now - start < MOST + QUIET


@given(st.lists(st.floats(0, 3), max_size=40))
def test_a_look_is_never_later_than_the_limit_after_the_first_hint(gaps: List[float]) -> None:
    pace, time = make()
    first: Optional[float] = None
    for gap in gaps:
        time.now += gap
        if pace.find_due()[0] <= time.now:
            pace.begin()
            first = None
        pace.hint()
        first = time.now if first is None else first
        assert pace.find_due()[0] <= first + MOST + 1e-6


def test_hints_of_a_look_that_began_are_over_and_later_ones_are_not() -> None:
    pace, time = make()
    pace.hint()
    pace.begin()
    assert due_in(pace, time) == (30.0, LookCause.TIMER)
    pace.hint()
    assert due_in(pace, time) == (QUIET, LookCause.HINT)


def test_the_timer_does_not_wait_for_hints_to_end() -> None:
    pace, time = make()
    time.now += 29.9
    pace.hint()
    assert due_in(pace, time)[0] == 0.1


def test_a_hint_is_remembered_for_a_while() -> None:
    pace, time = make()
    assert not pace.was_hinted(2.0)
    pace.hint()
    pace.begin()
    time.now += 2.0
    assert pace.was_hinted(2.0)
    time.now += 0.1
    assert not pace.was_hinted(2.0)


def test_whoever_waits_is_woken_by_a_hint_and_by_the_end() -> None:
    pace = LookTimer(1000.0, SystemClock().now, quiet=0.0)
    causes: List[Optional[LookCause]] = []

    def run() -> None:
        while not causes or causes[-1] is not None:
            causes.append(pace.wait())

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: len(causes) == 1)
    pace.hint()
    wait_until(lambda: len(causes) == 2)
    pace.hint()
    wait_until(lambda: len(causes) == 3)
    pace.stop()
    thread.join(20)
    assert causes == [LookCause.HINT, LookCause.HINT, LookCause.HINT, None]
