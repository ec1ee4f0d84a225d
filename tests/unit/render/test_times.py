"""Times as people and programs read them."""

from __future__ import annotations

from typing import Optional

import pytest

from reconciler.core.units import show_ago, show_ahead, show_span, show_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (86_400 * 400, "400d"),
    ],
)
def test_a_span_has_one_unit(seconds: float, text: str) -> None:
    assert show_span(seconds) == text


def test_a_time_that_is_not_known_is_called_so() -> None:
    assert show_ago(0, 100) == "at an unknown time"
    assert show_ago(40, 100) == "60s ago"


def test_what_is_past_is_due() -> None:
    assert (show_ahead(145, 100), show_ahead(99, 100)) == ("in 45s", "due")


@pytest.mark.parametrize(
    ("at", "text"), [(1_800_000_000.7, "2027-01-15T08:00:00Z"), (0.0, None), (None, None)]
)
def test_programs_get_utc(at: Optional[float], text: Optional[str]) -> None:
    assert show_time(at) == text
