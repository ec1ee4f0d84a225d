"""`bench disk --guest`: measure a disk inside a guest, by its agent. Runs that all places share."""

from __future__ import annotations

import argparse
from typing import Optional, Sequence, Tuple

from reconciler.adapters.libvirt.guest_programs import GuestPrograms
from reconciler.adapters.measurement.local_facts import read_host_facts
from reconciler.adapters.measurement.programs import LocalPrograms
from reconciler.cli.bench_arguments import ENGINES, PROFILES
from reconciler.cli.console import Console
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.control.executor import holding
from reconciler.control.ports import Host
from reconciler.core.frozen import replace
from reconciler.core.key import FORMER_KIND, Key
from reconciler.core.measurements.series import (
    DiskJob,
    ProgramRunner,
    RunTarget,
    Ways,
    estimate_seconds,
    measure_job,
    plan_jobs,
)
from reconciler.core.measurements.tools import read_qemu_version
from reconciler.core.measurements.values import DiskResult, Environment, Limits
from reconciler.core.render.words import count
from reconciler.core.units import format_roughly, show_span
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.measured_guest import describe_guest

Found = Tuple[Tuple[DiskResult, ...], Environment, Tuple[str, ...]]


def read_ways(options: argparse.Namespace) -> Ways:
    """Return how profiles are measured, as the command line says."""
    return Ways(
        profiles=tuple(options.profile or PROFILES),
        depths=tuple(options.depth),
        engines=tuple(options.engine or ENGINES[:1]),
        runs=options.runs,
    )


def measure_jobs(
    jobs: Sequence[DiskJob], target: RunTarget, programs: ProgramRunner, console: Console
) -> Tuple[DiskResult, ...]:
    """Say how long it takes, and make the runs of all jobs."""
    seconds = estimate_seconds(jobs, target.seconds)
    console.note(f"{count(len(jobs), 'measurement')}, about {show_span(seconds)}")
    return tuple(measure_job(job, target, programs, console.note) for job in jobs)


def read_qemu(host: Host) -> Optional[str]:
    """Return the version of QEMU on this host; None if it is not known."""
    try:
        emulator = host.domains.read_caps("").emulator
    except ReconcilerError:
        return None
    return read_qemu_version(LocalPrograms().read_version(emulator)) if emulator else None


def measure_guest(
    options: argparse.Namespace, limits: Limits, console: Console, services: Services
) -> Found:
    """Measure in a guest; nobody else works on the machine meanwhile."""
    uri = uri_of(options, services, console)
    host = services.connect(uri)
    name, folder = options.guest, options.guest_path.rstrip("/") or "/"
    with holding(host, Key(FORMER_KIND, name), services.clock):
        environment = describe_guest(host, read_host_facts(), name, folder)
        environment = replace(environment, qemu=read_qemu(host))
        programs = services.reach_guest(uri, name)
        return measure_folder(programs, environment, folder, options, limits, console)


def measure_folder(
    programs: GuestPrograms,
    environment: Environment,
    folder: str,
    options: argparse.Namespace,
    limits: Limits,
    console: Console,
) -> Found:
    """Measure in a folder of a guest, in a file of its own."""
    ways, name = read_ways(options), programs.name
    programs.require(dict.fromkeys(job.program for job in plan_jobs(ways)))
    memory = programs.read_memory()
    kernel = programs.read_line(("uname", "-r"))
    environment = replace(environment, memory=memory, guest_kernel=kernel or None)
    console.note(f"making a file of {format_roughly(options.size)} in {name}:{folder}")
    with programs.make_file(folder, options.size) as path:
        warnings: Tuple[str, ...] = ()
        if not programs.has_direct(path):
            ways = replace(ways, has_direct=False)
            warnings = (f"{folder} in {name} has no direct I/O; measured only buffered",)
        target = RunTarget(path, options.size, options.runtime, limits)
        results = measure_jobs(plan_jobs(ways), target, programs, console)
    return results, environment, warnings
