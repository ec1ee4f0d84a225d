"""Measurements are read back as written, fit their schema, and damage is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reconciler.core.measurements.values import (
    DiskResult,
    DiskRun,
    DiskSetup,
    Environment,
    Figure,
    Flow,
    Latency,
    Limits,
    Measurement,
    is_label,
    read_measurement,
    write_measurement,
)
from reconciler.errors import RefusedError
from tests.unit.measurements.samples import make_measurement, make_result, make_run

SCHEMA = json.loads(
    (Path(__file__).parents[3] / "schemas" / "v1" / "Measurement.json").read_text("utf-8")
)
COUNTS = st.integers(0, 2**62)
NUMBERS = st.floats(0, 1e11, allow_nan=False)
LATENCIES = st.builds(Latency, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
FLOWS = st.none() | st.builds(Flow, COUNTS, COUNTS, NUMBERS, st.none() | LATENCIES)
RUNS = st.builds(
    DiskRun, NUMBERS, FLOWS, FLOWS, st.none() | NUMBERS, st.none() | NUMBERS, st.none() | COUNTS
)
TEXT = st.text(max_size=4)
MAYBE = st.none() | TEXT
RESULTS = st.builds(
    DiskResult,
    *(TEXT, TEXT, TEXT, st.booleans(), COUNTS, st.integers(1, 64), TEXT, COUNTS),
    *(st.none() | COUNTS, st.lists(RUNS, max_size=2).map(tuple)),
)
FIGURES = st.builds(
    Figure, *(TEXT, TEXT, TEXT, TEXT, TEXT), st.lists(NUMBERS, max_size=2).map(tuple)
)
DISKS = st.builds(
    DiskSetup, *(TEXT, TEXT, TEXT, TEXT, TEXT), *(MAYBE, MAYBE, MAYBE), st.none() | COUNTS
)
ENVIRONMENTS = st.builds(
    Environment,
    *(TEXT, TEXT, TEXT, st.none() | COUNTS),
    *(MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, st.none() | DISKS),
    *(MAYBE, MAYBE, MAYBE, MAYBE),
)
MEASUREMENTS = st.builds(
    Measurement,
    *(TEXT, TEXT, TEXT, ENVIRONMENTS, MAYBE, MAYBE),
    st.builds(Limits, COUNTS, MAYBE, st.none() | COUNTS),
    *(st.lists(RESULTS, max_size=2).map(tuple), st.lists(FIGURES, max_size=2).map(tuple)),
    st.lists(TEXT, max_size=2).map(tuple),
)
SAMPLE = make_measurement(make_result([make_run(1000)], direct=True))


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(MEASUREMENTS)
def test_it_is_read_as_it_was_written_and_fits_its_schema(measurement: Measurement) -> None:
    text = write_measurement(measurement)
    assert read_measurement(text, "m") == measurement
    assert [one.message for one in Draft7Validator(SCHEMA).iter_errors(json.loads(text))] == []


def test_what_a_newer_version_adds_is_left_out() -> None:
    data = json.loads(write_measurement(SAMPLE))
    assert read_measurement(json.dumps({**data, "more": 1}), "m") == SAMPLE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"takenAt": 1}, "takenAt: 1 does not fit here"),
        ({"results": {}}, "results: {} does not fit here"),
        ({"environment": {}}, "environment: .*missing 4 required"),
        ({"figures": [{"values": ["1"]}]}, r"figures\[0\].values\[0\]: '1' does not fit here"),
    ],
)
def test_damage_is_reported_with_its_place(change: Any, words: str) -> None:
    data = json.loads(write_measurement(SAMPLE))
    with pytest.raises(RefusedError, match=rf"^m: is damaged: {words}"):
        read_measurement(json.dumps({**data, **change}), "m")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a measurement: "),
        ("[" * 100_000, "is not a measurement: "),
        ("[]", "use a file that `virt-reconciler bench` wrote"),
        ('{"virtReconcilerSnapshot": 1}', "use a file that `virt-reconciler bench` wrote"),
        ('{"virtReconcilerMeasurement": 2}', "version 2, and this program knows 1"),
    ],
)
def test_another_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(RefusedError, match=f"^m: .*{words}"):
        read_measurement(text, "m")


@pytest.mark.parametrize(
    ("label", "is_one"),
    [
        ("before-bus-change", True),
        ("v1.2_x", True),
        ("", False),
        ("..", False),
        ("-x", False),
        ("a/b", False),
        ("a b", False),
        ("a\n", False),
        ("x" * 65, False),
    ],
)
def test_a_label_can_be_part_of_a_file_name(label: str, is_one: bool) -> None:
    assert is_label(label) is is_one
