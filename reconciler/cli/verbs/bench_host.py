"""`bench host`: processor, memory and network of this host, by the programs that are installed."""

from __future__ import annotations

import argparse
import os
from typing import List

from reconciler import __version__
from reconciler.adapters.measurement.local_facts import read_host_facts
from reconciler.adapters.measurement.programs import LocalPrograms, has_program
from reconciler.cli.console import Console
from reconciler.core.measurements.host_tools import (
    choose_jobs,
    list_host_jobs,
    measure_host_job,
)
from reconciler.core.measurements.values import Figure, Limits, Measurement, name_measurement
from reconciler.errors import MissingError, TerminalError


def measure_host(options: argparse.Namespace, taken_at: str, console: Console) -> Measurement:
    """Measure what can be measured.

    What is missing, and what fails, is a warning, as long as there is one figure.
    """
    limits = Limits(nice=options.nice)
    threads = len(os.sched_getaffinity(0))
    jobs, missing = choose_jobs(
        list_host_jobs(options.runtime, threads, options.iperf3), has_program
    )
    if not jobs:
        raise MissingError("; ".join(missing))
    figures: List[Figure] = []
    warnings = list(missing)
    for job in jobs:
        console.note(f"{job.subject}: {job.program}, {job.about}")
        try:
            figures.append(
                measure_host_job(job, options.runs, options.runtime, LocalPrograms(), limits)
            )
        except TerminalError as error:
            warnings.append(str(error))
    if not figures:
        raise TerminalError("; ".join(warnings))
    return Measurement(
        id=name_measurement("host", taken_at),
        taken_at=taken_at,
        version=__version__,
        environment=read_host_facts(),
        label=options.label,
        limits=limits,
        figures=tuple(figures),
        warnings=tuple(warnings),
    )
