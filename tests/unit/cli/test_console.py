"""Streams: encodings, closed pipes, and the process around the command."""

from __future__ import annotations

import contextlib
import errno
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Dict, Tuple, cast

import pytest

from reconciler.cli.console import Console
from reconciler.cli.progress import LineReporter, ProgressBoard
from reconciler.cli.run import run
from reconciler.core.plan import Action, ActionKind, Outcome
from reconciler.core.units import format_roughly
from reconciler.errors import OutputError
from tests.unit.fake_clock import FakeClock

from .fakes import FakeServices, Piped, Terminal, call, manifests

ROOT = Path(__file__).parents[3]
CREATE = Action("VirtualMachine", "vm1", ActionKind.CREATE)


def reporter_to(console: Console, clock: FakeClock) -> LineReporter:
    """Return the reporter of the one action."""
    return ProgressBoard(console, clock).report_on(CREATE)


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Fail as the kernel would have it."""
        raise BrokenPipeError


def process(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "reconciler", *argv],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_closed_pipe_ends_quietly() -> None:
    err = Piped()
    console = Console(Closed(), err, Piped(), {})
    status = run(["plan", "p"], console, lambda _options, _console: FakeServices())
    assert (status, err.getvalue()) == (141, "")


class Closing(io.StringIO):
    """A pipe whose reader goes away when the first result is there."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Take the plan, and fail from then on."""
        if ": created" in text:
            raise BrokenPipeError
        return super().write(text)


def test_closed_pipe_never_stops_an_apply_halfway() -> None:
    services = FakeServices(manifests(vm1={}, vm2={"power": "running"}))
    console = Console(Closing(), Closed(), Piped(), {})
    run(["apply", "--yes", "p"], console, lambda _options, _console: services)
    assert sorted(services.host.writes) == ["define vm1", "define vm2", "start vm2"]


class FullDisk(io.StringIO):
    """A log whose disk is full from the first text on that contains `since`."""

    encoding = "utf-8"

    def __init__(self, since: str = "") -> None:
        """Begin with room."""
        super().__init__()
        self._since, self._is_full = since, False

    def write(self, text: str) -> int:
        """Fail as the kernel would have it."""
        self._is_full = self._is_full or self._since in text
        if self._is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)

    def flush(self) -> None:
        """Fail for what was written before, as a buffered stream does."""
        if self._is_full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_never_stops_an_apply_halfway() -> None:
    services = FakeServices(manifests(vm1={}, vm2={"power": "running"}))
    err = Piped()
    console = Console(FullDisk(": created"), err, Piped(), {})
    status = run(["apply", "--yes", "p"], console, lambda _options, _console: services)
    assert sorted(services.host.writes) == ["define vm1", "define vm2", "start vm2"]
    assert (status, err.getvalue()) == (1, FULL)


FULL = (
    "virt-reconciler: error: standard output cannot be written: No space left on device; make room "
    "where it goes, and run this again\n"
)


def test_a_plan_that_nobody_can_read_because_the_disk_is_full_is_not_applied() -> None:
    services, err = FakeServices(manifests(vm1={})), Piped()
    console = Console(FullDisk(), err, Piped(), {})
    status = run(["apply", "--yes", "p"], console, lambda _options, _console: services)
    assert (status, err.getvalue(), services.host.writes) == (1, FULL, [])


def test_an_error_is_told_although_standard_output_is_full() -> None:
    out, err = FullDisk(), Piped()
    console = Console(out, err, Piped(), {})
    with contextlib.suppress(OutputError):
        console.write("a plan")
    console.error("no such domain")
    assert err.getvalue() == "virt-reconciler: error: no such domain\n"


@pytest.mark.parametrize(
    ("end", "status", "err"),
    [(">/dev/full", 1, FULL), (">&-", 0, ""), (">/dev/full 2>&1", 1, ""), (">&- 2>&- <&-", 0, "")],
)
def test_a_process_whose_output_goes_nowhere_ends_without_a_trace(
    end: str, status: int, err: str
) -> None:
    command = f"{sys.executable} -m reconciler schema Host {end}"
    done = subprocess.run(  # noqa: S602 - redirections are the point
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, err)


def test_failure_is_told_although_nobody_reads_it() -> None:
    reporter = reporter_to(Console(Closed(), Closed(), Piped(), {}), FakeClock())
    reporter.started(CREATE)
    reporter.finished(Outcome("vm1", ActionKind.CREATE, "no space"))


def test_progress_tells_the_rate() -> None:
    out, clock = Piped(), FakeClock()
    reporter = reporter_to(Console(out, Piped(), Piped(), {}), clock)
    reporter.started(CREATE)
    reporter.progress("root", 0, 1000 * 1024)
    clock.sleep(2.0)
    reporter.progress("root", 500 * 1024, 1000 * 1024)
    assert out.getvalue() == "vm1: root:  50% of 1000.0KiB (500.0KiB, 250.0KiB/s)\n"


def test_progress_of_nothing_is_no_division_by_zero() -> None:
    out = Piped()
    reporter_to(Console(out, Piped(), Piped(), {}), FakeClock()).progress("root", 0, 0)
    assert out.getvalue() == ""


def test_progress_of_what_nobody_can_measure_is_told_once_for_each_part() -> None:
    out = Piped()
    reporter = reporter_to(Console(out, Piped(), Piped(), {}), FakeClock())
    for doing in ("looking", "looking", "writing"):
        reporter.progress(f"root: {doing}", 0, -1)
    assert out.getvalue() == "vm1: root: looking\nvm1: root: writing\n"


def side_by_side(*names: str, terminal: bool = False) -> Tuple[Piped, Piped]:
    """Copy two disks at once, of which the second fails; return what was written."""
    out, err = Terminal() if terminal else Piped(), Piped()
    board = ProgressBoard(Console(out, err, Piped(), {}), FakeClock())
    reporters = []
    for name in names:
        work = replace(CREATE, name=name)
        reporters.append(board.report_on(work))
        reporters[-1].started(work)
    for reporter in reporters:
        reporter.progress("root", 50, 100)
    first, second = (Outcome(name, ActionKind.CREATE) for name in names)
    reporters[1].finished(replace(second, error="no space"))
    reporters[0].progress("root", 60, 100)
    reporters[0].finished(first)
    return cast(Piped, out), err


def test_lines_of_objects_that_are_under_way_together_each_name_theirs() -> None:
    out, err = side_by_side("vm1", "vm2")
    assert out.getvalue().splitlines() == [
        "vm1: root:  50% of 100B (50B)",
        "vm2: root:  50% of 100B (50B)",
        "vm1: root:  60% of 100B (60B)",
        "vm1: created",
    ]
    assert err.getvalue() == "virt-reconciler: error: vm2: no space\n"


def test_a_terminal_shows_all_copies_on_one_line_as_long_as_they_last() -> None:
    out, _ = side_by_side("vm1", "vm2", terminal=True)
    one, other = "vm1: root:  50% of 100B (50B)", "vm2: root:  50% of 100B (50B)"
    assert out.getvalue() == (
        f"\r{one}\033[K\r{one} · {other}\033[K\r\033[K"
        "\rvm1: root:  60% of 100B (60B)\033[K\r\033[Kvm1: created\n"
    )


def test_copies_that_a_terminal_has_no_room_for_never_wrap() -> None:
    out, _ = side_by_side("a" * 60, "b" * 60, terminal=True)
    assert max(len(line) for line in out.getvalue().replace("\033[K", "").split("\r")) < 80


def test_all_that_was_under_way_is_named_after_ctrl_c() -> None:
    err = Piped()
    board = ProgressBoard(Console(Piped(), err, Piped(), {}), FakeClock())
    for name in ("vm1", "vm2", "vm3"):
        work = replace(CREATE, name=name)
        reporter = board.report_on(work)
        reporter.started(work)
        if name == "vm2":
            reporter.finished(Outcome(name, ActionKind.CREATE))
    board.interrupted()
    assert err.getvalue() == (
        "virt-reconciler: error: interrupted at vm1, vm3; the rest was not started\n"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (60 * 1024**3, "60.0GiB")],
)
def test_roughly(size: int, text: str) -> None:
    assert format_roughly(size) == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_stream_without_arrows_gets_ascii(encoding: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert Console(out, Piped(), Piped(), {}).style().unicode is False


def test_answer_of_a_closed_terminal_is_no() -> None:
    services = FakeServices()
    assert call(services, "apply", "p", answers="").status == 1
    assert services.host.writes == []


@pytest.mark.parametrize(
    ("argv", "status", "first"),
    [
        (("--version",), 0, "virt-reconciler "),
        (("--help",), 0, "usage: virt-reconciler "),
        (("plan", "--help"), 0, "usage: virt-reconciler plan "),
    ],
)
def test_process_answers(argv: Tuple[str, ...], status: int, first: str) -> None:
    done = process(*argv)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith(first)


@pytest.mark.parametrize("environ", [{}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}])
def test_process_with_wrong_usage(environ: Dict[str, str]) -> None:
    done = process("plän", **environ)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("virt-reconciler: error: ")
    assert done.stderr.count("\n") == 1


def test_process_whose_reader_is_gone_says_nothing() -> None:
    command = f"{sys.executable} -m reconciler --help | head -c 0"
    done = subprocess.run(  # noqa: S602 - a pipe is the point
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
