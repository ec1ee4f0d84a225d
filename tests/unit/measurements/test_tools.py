"""dd and hdparm: their command lines, and what real ones wrote."""

from __future__ import annotations

import pytest

from reconciler.core.measurements.tools import (
    ProgramAnswer,
    explain_missing,
    hold_back,
    make_dd_command,
    make_hdparm_command,
    read_dd,
    read_hdparm,
)
from reconciler.core.measurements.values import Flow, Limits
from reconciler.errors import TerminalError

MIB = 2**20
COREUTILS = "32+0 records in\n32+0 records out\n33554432 bytes (34 MB, 32 MiB) copied, 0.208295 s, 161 MB/s\n"
BUSYBOX = "32+0 records in\n32+0 records out\n33554432 bytes (32.0MB) copied, 0.208295 seconds, 153.6MB/s\n"
CACHED = "\n/dev/loop0:\n Timing cached reads:   5342 MB in  2.00 seconds = 2666.58 MB/sec\n"
DEVICE = "\n/dev/loop0:\n Timing O_DIRECT disk reads:  64 MB in  0.21 seconds = 301.74 MB/sec\n"
SLOW = "\n/dev/sdx:\n Timing buffered disk reads:   2 MB in  4.00 seconds = 512.00 kB/sec\n"


def answer(output: str = "", errors: str = "", status: int = 0) -> ProgramAnswer:
    """Return how a program ended that used some processor time."""
    return ProgramAnswer(status, output, errors, 1.0, 0.1, 0.3, 4096)


@pytest.mark.parametrize("text", [COREUTILS, BUSYBOX])
def test_dd_is_read_as_it_reported(text: str) -> None:
    run = read_dd(answer(errors=text), "dd_write")
    assert run.read is None
    assert run.write == Flow(33554432, round(33554432 / 0.208295), 32 / 0.208295)
    assert run.seconds == 0.208295
    assert run.cpu_user == pytest.approx(10 / 0.208295)
    assert run.from_storage == 4096


def test_dd_that_reports_no_time_took_as_long_as_its_run() -> None:
    run = read_dd(answer(errors="4+0 records in\n4+0 records out\n"), "dd_read")
    assert (run.total, run.seconds, run.bandwidth) == (4 * MIB, 1.0, 4 * MIB)


def test_dd_that_reads_has_no_writes() -> None:
    run = read_dd(answer(errors=COREUTILS), "dd_read")
    assert run.write is None
    assert run.total == 33554432


@pytest.mark.parametrize(
    "failed",
    [
        answer(errors=COREUTILS, status=1),
        answer(errors="dd: failed to open '/x': Permission denied\n"),
    ],
)
def test_dd_that_failed_has_no_result(failed: ProgramAnswer) -> None:
    with pytest.raises(TerminalError, match=r"^dd failed: "):
        read_dd(failed, "dd_read")


@pytest.mark.parametrize(
    ("text", "total", "seconds"), [(CACHED, 5342, 2.0), (DEVICE, 64, 0.21), (SLOW, 2, 4.0)]
)
def test_hdparm_is_read_as_it_reported(text: str, total: int, seconds: float) -> None:
    run = read_hdparm(answer(output=text))
    assert run.read is not None
    assert run.read.total == total * MIB
    assert run.read.bandwidth == round(total * MIB / seconds)
    assert run.read.latency is None


def test_hdparm_that_failed_has_no_result() -> None:
    with pytest.raises(TerminalError, match="hdparm failed: /dev/x: Permission denied"):
        read_hdparm(answer(errors="/dev/x: Permission denied", status=13))


def test_hdparm_is_only_ever_asked_to_time_reads() -> None:
    commands = {
        make_hdparm_command(profile, "/dev/x", direct=direct)
        for profile in ("cache_read", "device_read")
        for direct in (True, False)
    }
    assert commands == {
        ("hdparm", "-T", "/dev/x"),
        ("hdparm", "-t", "/dev/x"),
        ("hdparm", "--direct", "-T", "/dev/x"),
        ("hdparm", "--direct", "-t", "/dev/x"),
    }


def test_dd_never_truncates_the_file() -> None:
    command = make_dd_command("dd_write", "/f", 8 * MIB, direct=True)
    assert command == (
        *("dd", "if=/dev/zero", "of=/f", "bs=1M", "count=8", "conv=notrunc", "oflag=direct"),
    )
    assert make_dd_command("dd_read", "/f", 8 * MIB, direct=False) == (
        *("dd", "if=/f", "of=/dev/null", "bs=1M", "count=8"),
    )


def test_a_program_is_held_back_as_it_is_asked() -> None:
    assert hold_back(("fio", "-x"), Limits()) == ("fio", "-x")
    limits = Limits(nice=10, io_class="idle")
    assert hold_back(("fio",), limits) == ("nice", "-n", "10", "ionice", "-c", "3", "fio")


def test_a_missing_program_is_named_with_its_packages() -> None:
    assert explain_missing("ionice") == (
        "ionice is not installed: dnf install util-linux, apt install util-linux"
    )
