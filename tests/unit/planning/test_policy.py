"""When a change that needs a cold start may take its guest down."""

from __future__ import annotations

from datetime import datetime

import pytest

from reconciler.core.machine import Disruption
from reconciler.core.manifest import Lifecycle, Window
from reconciler.core.plan import Effect
from reconciler.kinds.machine.planning.guards import is_open, settle_boot_effect

SATURDAY_NIGHT = Window((5,), 23 * 60, 120)
MONDAY = datetime(2026, 11, 23, 12, 0)  # noqa: DTZ001 - windows are in the host's local time


@pytest.mark.parametrize(
    ("day", "hour", "minute", "expected"),
    [
        (28, 22, 59, False),
        (28, 23, 0, True),
        (29, 0, 59, True),
        (29, 1, 0, False),
        (27, 23, 30, False),
    ],
)
def test_a_window_runs_past_midnight_and_ends(
    day: int, hour: int, minute: int, expected: bool
) -> None:
    now = datetime(2026, 11, day, hour, minute)  # noqa: DTZ001
    assert is_open((SATURDAY_NIGHT,), now) is expected


def test_a_window_runs_past_the_end_of_the_week() -> None:
    sunday_night = Window((6,), 23 * 60, 180)
    assert is_open((sunday_night,), datetime(2026, 11, 23, 1, 30))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("disruption", "effect"),
    [
        (Disruption.NEVER, Effect.WITHHELD),
        (Disruption.WHEN_OFF, Effect.NEXT_BOOT),
        (Disruption.RESTART, Effect.RESTART),
        (Disruption.WINDOW, Effect.NEXT_BOOT),
    ],
)
def test_the_lifecycle_decides_outside_a_window(disruption: Disruption, effect: Effect) -> None:
    lifecycle = Lifecycle(disruption, windows=(SATURDAY_NIGHT,))
    assert settle_boot_effect(lifecycle, MONDAY)[0] is effect


def test_an_open_window_allows_the_restart() -> None:
    lifecycle = Lifecycle(Disruption.WINDOW, windows=(SATURDAY_NIGHT,))
    effect, _ = settle_boot_effect(lifecycle, datetime(2026, 11, 28, 23, 30))  # noqa: DTZ001
    assert effect is Effect.RESTART


def test_without_a_clock_no_window_is_open() -> None:
    lifecycle = Lifecycle(Disruption.WINDOW, windows=(SATURDAY_NIGHT,))
    assert settle_boot_effect(lifecycle, None)[0] is Effect.NEXT_BOOT
