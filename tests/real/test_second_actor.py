"""What a guest has written is never lost, whatever a second administrator does between passes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Iterator

import pytest

from tests.lab.host import LabHost, temporary_host
from tests.real.second_actor import Yard, left_to_do

SEQUENCES = 10  # in each of
PARTS = 30
LENGTH = 8  # things done by hand in one sequence
OFTEN = 0.4  # how often a pass comes between two of them


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    with temporary_host(kvm=False) as host:
        yield host


@pytest.mark.parametrize("part", range(PARTS))
def test_every_block_that_a_guest_wrote_is_still_there(
    host: LabHost, tmp_path: Path, part: int
) -> None:
    for number in range(SEQUENCES):
        folder = tmp_path / str(number)
        folder.mkdir()
        yard = Yard(host, folder, _chance(part * SEQUENCES + number))
        try:
            follow(yard)
        finally:
            yard.clear()


def _chance(number: int) -> random.Random:
    return random.Random(number)  # noqa: S311 - chance that repeats


def follow(yard: Yard) -> None:
    """Follow one sequence to its end."""
    yard.prepare()
    for _ in range(LENGTH):
        yard.work()
        yard.write()
        if yard.chance.random() < OFTEN:
            yard.reconcile("apply", "--yes")
    yard.remember()
    yard.reconcile("apply", "--yes")
    yard.reconcile("apply", "--yes")
    _, told = yard.reconcile("plan", "--format", "json")
    assert left_to_do(told[: told.rindex("}") + 1]) == [], yard.story()
    yard.check()
