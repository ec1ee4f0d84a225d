"""What real openssl, sysbench, mbw and iperf3 wrote, and what is said of those that are missing."""

from __future__ import annotations

import json
from typing import Dict, List, Mapping, Sequence, Tuple

import pytest

from reconciler.core.measurements.host_tools import (
    HostJob,
    choose_jobs,
    list_guest_jobs,
    list_host_jobs,
    measure_host_job,
)
from reconciler.core.measurements.tools import ProgramAnswer
from reconciler.core.measurements.values import Limits
from reconciler.errors import TerminalError

MIB = 2**20
OUTPUTS: Mapping[str, str] = {
    "openssl": "+H:16384\n+F:25:sha256:1859993600.00\n",
    "sysbench cpu": "CPU speed:\n    events per second:   659.16\n",
    "sysbench memory": "8389.00 MiB transferred (8259.74 MiB/sec)\n",
    "mbw": (
        "AVG\tMethod: MEMCPY\tElapsed: 0.04502\tMiB: 64.00000\tCopy: 1421.606 MiB/s\n"
        "AVG\tMethod: MCBLOCK\tElapsed: 0.03673\tMiB: 64.00000\tCopy: 1742.445 MiB/s\n"
    ),
    "iperf3": json.dumps({"end": {"sum_received": {"bits_per_second": 8000.0}}}),
}
VALUES = {
    "openssl": 1859993600.0,
    "sysbench cpu": 659.16,
    "sysbench memory": 8259.74 * MIB,
    "mbw": 1421.606 * MIB,
    "iperf3": 1000.0,
}
JOBS = list_host_jobs(1, 4, "kvm02:5299")


def name_of(command: Sequence[str]) -> str:
    """Return the program of a command, of sysbench with its test."""
    kind = next((f" {word}" for word in command if word in ("cpu", "memory")), "")
    return f"{command[0]}{kind}"


class FakePrograms:
    """Writes what the real programs wrote."""

    def __init__(self, status: int = 0, **outputs: str) -> None:
        self.status, self.outputs = status, {**OUTPUTS, **outputs}
        self.commands: List[Tuple[str, ...]] = []

    def run(self, command: Sequence[str], limit: float, limits: Limits) -> ProgramAnswer:
        self.commands.append(tuple(command))
        return ProgramAnswer(self.status, self.outputs[name_of(command)], "", 1.0)

    def read_version(self, program: str) -> str:
        return f"{program} 1"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job.program} {job.about}")
def test_a_figure_is_what_the_program_reported(job: HostJob) -> None:
    programs = FakePrograms()
    figure = measure_host_job(job, 2, 1, programs, Limits())
    assert figure.values == (VALUES[name_of(job.command)],) * 2
    assert figure.tool_version == f"{job.program} 1"
    assert len(programs.commands) == 2


def test_one_and_all_threads_are_measured_and_both_ways_of_the_network() -> None:
    found: Dict[str, List[str]] = {}
    for job in JOBS:
        found.setdefault(job.subject, []).append(job.about)
    assert found["processor"] == [
        "sha256, 1 thread",
        "sha256, 4 threads",
        "aes-256-gcm, 1 thread",
        "aes-256-gcm, 4 threads",
        "prime numbers, 1 thread",
        "prime numbers, 4 threads",
    ]
    assert found["network"] == ["TCP to kvm02:5299", "TCP from kvm02:5299"]
    assert "network" not in {job.subject for job in list_host_jobs(1, 4, None)}


def test_what_is_not_installed_is_named_with_its_package_and_the_rest_is_measured() -> None:
    jobs, missing = choose_jobs(JOBS, lambda program: program == "openssl")
    assert {job.program for job in jobs} == {"openssl"}
    assert missing == (
        "iperf3 is not installed: dnf install iperf3, apt install iperf3",
        "mbw is not installed: apt install mbw (Enterprise Linux has no package)",
        "sysbench is not installed: dnf install sysbench (from EPEL), apt install sysbench",
    )


def test_a_program_that_fails_says_why() -> None:
    job = JOBS[-1]
    refused = json.dumps({"error": "unable to connect to server: Connection refused"})
    programs = FakePrograms(1, iperf3=refused)
    with pytest.raises(TerminalError, match=r"^iperf3 \(network, .*\) failed: unable to connect"):
        measure_host_job(job, 1, 1, programs, Limits())


def test_the_network_between_two_guests_is_measured_in_both_ways() -> None:
    there, back = list_guest_jobs("192.0.2.7", "web01", "db01", 5)
    assert (there.about, back.about) == ("TCP, web01 to db01", "TCP, db01 to web01")
    assert there.command[:3] == ("iperf3", "--client", "192.0.2.7")
    assert "--reverse" in back.command
    assert "--reverse" not in there.command
