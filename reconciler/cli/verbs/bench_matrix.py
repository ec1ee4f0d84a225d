"""`bench matrix`: a throw-away machine, measured on each combination of bus, cache and I/O mode.

The machine is there only while this runs, under its lock. It is removed in the end, also after
Ctrl-C and SIGTERM; after a kill the next run removes it.
"""

from __future__ import annotations

import argparse
import signal
from contextlib import contextmanager, suppress
from typing import Callable, Iterator, List, Optional, Sequence, Tuple, TypeVar

from reconciler import __version__
from reconciler.adapters.measurement.local_facts import read_host_facts
from reconciler.cli.bench_arguments import MATRIX_PROFILES
from reconciler.cli.console import Console
from reconciler.cli.progress import NoteReporter
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.cli.verbs.bench_guest import Found, measure_folder, read_qemu, read_ways
from reconciler.control.executor import Executor, holding
from reconciler.control.ports import Clock, Host
from reconciler.core.frozen import replace
from reconciler.core.key import FORMER_KIND, Key
from reconciler.core.machine import Power
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import ManifestFile
from reconciler.core.measurements.matrix import (
    BOOT_SECONDS,
    Combination,
    list_combinations,
)
from reconciler.core.measurements.series import estimate_seconds, plan_jobs
from reconciler.core.measurements.values import (
    Limits,
    Measurement,
    name_measurement,
)
from reconciler.core.plan import Action
from reconciler.core.render.words import count, escape
from reconciler.core.units import show_span, show_time
from reconciler.core.world import VolumeView
from reconciler.errors import (
    BusyError,
    FullError,
    InvalidManifestError,
    MissingError,
    NotFoundError,
    ReconcilerError,
    RefusedError,
    TransientError,
    UsageError,
)
from reconciler.kinds.machine.matrix_machine import (
    ThrowAway,
    choose_disk,
    delete_volumes,
    find_leftovers,
    find_machine,
    find_made,
    make_throwaway,
    plan_arrangement,
    plan_removal,
    refuse_existing,
    refuse_full,
    write_plain,
)
from reconciler.kinds.machine.measured_guest import (
    describe_disk,
    describe_guest,
    find_other_disk,
)

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
REMOVE_LIMIT, REMOVE_POLL = 120.0, 1.0  # seconds
AGENT_POLL = 0.5
ATTEMPTS = 2  # for a combination whose guest, agent or libvirt was lost
MOST_FAILURES = 3  # combinations that may fail before the first result
PLAIN_NAME = "the machine that is measured"  # in place of a file's name
Keep = Callable[[Measurement], Measurement]
T = TypeVar("T")


@contextmanager
def stopping_by_signal() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the run as Ctrl-C does, with all that is done at its end."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    with _handling(stop):
        yield


@contextmanager
def _handling(handler: object) -> Iterator[None]:
    former = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)


class MatrixRun:
    """One run of the verb."""

    def __init__(
        self, options: argparse.Namespace, console: Console, services: Services, keep: Keep
    ) -> None:
        """Connect; nothing is made yet. `keep` stores what was measured."""
        self._options, self._console, self._services = options, console, services
        self._uri, self._keep = uri_of(options, services, console), keep
        self._clock: Clock = services.clock
        self._host: Host = services.connect(self._uri)
        self._made: Tuple[VolumeView, ...] = ()
        options.profile = options.profile or list(MATRIX_PROFILES)
        self._ways = read_ways(options)
        self._id = name_measurement("matrix", show_time(self._clock.wall()) or "")

    def measure(self) -> Tuple[Measurement, ...]:
        """Measure all combinations; what was measured before an error is kept."""
        with stopping_by_signal():
            self._remove_leftovers()
            machine = self._load()
            combinations = self._list_combinations(machine)
            with holding(self._host, machine.key, self._clock):
                self._refuse(machine, len(combinations))
                self._announce(machine, combinations)
                try:
                    self._apply(machine, combinations[0], Power.STOPPED)
                    self._made = find_made(self._host, machine.name)
                    return self._measure_all(machine, combinations)
                finally:
                    with _handling(signal.SIG_IGN):
                        self._remove(machine.key, f"removing {machine.name} and its disks")

    def _load(self) -> ThrowAway:
        """Return the machine that the manifests describe, or one cloned from an image."""
        options = self._options
        files, problems = self._services.read_files(options.paths) if options.paths else ((), ())
        if options.template or options.image:
            text = write_plain(options.name, options.template, options.image)
            files = [*files, ManifestFile(PLAIN_NAME, text.encode())]
        loaded = self._services.load_files(files)
        manifest = find_machine(loaded.desired, options.name)
        problems = [*problems, *loaded.problems]
        if manifest is None and problems:
            raise InvalidManifestError(tuple(sorted(problems)))
        for problem in sorted(problems):
            self._console.complain(escape(str(problem)))
        if manifest is None:
            raise UsageError(
                f"no manifest of a machine {options.name}; give a PATH that has one, or "
                "--template NAME PATH, or --image FILE"
            )
        thrown = make_throwaway(manifest, self._id)
        templates = Desired.of(*loaded.desired.templates)
        return ThrowAway(thrown, templates, choose_disk(thrown, options.disk))

    def _list_combinations(self, machine: ThrowAway) -> Tuple[Combination, ...]:
        options = self._options
        caps = self._host.domains.read_caps(machine.manifest.machine.machine or "")
        return list_combinations(caps.disk_buses, options.bus, options.cache, options.io)

    def _refuse(self, machine: ThrowAway, combinations: int) -> None:
        """Refuse what exists, and what could fill the pool."""
        storage = self._host.storage
        pools = tuple(storage.read_pool(name) for name in storage.list_pools())
        refuse_existing(machine.name, self._host.domains.list_domains(), pools)
        refuse_full(machine, pools, combinations * self._options.size)

    def _announce(self, machine: ThrowAway, combinations: Tuple[Combination, ...]) -> None:
        """Say how much it is; refuse what takes longer than it may."""
        each = estimate_seconds(plan_jobs(self._ways), self._options.runtime) + BOOT_SECONDS
        seconds, limit = each * len(combinations), self._options.time_limit
        words = f"{count(len(combinations), 'combination')} of bus, cache and io"
        if seconds > limit:
            raise RefusedError(
                f"{words} take about {show_span(seconds)}, more than the {show_span(limit)} of "
                "--time-limit; choose fewer (--bus, --cache, --io, --profile), a shorter "
                "--runtime, or a longer --time-limit"
            )
        self._console.note(
            f"{words}, about {show_span(seconds)}; disk {machine.disk.name} of {machine.name}, "
            "which is made now and removed at the end"
        )

    def _apply(self, machine: ThrowAway, combination: Combination, power: Power) -> None:
        """Make the machine as it is to be, by a plan as any other."""
        desired, action = plan_arrangement(self._host, machine, combination, power)
        executor = Executor(self._host, desired, self._clock, self._report_on, is_held=True)
        outcome = executor.carry_out(action)
        if outcome.cause is not None:
            raise outcome.cause

    def _measure_all(
        self, machine: ThrowAway, combinations: Tuple[Combination, ...]
    ) -> Tuple[Measurement, ...]:
        found: List[Measurement] = []
        begun, total = self._clock.now(), len(combinations)
        try:
            for combination in combinations:
                passed, left = self._clock.now() - begun, total - len(found)
                if passed > self._options.time_limit:
                    self._console.note(f"the --time-limit is over; {left} of {total} not measured")
                    break
                when = f", about {show_span(passed / len(found) * left)} left" if found else ""
                self._console.note(f"{len(found) + 1} of {total}: {combination.words}{when}")
                found.append(self._store(self._measure_combination(machine, combination)))
                refuse_hopeless(found)
        except BaseException:
            if any(each.results for each in found):
                self._console.note(
                    f"{count(len(found), 'combination')} measured before that; see "
                    f"virt-reconciler bench compare {found[0].group}"
                )
            raise
        return tuple(found)

    def _store(self, measurement: Measurement) -> Measurement:
        """Keep a result; one that cannot be kept is in the table all the same."""
        try:
            return self._keep(measurement)
        except TransientError as error:
            self._console.note(f"not kept: {error}")
            return measurement

    def _measure_combination(self, machine: ThrowAway, combination: Combination) -> Measurement:
        """Measure one; what goes wrong with it alone is its result."""
        taken_at = show_time(self._clock.wall()) or ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                found = self._try_combination(machine, combination)
                break
            except (MissingError, BusyError, NotFoundError):
                raise
            except ReconcilerError as error:
                found = self._describe_failure(machine, combination, error)
                is_last = attempt == ATTEMPTS or not isinstance(error, TransientError)
                once_more = "" if is_last else "; trying once more"
                self._console.note(f"{combination.words}: {error}{once_more}")
                if is_last:
                    break
        results, environment, warnings = found
        return Measurement(
            id=name_measurement("disk", taken_at),
            taken_at=taken_at,
            version=__version__,
            environment=environment,
            label=combination.label,
            group=self._options.label or self._id,
            limits=self._limits,
            results=results,
            warnings=warnings,
        )

    @property
    def _limits(self) -> Limits:
        options = self._options
        return Limits(nice=options.nice, io_class=options.ionice, rate=options.rate)

    def _try_combination(self, machine: ThrowAway, combination: Combination) -> Found:
        self._power_off(machine)
        try:
            self._apply(machine, combination, Power.RUNNING)
            self._wait_for_agent(machine)
            return self._measure_disk(machine)
        except TransientError:
            self._refuse_full(machine)
            raise
        finally:
            with suppress(ReconcilerError):
                self._host.domains.power_off(machine.name)

    def _power_off(self, machine: ThrowAway) -> None:
        """Have the guest off; a libvirt that is being restarted is waited for, with its drivers."""
        host = self._host
        retry(self._clock, lambda: host.domains.power_off(machine.name))
        retry(self._clock, host.storage.list_pools)
        retry(self._clock, host.networks.list_networks)

    def _wait_for_agent(self, machine: ThrowAway) -> None:
        limit = self._options.boot_time
        deadline = self._clock.now() + limit
        while not retry(self._clock, lambda: self._host.guests.read(machine.name)).answers:
            if self._clock.now() > deadline:
                raise TransientError(
                    f"guest {machine.name}: its agent did not answer within {show_span(limit)}; "
                    "the image needs qemu-guest-agent and a driver for the bus, or give a longer "
                    "--boot-time"
                )
            self._clock.sleep(AGENT_POLL)

    def _measure_disk(self, machine: ThrowAway) -> Found:
        name, disk = machine.name, machine.disk
        programs = self._services.reach_guest(self._uri, name)
        folder = self._options.guest_path.rstrip("/") or "/"
        live = self._host.domains.read_domain(name).live_xml or ""
        setup = describe_disk(live, disk.name)
        if machine.is_blank:
            pool = self._host.storage.read_pool(machine.pool)
            image = "" if setup is None else setup.image
            sizes = [each.capacity for each in pool.volumes.values() if each.path == image]
            folder = programs.format_disk(sizes[0] if sizes else disk.size or 0)
        environment = describe_guest(self._host, read_host_facts(), name, folder)
        other = programs.find_memory_file_system(folder) or find_other_disk(environment.disk, setup)
        if other:
            raise MissingError(
                f"{folder} in {name} is on {other}, not on disk {disk.name}; give a folder on that "
                "disk: --guest-path"
            )
        environment = replace(environment, disk=setup, qemu=read_qemu(self._host))
        environment = replace(environment, pool=machine.pool)
        return measure_folder(
            programs, environment, folder, self._options, self._limits, self._console
        )

    def _refuse_full(self, machine: ThrowAway) -> None:
        """Raise FullError if the guest was paused because its pool is full."""
        view = retry(self._clock, lambda: self._host.domains.read_domain(machine.name))
        if "no space" in view.disk_errors.values():
            raise FullError(
                f"storage pool {machine.pool} became full, and {machine.name} was paused; free "
                "some space, or give a smaller --size"
            )

    def _describe_failure(
        self, machine: ThrowAway, combination: Combination, error: ReconcilerError
    ) -> Found:
        setup = combination.make_setup(machine.disk.name)
        facts = replace(read_host_facts(), machine=machine.name, pool=machine.pool)
        return (), replace(facts, disk=setup), (str(error),)

    def _remove_leftovers(self) -> None:
        """Remove what killed runs have left; of a run that goes on nothing is touched."""
        for name, matrix in find_leftovers(self._host.domains.list_domains()):
            key = Key(FORMER_KIND, name)
            try:
                with holding(self._host, key, self._clock):
                    self._remove(key, f"removing {name}, which {matrix} left when it was stopped")
            except BusyError:
                if name == self._options.name:
                    raise

    def _remove(self, key: Key, words: str) -> None:
        """Remove a throw-away machine with its disks; a libvirt that is restarted is waited for."""

        def remove() -> None:
            self._host.domains.power_off(key.name)
            action = plan_removal(self._host, key.name)
            executor = Executor(self._host, Desired(), self._clock, self._report_on, is_held=True)
            outcome = executor.carry_out(action)
            if outcome.cause is not None:
                raise outcome.cause

        try:
            retry(self._clock, lambda: self._host.domains.read_domain(key.name))
            self._console.note(words)
            retry(self._clock, remove)
        except NotFoundError:  # somebody else has removed its definition
            retry(self._clock, lambda: delete_volumes(self._host, self._made))

    def _report_on(self, _action: Action) -> NoteReporter:
        return NoteReporter(self._console)


def refuse_hopeless(found: Sequence[Measurement]) -> None:
    """Raise TransientError if not one of the first combinations could be measured."""
    if len(found) == MOST_FAILURES and not any(each.results for each in found):
        raise TransientError(
            f"none of the first {MOST_FAILURES} combinations could be measured; the last: "
            f"{'; '.join(found[-1].warnings)}"
        )


def retry(clock: Clock, call: Callable[[], T]) -> T:
    """Return what a call returns, once what is in its way is gone, or has lasted too long."""
    deadline: Optional[float] = None
    while True:
        try:
            return call()
        except TransientError:
            deadline = deadline or clock.now() + REMOVE_LIMIT
            if clock.now() > deadline:
                raise
        clock.sleep(REMOVE_POLL)
