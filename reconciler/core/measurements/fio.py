"""fio: the profiles, the command line of one run, and what its JSON output means. Pure.

The total latency is read, submission included: libaio submits a buffered operation synchronously,
so that its completion latency alone would leave out the work itself.
"""

from __future__ import annotations

import json
from typing import Any, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.values import DiskRun, Flow, Latency, Limits
from reconciler.core.units import KIB
from reconciler.errors import TerminalError

ENGINES = ("libaio", "io_uring", "psync")
PERCENTILES = "50:95:99:99.9"
_MICROSECOND = 1000.0  # in nanoseconds
_MILLISECONDS = 1000.0


@frozen
class Profile:
    """A pattern of access, in fio's words. `read_share` is the percent of reads in a mixed one."""

    name: str
    pattern: str
    about: str
    block_size: int
    depth: int
    read_share: Optional[int] = None


def _list_profiles() -> Tuple[Profile, ...]:
    large, small = {"block_size": KIB**2, "depth": 16}, {"block_size": 4 * KIB, "depth": 32}
    return (
        Profile("seq_write", "write", about="sequential writes", **large),
        Profile("seq_read", "read", about="sequential reads", **large),
        Profile("rand_write", "randwrite", about="random writes", **small),
        Profile("rand_read", "randread", about="random reads", **small),
        Profile("rand_rw", "randrw", about="random, 70% reads", read_share=70, **small),
    )


PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in _list_profiles()}


@frozen
class FioJob:
    """One run of fio, of a file that is there already and has its size."""

    profile: Profile
    path: str
    size: int
    seconds: int
    direct: bool
    depth: int
    engine: str


def make_command(job: FioJob, limits: Limits) -> Tuple[str, ...]:
    """Return the command of a run, which writes JSON to standard output.

    `allow_file_create` and `overwrite` keep fio to the file that is there: it makes none, and
    neither truncates nor extends it.
    """
    profile = job.profile
    options = {
        "name": profile.name,
        "filename": job.path.replace(":", "\\:"),
        "size": job.size,
        "rw": profile.pattern,
        "rwmixread": profile.read_share,
        "bs": profile.block_size,
        "iodepth": job.depth,
        "ioengine": job.engine,
        "direct": int(job.direct),
        "runtime": job.seconds,
        "time_based": 1,
        "randrepeat": 1,
        "allow_file_create": 0,
        "overwrite": 1,
        "rate": limits.rate,
        "group_reporting": 1,
        "thread": 1,
        "lat_percentiles": 1,
        "clat_percentiles": 0,
        "percentile_list": PERCENTILES,
        "output-format": "json",
        "eta": "never",
    }
    given = (f"--{name}={value}" for name, value in options.items() if value is not None)
    return ("fio", *given)


@frozen
class FioOutput:
    """What a run of fio reported."""

    version: str
    run: DiskRun


def read_output(text: str) -> FioOutput:
    """Understand the JSON output of a run of one job. Raises TerminalError if it is none.

    fio writes its notes before it, on the same stream.
    """
    start = 0 if text.startswith("{") else text.find("\n{") + 1
    try:
        data: Any = json.JSONDecoder().raw_decode(text, start)[0]
        job = data["jobs"][0]
        version = str(data["fio version"])
        failure = int(job["error"])
        run = _read_run(job)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        first = text.strip().split("\n")[0][:200] or "nothing"
        raise TerminalError(f"fio reported no result; it wrote: {first}") from error
    if failure:
        raise TerminalError(f"fio failed with error {failure}")
    return FioOutput(version, run)


def _read_run(job: Mapping[str, Any]) -> DiskRun:
    longest = max(float(job[way]["runtime"]) for way in ("read", "write"))
    return DiskRun(
        seconds=longest / _MILLISECONDS,
        read=_read_flow(job["read"]),
        write=_read_flow(job["write"]),
        cpu_user=float(job["usr_cpu"]),
        cpu_system=float(job["sys_cpu"]),
    )


def _read_flow(found: Mapping[str, Any]) -> Optional[Flow]:
    if not found["total_ios"]:
        return None
    return Flow(
        total=int(found["io_bytes"]),
        bandwidth=int(found["bw_bytes"]),
        iops=float(found["iops"]),
        latency=_read_latency(found),
    )


def _read_latency(found: Mapping[str, Any]) -> Optional[Latency]:
    """Return the percentiles; fio's keys are like `99.900000`."""
    percentiles = found.get("lat_ns", {}).get("percentile")
    if not percentiles:
        return None
    by_number = {float(key): float(value) / _MICROSECOND for key, value in percentiles.items()}
    return Latency(by_number[50], by_number[95], by_number[99], by_number[99.9])
