"""Which runs a measurement is made of, and that each is read by its own program's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import pytest

from reconciler.core.measurements.series import (
    DiskJob,
    RunTarget,
    Ways,
    estimate_seconds,
    measure_job,
    plan_jobs,
)
from reconciler.core.measurements.tools import ProgramAnswer
from reconciler.core.measurements.values import Limits
from reconciler.errors import TerminalError

FIO = Path(__file__).with_name("fio-3.33.json").read_text("utf-8")
DD = "8388608 bytes (8.4 MB, 8.0 MiB) copied, 0.5 s, 16.8 MB/s\n"
TARGET = RunTarget("/proc/self/fd/5", 8 * 2**20, 30, Limits())


class FakeRunner:
    """Answers each program by its name, and keeps what it was asked."""

    def __init__(self, **answers: ProgramAnswer) -> None:
        self.answers: Dict[str, ProgramAnswer] = answers
        self.commands: List[Tuple[str, ...]] = []

    def run(self, command: Sequence[str], limit: float, limits: Limits) -> ProgramAnswer:
        self.commands.append(tuple(command))
        return self.answers[command[0]]

    def read_version(self, program: str) -> str:
        return f"{program} 1"


def test_half_of_the_runs_are_direct_and_half_buffered() -> None:
    jobs = plan_jobs(Ways(("seq_read", "dd_write"), (), ("libaio",), 4))
    assert jobs == (
        DiskJob("seq_read", direct=True, runs=2, depth=16, engine="libaio"),
        DiskJob("seq_read", direct=False, runs=2, depth=16, engine="libaio"),
        DiskJob("dd_write", direct=True, runs=2),
        DiskJob("dd_write", direct=False, runs=2),
    )


def test_each_depth_and_engine_is_a_result_of_its_own() -> None:
    jobs = plan_jobs(Ways(("rand_read",), (16, 32), ("libaio", "io_uring"), 2, has_direct=False))
    assert [(job.direct, job.depth, job.engine) for job in jobs] == [
        (False, 16, "libaio"),
        (False, 16, "io_uring"),
        (False, 32, "libaio"),
        (False, 32, "io_uring"),
    ]


def test_the_time_is_that_of_the_runs() -> None:
    ways = Ways(("rand_read", "dd_read", "cache_read"), (), ("libaio",), 4)
    assert estimate_seconds(plan_jobs(ways), 30) == 4 * 30 + 4 * 3


def test_runs_of_fio_are_read_with_what_the_kernel_counted() -> None:
    runner = FakeRunner(fio=ProgramAnswer(0, FIO, "", 1.0, from_storage=12345))
    told: List[str] = []
    job = DiskJob("rand_rw", direct=True, runs=2, depth=32, engine="libaio")
    result = measure_job(job, TARGET, runner, told.append)
    assert [run.from_storage for run in result.runs] == [12345, 12345]
    assert result.runs[0].bandwidth == 205532451 + 88053770
    assert (result.tool_version, result.block_size, result.seconds) == ("fio-3.33", 4096, 30)
    assert told == [
        "rand_rw direct depth 32, run 1 of 2",
        "rand_rw direct depth 32, run 2 of 2",
    ]
    assert "--iodepth=32" in runner.commands[0]


def test_runs_of_dd_have_no_run_time_and_no_depth() -> None:
    runner = FakeRunner(dd=ProgramAnswer(0, "", DD, 1.0))
    result = measure_job(DiskJob("dd_read", direct=False, runs=1), TARGET, runner, print)
    assert result.runs[0].bandwidth == 16777216
    assert (result.seconds, result.engine, result.tool_version) == (None, "", "dd 1")


def test_a_run_that_failed_says_which_and_what_fio_said() -> None:
    runner = FakeRunner(fio=ProgramAnswer(1, "", "fio: engine io_uring not loadable", 0.1))
    job = DiskJob("rand_read", direct=True, runs=1, depth=32, engine="io_uring")
    with pytest.raises(
        TerminalError,
        match=r"^rand_read direct depth 32 io_uring: fio .*: fio: engine io_uring not loadable",
    ):
        measure_job(job, TARGET, runner, print)
