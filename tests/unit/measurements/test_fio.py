"""fio's command line, and its JSON as a real fio wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.measurements.fio import PROFILES, FioJob, make_command, read_output
from reconciler.core.measurements.values import Flow, Latency, Limits
from reconciler.errors import TerminalError

TEXT = Path(__file__).with_name("fio-3.33.json").read_text("utf-8")
JOB = FioJob(PROFILES["rand_rw"], "/srv/a:b", 8 * 2**20, 1, direct=True, depth=16, engine="libaio")


def test_a_mixed_run_is_read_as_fio_reported_it() -> None:
    found = read_output(TEXT)
    assert found.version == "fio-3.33"
    assert found.run.read == Flow(
        205737984, 205532451, 50178.821179, Latency(136.192, 403.456, 1384.448, 6127.616)
    )
    assert found.run.write is not None
    assert found.run.write.total == 88141824
    assert found.run.bandwidth == 205532451 + 88053770
    assert found.run.total == 205737984 + 88141824
    assert (found.run.cpu_user, found.run.cpu_system) == (3.9, 22.5)
    assert found.run.seconds == 1.001


def test_what_was_not_done_is_none_and_not_zero() -> None:
    data = json.loads(TEXT)
    data["jobs"][0]["write"] = data["jobs"][0]["trim"]
    run = read_output(json.dumps(data)).run
    assert run.write is None
    assert run.bandwidth == 205532451


def test_notes_of_fio_before_its_json_are_passed_over() -> None:
    text = f"fio: {{a note}} of both iodepth >= 1 and a synchronous engine\n{TEXT}"
    assert read_output(text) == read_output(TEXT)


def test_percentiles_that_fio_left_out_are_not_invented() -> None:
    data = json.loads(TEXT)
    del data["jobs"][0]["read"]["lat_ns"]["percentile"]
    run = read_output(json.dumps(data)).run
    assert run.read is not None
    assert run.read.latency is None


def _fail(data: Any) -> None:
    data["jobs"][0]["error"] = 28


def _drop_jobs(data: Any) -> None:
    data["jobs"] = []


def _drop_bandwidth(data: Any) -> None:
    del data["jobs"][0]["read"]["bw_bytes"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_fail, "^fio failed with error 28$"),
        (_drop_jobs, "^fio reported no result; it wrote: {"),
        (_drop_bandwidth, "^fio reported no result"),
    ],
)
def test_a_run_without_a_result_is_an_error(change: Any, words: str) -> None:
    data = json.loads(TEXT)
    change(data)
    with pytest.raises(TerminalError, match=words):
        read_output(json.dumps(data))


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "it wrote: nothing"), ("fio: pid=1, err=28\n", "it wrote: fio: pid=1, err=28")],
)
def test_an_output_without_json_is_shown(text: str, words: str) -> None:
    with pytest.raises(TerminalError, match=words):
        read_output(text)


def test_the_command_is_of_the_profile_and_keeps_fio_to_the_file() -> None:
    command = make_command(JOB, Limits())
    assert command[0] == "fio"
    for option in (
        "--filename=/srv/a\\:b",
        "--rw=randrw",
        "--rwmixread=70",
        "--bs=4096",
        "--iodepth=16",
        "--direct=1",
        "--size=8388608",
        "--allow_file_create=0",
        "--output-format=json",
    ):
        assert option in command
    assert not [option for option in command if option.startswith("--rate=")]
    assert "--rate=1000" in make_command(JOB, Limits(rate=1000))


def test_the_profiles_are_those_of_the_field_notes() -> None:
    assert {
        name: (profile.pattern, profile.block_size, profile.depth, profile.read_share)
        for name, profile in PROFILES.items()
    } == {
        "seq_write": ("write", 2**20, 16, None),
        "seq_read": ("read", 2**20, 16, None),
        "rand_write": ("randwrite", 4096, 32, None),
        "rand_read": ("randread", 4096, 32, None),
        "rand_rw": ("randrw", 4096, 32, 70),
    }
