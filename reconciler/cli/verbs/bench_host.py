"""`bench host`: processor, memory and network of this host, or the network between two guests."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from typing import List, Sequence

from reconciler import __version__
from reconciler.adapters.measurement.local_facts import read_host_facts
from reconciler.adapters.measurement.programs import LocalPrograms, has_program
from reconciler.cli.console import Console
from reconciler.cli.services import Services
from reconciler.cli.verbs.bench_guest import open_pair
from reconciler.core.frozen import replace
from reconciler.core.measurements.host_tools import (
    HostJob,
    choose_jobs,
    list_guest_jobs,
    list_host_jobs,
    measure_host_job,
)
from reconciler.core.measurements.series import ProgramRunner
from reconciler.core.measurements.values import Figure, Limits, Measurement, name_measurement
from reconciler.errors import MissingError, TerminalError


def measure_host(
    options: argparse.Namespace, taken_at: str, console: Console, services: Services
) -> Measurement:
    """Measure what can be measured.

    What is missing, and what fails, is a warning, as long as there is one figure.
    """
    measurement = Measurement(
        id=name_measurement("host", taken_at),
        taken_at=taken_at,
        version=__version__,
        environment=read_host_facts(),
        label=options.label,
        limits=Limits(nice=options.nice),
    )
    if options.guests:
        return _measure_pair(measurement, options, console, services)
    threads = len(os.sched_getaffinity(0))
    jobs, missing = choose_jobs(
        list_host_jobs(options.runtime, threads, options.iperf3), has_program
    )
    if not jobs:
        raise MissingError("; ".join(missing))
    measurement = replace(measurement, warnings=missing)
    return _measure_jobs(measurement, jobs, LocalPrograms(), options, console)


def _measure_pair(
    measurement: Measurement, options: argparse.Namespace, console: Console, services: Services
) -> Measurement:
    """Measure the network between two guests; nobody else works on them meanwhile."""
    with ExitStack() as stack:
        pair, environment = open_pair(options, measurement.environment, stack, console, services)
        client, server = options.guests
        jobs = list_guest_jobs(pair.address, client, server, options.runtime)
        measurement = replace(measurement, environment=environment)
        return _measure_jobs(measurement, jobs, pair, options, console)


def _measure_jobs(
    measurement: Measurement,
    jobs: Sequence[HostJob],
    programs: ProgramRunner,
    options: argparse.Namespace,
    console: Console,
) -> Measurement:
    figures: List[Figure] = []
    warnings = list(measurement.warnings)
    for job in jobs:
        console.note(f"{job.subject}: {job.program}, {job.about}")
        try:
            figures.append(
                measure_host_job(job, options.runs, options.runtime, programs, measurement.limits)
            )
        except TerminalError as error:
            warnings.append(str(error))
    if not figures:
        raise TerminalError("; ".join(warnings))
    return replace(measurement, figures=tuple(figures), warnings=tuple(warnings))
