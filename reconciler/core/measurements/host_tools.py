"""What is measured of a host beside its disks, by which programs, and what they report. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.series import SLACK, ProgramRunner
from reconciler.core.measurements.tools import ProgramAnswer, explain_missing
from reconciler.core.measurements.values import Figure, Limits
from reconciler.core.units import KIB
from reconciler.errors import TerminalError

PROCESSOR, MEMORY, NETWORK = "processor", "memory", "network"
BYTES, EVENTS = "B", "events"
_OPENSSL = re.compile(r"^\+F:\d+:[^:]*:([\d.]+)$", re.MULTILINE)
_EVENTS = re.compile(r"events per second: +([\d.]+)")
_TRANSFERRED = re.compile(r"transferred \(([\d.]+) MiB/sec\)")
_COPIED = re.compile(r"^AVG\s+Method: MEMCPY\s.*Copy: ([\d.]+) MiB/s", re.MULTILINE)
_BITS = 8
MBW_RUNS, MBW_MIB = 3, 256
PORT = 5201  # iperf3's own


@frozen
class HostJob:
    """One figure: its command, and how its value is read of the output."""

    subject: str
    about: str
    unit: str
    command: Tuple[str, ...]
    read: Callable[[str], Optional[float]]

    @property
    def program(self) -> str:
        """The program that measures it."""
        return self.command[0]


def list_host_jobs(seconds: int, threads: int, server: Optional[str]) -> Tuple[HostJob, ...]:
    """Return all that a host can be measured by; the network only with a server of iperf3's."""
    openssl = ("openssl", "speed", "-elapsed", "-mr", "-seconds", str(seconds), "-bytes", "16384")
    sysbench = ("sysbench", f"--time={seconds}")
    memory = ("--memory-block-size=1M", "--memory-total-size=1024T", "memory", "run")
    jobs: List[HostJob] = [
        *_list_openssl(openssl, threads),
        *(
            HostJob(
                subject=PROCESSOR,
                about=f"prime numbers, {_say_threads(number)}",
                unit=EVENTS,
                command=(*sysbench, f"--threads={number}", "cpu", "run"),
                read=lambda text: _find_number(_EVENTS, text),
            )
            for number in sorted({1, threads})
        ),
        HostJob(
            subject=MEMORY,
            about="writes of 1MiB, 1 thread",
            unit=BYTES,
            command=(*sysbench, "--threads=1", *memory),
            read=lambda text: _find_number(_TRANSFERRED, text, KIB**2),
        ),
        HostJob(
            subject=MEMORY,
            about=f"copies of {MBW_MIB}MiB, 1 thread",
            unit=BYTES,
            command=("mbw", "-q", "-n", str(MBW_RUNS), "-t", "0", str(MBW_MIB)),
            read=lambda text: _find_number(_COPIED, text, KIB**2),
        ),
    ]
    if server is not None:
        host, _, port = server.partition(":") if server.count(":") == 1 else (server, "", "")
        ends = (f"TCP to {server}", f"TCP from {server}")
        jobs.extend(_list_network(host, port, seconds, ends))
    return tuple(jobs)


def list_guest_jobs(address: str, client: str, server: str, seconds: int) -> Tuple[HostJob, ...]:
    """Return the measurements of the network between two guests, both run in `client`."""
    ends = (f"TCP, {client} to {server}", f"TCP, {server} to {client}")
    return tuple(_list_network(address, str(PORT), seconds, ends))


def _list_openssl(words: Tuple[str, ...], threads: int) -> Tuple[HostJob, ...]:
    return tuple(
        HostJob(
            subject=PROCESSOR,
            about=f"{name}, {_say_threads(number)}",
            unit=BYTES,
            command=(*words, *(("-multi", str(number)) if number > 1 else ()), "-evp", name),
            read=lambda text: _find_number(_OPENSSL, text),
        )
        for name in ("sha256", "aes-256-gcm")
        for number in sorted({1, threads})
    )


def _list_network(host: str, port: str, seconds: int, ends: Tuple[str, str]) -> Iterator[HostJob]:
    at = ("--client", host, *(("--port", port) if port else ()))
    words = ("iperf3", *at, "--json", "--time", str(seconds))
    for about, extra in zip(ends, ((), ("--reverse",))):
        yield HostJob(NETWORK, about, BYTES, command=(*words, *extra), read=_read_iperf)


def _say_threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def _find_number(pattern: re.Pattern[str], text: str, factor: int = 1) -> Optional[float]:
    found = pattern.findall(text)
    return float(found[-1]) * factor if found else None


def _read_iperf(text: str) -> Optional[float]:
    """Return the bytes per second that were received; None if it reports an error."""
    try:
        data: Any = json.loads(text)
        return float(data["end"]["sum_received"]["bits_per_second"]) / _BITS
    except (ValueError, LookupError, TypeError):
        return None


def choose_jobs(
    jobs: Sequence[HostJob], is_installed: Callable[[str], bool]
) -> Tuple[Tuple[HostJob, ...], Tuple[str, ...]]:
    """Return the jobs whose programs are installed, and a line for each program that is missing."""
    known = {program: is_installed(program) for program in {job.program for job in jobs}}
    missing = tuple(explain_missing(program) for program in sorted(known) if not known[program])
    return tuple(job for job in jobs if known[job.program]), missing


def measure_host_job(
    job: HostJob, runs: int, seconds: int, runner: ProgramRunner, limits: Limits
) -> Figure:
    """Measure a figure so many times. Raises TerminalError if its program reports no value."""
    values = [
        _read_value(job, runner.run(job.command, SLACK + seconds, limits)) for _ in range(runs)
    ]
    return Figure(
        subject=job.subject,
        about=job.about,
        tool=job.program,
        tool_version=runner.read_version(job.program),
        unit=job.unit,
        values=tuple(values),
    )


def _read_value(job: HostJob, answer: ProgramAnswer) -> float:
    value = job.read(answer.output)
    if answer.status != 0 or value is None:
        words = find_error(answer.output) or answer.words
        raise TerminalError(f"{job.program} ({job.subject}, {job.about}) failed: {words}")
    return value


def find_error(output: str) -> str:
    """Return what iperf3 writes into its JSON when it fails."""
    try:
        data: Mapping[str, Any] = json.loads(output)
        return str(data.get("error", ""))
    except (ValueError, AttributeError):
        return ""
