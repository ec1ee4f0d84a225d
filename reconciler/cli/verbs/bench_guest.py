"""Measure inside guests, by their agents: a disk, or the network of two. Runs that all share."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
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
from reconciler.core.access import find_shared_address
from reconciler.core.frozen import frozen, replace
from reconciler.core.key import FORMER_KIND, Key
from reconciler.core.measurements.host_tools import PORT, find_error
from reconciler.core.measurements.series import (
    DiskJob,
    ProgramRunner,
    RunTarget,
    Ways,
    estimate_seconds,
    measure_job,
    plan_jobs,
)
from reconciler.core.measurements.tools import ProgramAnswer, read_qemu_version
from reconciler.core.measurements.values import DiskResult, Environment, Limits
from reconciler.core.render.words import count
from reconciler.core.units import format_roughly, show_span
from reconciler.errors import ReconcilerError, TerminalError, TransientError, UsageError
from reconciler.kinds.machine.measured_guest import describe_client, describe_guest

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
        try:
            return measure_folder(programs, environment, folder, options, limits, console)
        except TransientError as error:
            _explain_off(host, name, error)
            raise


def _explain_off(host: Host, name: str, error: TransientError) -> None:
    """Raise an error that says so, if the guest has gone off meanwhile."""
    try:
        is_active = host.domains.read_domain(name).is_active
    except TransientError:  # libvirt is away: what is known is the first error
        return
    if not is_active:
        raise TransientError(
            f"guest {name} went off while it was measured; it frees the file when it mounts the "
            "file system again"
        ) from error


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
    in_memory = programs.find_memory_file_system(folder)
    if in_memory is not None:
        environment = replace(environment, filesystem=in_memory, device=None, disk=None)
    console.note(f"making a file of {format_roughly(options.size)} in {name}:{folder}")
    with programs.make_file(folder, options.size) as path:
        warnings: Tuple[str, ...] = ()
        if not programs.has_direct(path):
            ways = replace(ways, has_direct=False)
            warnings = (f"{folder} in {name} has no direct I/O; measured only buffered",)
        target = RunTarget(path, options.size, options.runtime, limits)
        results = measure_jobs(plan_jobs(ways), target, programs, console)
    return results, environment, warnings


@frozen
class GuestPair:
    """Runs iperf3 in one guest against a server in another. Implements `series.ProgramRunner`."""

    client: GuestPrograms
    server: GuestPrograms
    address: str

    def run(self, command: Sequence[str], limit: float, limits: Limits) -> ProgramAnswer:
        """Run a client of iperf3 to its end, with a server for it alone."""
        with self.server.serve(PORT, round(limit)):
            answer = self.client.run(command, limit, limits)
        if answer.status == 0:
            return answer
        raise TerminalError(
            f"iperf3 in guest {self.client.name} failed against {self.server.name} at "
            f"{self.address}: {find_error(answer.output) or answer.words}. A firewall of "
            f"{self.server.name} must let TCP port {PORT} in"
        )

    def read_version(self, program: str) -> str:
        """Return what the client's program says of its version."""
        return self.client.read_version(program)


def open_pair(
    options: argparse.Namespace,
    facts: Environment,
    stack: ExitStack,
    console: Console,
    services: Services,
) -> Tuple[GuestPair, Environment]:
    """Return two guests that can measure the network between them, held until the stack ends."""
    client, server = options.guests
    if client == server:
        raise UsageError(f"--guests {client} {server}: give two different guests")
    uri = uri_of(options, services, console)
    host = services.connect(uri)
    for name in sorted(options.guests):
        stack.enter_context(holding(host, Key(FORMER_KIND, name), services.clock))
    describe_client(host, facts, server)
    environment = replace(describe_client(host, facts, client), qemu=read_qemu(host))
    programs = [services.reach_guest(uri, name) for name in options.guests]
    for each in programs:
        each.require(("iperf3",))
    address = find_shared_address(
        host.domains.read_domain(server), host.guests.read(server), host.guests.read(client)
    )
    kernel, memory = programs[0].read_line(("uname", "-r")), programs[0].read_memory()
    environment = replace(environment, guest_kernel=kernel or None, memory=memory)
    return GuestPair(programs[0], programs[1], address), environment
