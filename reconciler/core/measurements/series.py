"""Which runs a measurement of a disk is made of, and how each is made of one program. Pure.

Programs are run by a `ProgramRunner`, on this host or in a guest.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Protocol, Sequence, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.measurements.fio import PROFILES, FioJob, make_command, read_output
from reconciler.core.measurements.tools import (
    DD_PROFILES,
    HDPARM_PROFILES,
    ProgramAnswer,
    make_dd_command,
    make_hdparm_command,
    read_dd,
    read_hdparm,
)
from reconciler.core.measurements.values import DiskResult, DiskRun, Limits
from reconciler.core.units import KIB
from reconciler.errors import TerminalError

SLACK = 120.0  # seconds that a run may take longer than it is to take
SLOWEST = KIB**2  # bytes per second; dd copies a whole file, however slow that is
HDPARM_SECONDS = 3


class ProgramRunner(Protocol):
    """Where programs that measure are run."""

    def run(self, command: Sequence[str], limit: float, limits: Limits) -> ProgramAnswer:
        """Run a program to its end. Raises MissingError if it is not installed there."""

    def read_version(self, program: str) -> str:
        """Return what the program says of its version; empty if nothing is known."""


@frozen
class DiskJob:
    """One result that is to be measured: a profile in one way, `runs` times."""

    profile: str
    direct: bool
    runs: int
    depth: int = 1
    engine: str = ""

    @property
    def program(self) -> str:
        """The program that measures it."""
        if self.profile in PROFILES:
            return "fio"
        return "dd" if self.profile in DD_PROFILES else "hdparm"

    @property
    def label(self) -> str:
        """What to call it while it runs."""
        mode = "direct" if self.direct else "buffered"
        depth = f" depth {self.depth}" if self.engine else ""
        engine = f" {self.engine}" if self.engine not in ("", "libaio") else ""
        return f"{self.profile} {mode}{depth}{engine}"


@frozen
class RunTarget:
    """What is measured: a file or device, by its path for the programs. `size` is the file's."""

    path: str
    size: int
    seconds: int
    limits: Limits


@frozen
class Ways:
    """How profiles are measured: empty `depths` are those of each profile."""

    profiles: Tuple[str, ...]
    depths: Tuple[int, ...]
    engines: Tuple[str, ...]
    runs: int
    has_direct: bool = True


def plan_jobs(ways: Ways) -> Tuple[DiskJob, ...]:
    """Return what is to be measured, in order: half of the runs direct, half buffered."""
    jobs: List[DiskJob] = []
    for name in ways.profiles:
        for direct in (True, False) if ways.has_direct else (False,):
            job = DiskJob(name, direct, ways.runs // 2)
            if name not in PROFILES:
                jobs.append(job)
                continue
            for depth in ways.depths or (PROFILES[name].depth,):
                jobs.extend(replace(job, depth=depth, engine=each) for each in ways.engines)
    return tuple(jobs)


def estimate_seconds(jobs: Sequence[DiskJob], seconds: int) -> int:
    """Return how long the runs take, those of dd left out: nobody knows how fast they are."""
    lengths = {"fio": seconds, "hdparm": HDPARM_SECONDS, "dd": 0}
    return sum(lengths[job.program] * job.runs for job in jobs)


def measure_job(
    job: DiskJob, target: RunTarget, runner: ProgramRunner, tell: Callable[[str], None]
) -> DiskResult:
    """Make the runs of a job."""
    version = runner.read_version(job.program)
    runs: List[DiskRun] = []
    for number in range(1, job.runs + 1):
        tell(f"{job.label}, run {number} of {job.runs}")
        run, known = _make_run(job, target, runner)
        runs.append(run)
        version = known or version
    profile = PROFILES.get(job.profile)
    return DiskResult(
        profile=job.profile,
        tool=job.program,
        tool_version=version,
        direct=job.direct,
        block_size=profile.block_size if profile is not None else KIB**2,
        depth=job.depth,
        engine=job.engine,
        size=target.size,
        seconds=target.seconds if profile is not None else None,
        runs=tuple(runs),
    )


def _make_run(
    job: DiskJob, target: RunTarget, runner: ProgramRunner
) -> Tuple[DiskRun, Optional[str]]:
    """Make one run; with it goes the version, where the program's output has it."""
    if job.program == "fio":
        return _run_fio(job, target, runner)
    if job.program == "hdparm":
        command = make_hdparm_command(job.profile, target.path, direct=job.direct)
        return read_hdparm(runner.run(command, SLACK, target.limits)), None
    command = make_dd_command(job.profile, target.path, target.size, direct=job.direct)
    limit = SLACK + target.size / SLOWEST
    return read_dd(runner.run(command, limit, target.limits), job.profile), None


def _run_fio(job: DiskJob, target: RunTarget, runner: ProgramRunner) -> Tuple[DiskRun, str]:
    fio = FioJob(
        profile=PROFILES[job.profile],
        path=target.path,
        size=target.size,
        seconds=target.seconds,
        direct=job.direct,
        depth=job.depth,
        engine=job.engine,
    )
    answer = runner.run(make_command(fio, target.limits), SLACK + target.seconds, target.limits)
    try:
        found = read_output(answer.output)
    except TerminalError as error:
        raise TerminalError(f"{job.label}: {error}: {answer.words}") from error
    return replace(found.run, from_storage=answer.from_storage), found.version


def list_device_profiles() -> Tuple[str, ...]:
    """Return the names of the profiles that read a device."""
    return tuple(HDPARM_PROFILES)
