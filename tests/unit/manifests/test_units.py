"""Sizes and times: exact both ways, or refused."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.units import format_size, parse_duration, parse_size, suggest_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("1KiB", 1024, id="kibibytes"),
        pytest.param("64MiB", 64 * 2**20, id="mebibytes"),
        pytest.param("4GiB", 4 * 2**30, id="gibibytes"),
        pytest.param("2TiB", 2 * 2**40, id="tebibytes"),
    ],
)
def test_a_size_is_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["4096", "4G", "4GB", "1.5GiB", "4 GiB", "-1GiB", "GiB", "4gib", "", "4GiB\n"]
)
def test_what_is_no_exact_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="like 4GiB"):
        parse_size(text)


@given(st.integers(1, 2**50).map(lambda one: one * 1024))
def test_a_size_in_whole_kib_survives_both_ways(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_a_size_is_spelled_with_the_largest_exact_unit() -> None:
    spelled = [format_size(one) for one in (2**30, 1536 * 2**20, 2**40, 1000, 0)]
    assert spelled == ["1GiB", "1536MiB", "1TiB", "1000B", "0B"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("4G", "4GiB"),
        ("4 gb", "4GiB"),
        ("04TB", "4TiB"),
        ("512m", "512MiB"),
        ("1.5GiB", "1536MiB"),
        ("0.5 tb", "512GiB"),
        ("2.0G", "2GiB"),
        ("1.1GiB", "1126MiB"),
        ("1.5K", "2KiB"),
        ("4", None),
        ("x", None),
    ],
)
def test_what_may_have_been_meant(text: str, meant: Optional[str]) -> None:
    assert suggest_size(text) == meant


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("2m", 120), ("1h", 3600)])
def test_a_duration_is_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "2 m", "1d", "1h30m", "1.5h", ""])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="30s"):
        parse_duration(text)
