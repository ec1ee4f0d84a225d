"""Measurements that are kept: each under a name of its own, the oldest forgotten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.adapters.state import measurements
from reconciler.adapters.state.measurements import FolderMeasurements
from reconciler.core.frozen import replace
from reconciler.errors import TransientError
from tests.unit.measurements.samples import make_measurement

SAMPLE = make_measurement(name="disk-20270115-080000")


def test_what_is_kept_is_listed_newest_first(tmp_path: Path) -> None:
    store = FolderMeasurements(str(tmp_path))
    assert store.list() == ((), ())
    first, second = store.keep(SAMPLE), store.keep(replace(SAMPLE, label="after"))
    assert (first.id, second.id) == ("disk-20270115-080000", "disk-20270115-080000-2")
    os.utime(tmp_path / "measurements" / f"{first.id}.json", (1, 1))
    assert store.list() == ((second, first), ())


def test_a_damaged_one_is_named_and_does_not_hide_the_others(tmp_path: Path) -> None:
    store = FolderMeasurements(str(tmp_path))
    kept = store.keep(SAMPLE)
    path = tmp_path / "measurements" / "disk-1.json"
    path.write_text("{")
    found, problems = store.list()
    assert found == (kept,)
    assert [problem.split(": ")[0] for problem in problems] == [str(path)]


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "KEPT", 2)
    store = FolderMeasurements(str(tmp_path))
    for number in range(4):
        kept = store.keep(replace(SAMPLE, id=f"disk-{number}"))
        os.utime(tmp_path / "measurements" / f"{kept.id}.json", (number, number))
    assert [each.id for each in store.list()[0]] == ["disk-3", "disk-2"]


def test_a_state_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "measurements").write_text("")
    with pytest.raises(TransientError, match="the result cannot be kept"):
        FolderMeasurements(str(tmp_path)).keep(SAMPLE)
