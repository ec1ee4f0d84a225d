"""`bench disk`, `bench list`, `bench matrix`: measure, show, keep."""

from __future__ import annotations

import argparse
import json
from typing import Callable, Iterator, Mapping, Optional, Sequence, Tuple

from reconciler import __version__
from reconciler.adapters.libvirt.connections import is_local
from reconciler.adapters.measurement.local_facts import (
    find_block_device,
    find_images_on,
    find_mount,
    is_on_system_disk,
    read_host_facts,
)
from reconciler.adapters.measurement.programs import LocalPrograms, has_program
from reconciler.adapters.measurement.scratch_file import make_scratch_file
from reconciler.cli.console import Console, Exit
from reconciler.cli.daemon_state import find_measurements
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.cli.verbs.bench_compare import choose, compare
from reconciler.cli.verbs.bench_guest import (
    Found,
    measure_guest,
    measure_jobs,
    read_qemu,
    read_ways,
)
from reconciler.cli.verbs.bench_host import measure_host
from reconciler.control.ports import Host
from reconciler.core.frozen import frozen, replace
from reconciler.core.images import FILE_POOLS, read_source
from reconciler.core.measurements.matrix import judge_matrix
from reconciler.core.measurements.series import (
    DiskJob,
    RunTarget,
    Ways,
    list_device_profiles,
    plan_jobs,
)
from reconciler.core.measurements.tools import explain_missing
from reconciler.core.measurements.values import (
    Environment,
    Limits,
    Measurement,
    is_label,
    name_measurement,
    write_measurement,
)
from reconciler.core.render.measurement_matrix import render_matrix
from reconciler.core.render.measurements import render_list, render_measurement
from reconciler.core.render.text import Page
from reconciler.core.units import format_roughly, show_time
from reconciler.core.world import Unknown
from reconciler.core.xmltree import parse
from reconciler.errors import (
    MissingError,
    NotFoundError,
    ReconcilerError,
    RefusedError,
    TransientError,
    UsageError,
)


def bench(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Run the verb below `bench`."""
    if options.bench_verb == "host":
        check_label(options.label)
        taken_at = show_time(services.clock.wall()) or ""
        finish(measure_host(options, taken_at, console, services), options, console, services)
        return Exit.DONE
    verbs: Mapping[str, Callable[..., int]] = {
        "disk": measure_disk,
        "matrix": show_matrix,
        "list": list_measurements,
        "compare": compare,
    }
    return verbs[options.bench_verb](options, console, services)


def measure_disk(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Measure, print the result and keep it."""
    check_label(options.label)
    begun = services.clock.wall()
    limits = Limits(nice=options.nice, io_class=options.ionice, rate=options.rate)
    results, environment, warnings = _measure_place(options, limits, console, services)
    taken_at = show_time(begun) or ""
    measurement = Measurement(
        id=name_measurement("disk", taken_at),
        taken_at=taken_at,
        version=__version__,
        environment=environment,
        label=options.label,
        limits=limits,
        results=results,
        warnings=warnings,
    )
    finish(measurement, options, console, services)
    return Exit.DONE


def show_matrix(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Measure a matrix, keep each of its results, and print them as one table."""
    from reconciler.cli.verbs.bench_matrix import MatrixRun  # noqa: PLC0415 - start-up time

    check_label(options.label)
    kept = find_measurements(options, console, services)
    found = MatrixRun(options, console, services, kept.keep).measure()
    if options.format == "json":
        documents = [json.loads(write_measurement(each)) for each in found]
        console.line(json.dumps(documents, indent=1, ensure_ascii=False))
    else:
        console.write(render_matrix(judge_matrix(found), _page(console)))
    group = found[0].group if found else ""
    console.note(f"kept as {group}; see virt-reconciler bench compare {group}")
    return Exit.DONE if any(each.results for each in found) else Exit.FAILED


def check_label(label: Optional[str]) -> None:
    """Raise UsageError for what cannot be a label."""
    if label is not None and not is_label(label):
        raise UsageError(f"--label {label!r}: use letters, digits, dots, dashes and underscores")


def finish(
    measurement: Measurement, options: argparse.Namespace, console: Console, services: Services
) -> None:
    """Keep a measurement and print it; one that cannot be kept is printed all the same."""
    problem = ""
    try:
        measurement = find_measurements(options, console, services).keep(measurement)
    except TransientError as error:
        problem = str(error)
    if options.format == "json":
        console.write(write_measurement(measurement))
    else:
        console.write(render_measurement(measurement, _page(console)))
    if problem:
        console.note(f"not kept: {problem}")
    else:
        console.note(f"kept as {measurement.id}; see virt-reconciler bench list")


def _page(console: Console) -> Page:
    return Page(console.style(), console.width())


def _measure_place(
    options: argparse.Namespace, limits: Limits, console: Console, services: Services
) -> Found:
    if options.device is not None:
        return _measure_device(options, limits, console)
    if options.guest is not None:
        return measure_guest(options, limits, console, services)
    place = _find_place(options, console, services)
    return _measure_folder(place, options, limits, console)


@frozen
class FolderPlace:
    """A folder of this host that is measured, and the guests that run on its storage."""

    folder: str
    environment: Environment
    warnings: Tuple[str, ...]
    may_be_root: bool


def _find_place(options: argparse.Namespace, console: Console, services: Services) -> FolderPlace:
    """Return the folder with what is known of it; where a pool is named, libvirt must be there."""
    host = services.connect(uri_of(options, services, console))
    folder = options.path
    if options.pool is not None:
        folder = _find_pool_folder(options.pool, host)
    mount = find_mount(folder)
    environment = replace(
        read_host_facts(),
        pool=options.pool,
        storage=folder,
        filesystem=mount.filesystem if mount is not None else None,
        device=mount.source if mount is not None else None,
    )
    try:
        warnings = tuple(_warn_of_guests(folder, options.pool, host))
    except ReconcilerError as error:
        warnings = (f"whether guests run on this storage is unknown: {error}",)
    else:
        environment = replace(environment, qemu=read_qemu(host))
    return FolderPlace(folder, environment, warnings, may_be_root=options.pool is not None)


def _warn_of_guests(folder: str, pool: Optional[str], host: Host) -> Iterator[str]:
    """Say which guests run on the storage: each disturbs the other."""
    try:
        guests = find_images_on(folder, _list_images(host, pool, folder))
    except OSError:  # the folder is refused in a moment
        return
    if guests:
        yield (
            f"{', '.join(guests)} run on this storage: the numbers are lower than what the storage "
            "can do, and the guests are slowed down; see --ionice, --nice and --rate"
        )


def _list_images(host: Host, pool: Optional[str], folder: str) -> Iterator[Tuple[str, str]]:
    """Yield (guest, path) of each image that a running guest has."""
    for name, view in host.domains.list_domains().items():
        if isinstance(view, Unknown) or view.live_xml is None:
            continue
        for source in parse(view.live_xml).iterfind("devices/disk/source"):
            path = read_source(source) or ""
            is_in_pool = pool is not None and source.get("pool") == pool
            yield name, folder if is_in_pool else path


def _find_pool_folder(name: str, host: Host) -> str:
    try:
        pool = host.storage.read_pool(name)
    except NotFoundError as error:
        there = ", ".join(host.storage.list_pools()) or "none"
        raise UsageError(f"no active pool {name!r}; there are: {there}") from error
    if pool.type not in FILE_POOLS:
        raise RefusedError(
            f"pool {name} has no folder, its type is {pool.type}, and a device is never written; "
            f"to read one of its devices: virt-reconciler bench disk --device DEV"
        )
    if not is_local(host.domains.uri):
        raise UsageError(
            f"pool {name} is on the host of {host.domains.uri}; run virt-reconciler bench there"
        )
    return pool.path


def _measure_folder(
    place: FolderPlace, options: argparse.Namespace, limits: Limits, console: Console
) -> Found:
    ways = read_ways(options)
    _require_programs(plan_jobs(ways))
    size = options.size
    console.note(f"making a file of {format_roughly(size)} in {place.folder}")
    with make_scratch_file(place.folder, size, may_be_root=place.may_be_root) as scratch:
        warnings = list(place.warnings)
        if not scratch.has_direct():
            ways = replace(ways, has_direct=False)
            warnings.append(
                f"{place.environment.filesystem} has no direct I/O; measured only buffered"
            )
        if is_on_system_disk(place.folder):
            warnings.append(f"{place.folder} is on the system's disk, which others use as well")
        target = RunTarget(scratch.path, size, options.runtime, limits)
        programs = LocalPrograms((scratch.descriptor,))
        results = measure_jobs(plan_jobs(ways), target, programs, console)
    return results, place.environment, tuple(warnings)


def _require_programs(jobs: Sequence[DiskJob]) -> None:
    missing = [name for name in dict.fromkeys(job.program for job in jobs) if not has_program(name)]
    if not missing:
        return
    words = "; ".join(map(explain_missing, missing))
    rest = sorted({job.profile for job in jobs if job.program not in missing})
    instead = "; or measure without it: " + " ".join(f"--profile {name}" for name in rest)
    raise MissingError(f"{words}{instead if rest else ''}")


def _measure_device(options: argparse.Namespace, limits: Limits, console: Console) -> Found:
    if options.profile:
        raise UsageError("--device is only read, with hdparm; drop --profile")
    device = find_block_device(options.device)
    jobs = plan_jobs(Ways(list_device_profiles(), (), (), options.runs))
    _require_programs(jobs)
    target = RunTarget(device, 0, 0, limits)
    results = measure_jobs(jobs, target, LocalPrograms(), console)
    return results, replace(read_host_facts(), storage=device), ()


def list_measurements(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print a line for each measurement that is kept, or those that are named in full."""
    found, problems = find_measurements(options, console, services).list()
    for problem in problems:
        console.note(problem)
    chosen = choose(found, options.names)
    if options.format == "json":
        documents = [json.loads(write_measurement(each)) for each in chosen]
        console.line(json.dumps(documents, indent=1, ensure_ascii=False))
    elif not chosen:
        console.line("No measurement is kept; make one: virt-reconciler bench disk --pool default")
    elif options.names:
        console.write("\n".join(render_measurement(each, _page(console)) for each in chosen))
    else:
        console.write(render_list(chosen, _page(console)))
    return Exit.DONE
