"""Programs that measure: run without a shell, counted, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.adapters.measurement.programs import LocalPrograms
from reconciler.core.measurements.values import Limits
from reconciler.errors import MissingError, TransientError

ROOT = Path(__file__).parents[3]
NO_LIMITS = Limits()


def test_how_a_program_ended_is_known() -> None:
    answer = LocalPrograms(()).run(("sh", "-c", "echo out; echo err >&2; exit 3"), 10, NO_LIMITS)
    assert (answer.status, answer.output, answer.errors) == (3, "out\n", "err\n")
    assert answer.words == "err"
    assert answer.cpu_user is not None


def test_a_program_is_niced_and_in_its_class() -> None:
    limits = Limits(nice=7, io_class="idle")
    answer = LocalPrograms(()).run(("sh", "-c", "nice; ionice"), 10, limits)
    assert answer.output.split() == [str(os.nice(0) + 7), "idle"]


def test_a_program_that_takes_too_long_is_killed() -> None:
    with pytest.raises(TransientError, match=r"^sleep did not end within 0 s and was killed"):
        LocalPrograms(()).run(("sleep", "60"), 0.01, NO_LIMITS)


def test_a_missing_program_is_named_with_its_packages() -> None:
    with pytest.raises(MissingError, match=r"^no-such-thing is not installed: dnf install "):
        LocalPrograms(()).run(("no-such-thing",), 1, NO_LIMITS)


def test_a_program_gets_the_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("inherited")
    descriptor = os.open(path, os.O_RDONLY)
    programs = LocalPrograms((descriptor,))
    answer = programs.run(("cat", f"/proc/self/fd/{descriptor}"), 10, NO_LIMITS)
    os.close(descriptor)
    assert answer.output == "inherited"


def test_a_program_dies_with_the_process_that_runs_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = (
        "from reconciler.adapters.measurement.programs import LocalPrograms as P\n"
        "from reconciler.core.measurements.values import Limits\n"
        f"P(()).run(('sh', '-c', 'exec 5>{fifo}; echo begun >&5; exec sleep 600'), 900, Limits())"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    with fifo.open() as reader:
        assert reader.readline() == "begun\n"
        caller.kill()
        caller.wait()
        assert reader.read() == ""  # its end is closed only when the program is dead
