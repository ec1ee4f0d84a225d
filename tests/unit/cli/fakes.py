"""Parts that stand in for manifests, libvirt and git; a test says what they hold."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, TextIO, Tuple, Union, cast

from reconciler.adapters.manifests.loading import load_files
from reconciler.adapters.text_files import write_folder
from reconciler.cli.console import Console
from reconciler.cli.parts import Loaded, Parts, Versions
from reconciler.cli.run import run
from reconciler.control.change_recorder import ChangeRecorder
from reconciler.control.ports import Clock, Host, NoUnits, Reporter, Units
from reconciler.control.service_ports import DaemonMemory, History
from reconciler.core.history import ChangeRecord
from reconciler.core.host_snapshot import HostSnapshot
from reconciler.core.key import Key
from reconciler.core.machine import Machine
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.manifest_files import ManifestFile
from reconciler.core.plan import Action, ActionKind, Outcome, Plan, PlanOptions
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.core.settings import Settings
from reconciler.core.world import Reading, Unknown, World
from reconciler.errors import Problem, UsageError
from reconciler.kinds.machine.elsewhere import Background
from reconciler.kinds.machine.observe import ObservedHost
from reconciler.kinds.machine.rollback import RollbackPlan
from tests.unit.loop.fakes import MemoryHistory

NO_HOST = cast("Host", object())


@dataclass(frozen=True)
class FakeLoaded:
    """Manifests as they would have been read."""

    desired: Desired
    problems: Tuple[Problem, ...] = ()


def manifest(name: str) -> MachineManifest:
    """Return a small manifest."""
    return MachineManifest(Machine(name), "g1", "{}", Place(f"{name}.yaml", 1, 1))


ONE = FakeLoaded(Desired.of(manifest("vm1")))
PROBLEM = Problem("a.yaml", 3, 5, "spec.cpus", "is required")


EMPTY = Plan("kvm01", "qemu:///system", ())


@dataclass
class FakeClock:
    """A clock that moves only when told."""

    time: float = 0.0

    def now(self) -> float:
        """Return the time set."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.time += seconds


Carry = Callable[[Plan, Reporter], Tuple[Outcome, ...]]


def succeed(plan: Plan, report: Reporter) -> Tuple[Outcome, ...]:
    """Carry out every action that has work, as the executor reports it."""
    return tuple(_finish(one, None, report) for one in plan.actions if one.steps)


def fail(name: str) -> Carry:
    """Return a way to carry out a plan in which one object fails."""

    def carry(plan: Plan, report: Reporter) -> Tuple[Outcome, ...]:
        return tuple(
            _finish(one, "no space left in pool" if one.name == name else None, report)
            for one in plan.actions
            if one.steps
        )

    return carry


def _finish(action: Action, error: Optional[str], report: Reporter) -> Outcome:
    report.started(action)
    outcome = Outcome(action.name, action.action, error, action.pending)
    report.finished(outcome)
    return outcome


class OneByOne:
    """Tells of each action the reporter that is opened for it; implements `Reporter`."""

    def __init__(self, report_on: Callable[[Action], Reporter]) -> None:
        """Begin with none."""
        self._report_on = report_on
        self._told: Optional[Reporter] = None

    def started(self, action: Action) -> None:
        """Open one."""
        self._told = self._report_on(action)
        self._told.started(action)

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass it on."""
        assert self._told is not None
        self._told.progress(what, done, total)

    def finished(self, outcome: Outcome) -> None:
        """Pass it on."""
        assert self._told is not None
        self._told.finished(outcome)


@dataclass
class FakeMemory:
    """The daemon's memory, as a test says; implements `Memory`."""

    records: Dict[Key, Record] = field(default_factory=dict)
    source: SourceRecord = field(default_factory=SourceRecord)
    suspensions: Dict[Key, Suspension] = field(default_factory=dict)
    daemon: Optional[int] = None
    last_sign: Optional[float] = None
    broken: Tuple[str, ...] = ()
    confirmed: str = ""
    unreadable: Optional[Exception] = None
    retries: List[Key] = field(default_factory=list)

    def find_daemon(self) -> Optional[int]:
        """Return the daemon set."""
        return self.daemon

    def find_last_sign(self) -> Optional[float]:
        """Return the time set."""
        return self.last_sign

    def find_hindrance(self) -> str:
        """Be writable."""
        return ""

    def find_broken(self) -> Tuple[str, ...]:
        """Return the lines set."""
        return self.broken

    def load_records(self) -> Mapping[Key, Record]:
        """Return the records set, or fail."""
        if self.unreadable is not None:
            raise self.unreadable
        return dict(self.records)

    def load_placements(self) -> Mapping[Key, str]:
        """Return none."""
        return {}

    def load_source(self) -> SourceRecord:
        """Return the source set."""
        return self.source

    def read_source(self) -> SourceRecord:
        """Return the source set."""
        return self.source

    def suspended(self) -> Mapping[Key, Suspension]:
        """Return what is suspended."""
        return dict(self.suspensions)

    def suspend(self, suspension: Suspension) -> None:
        """Remember it."""
        self.suspensions[suspension.key] = suspension

    def resume(self, key: Key) -> bool:
        """Forget it."""
        return self.suspensions.pop(key, None) is not None

    def order_retry(self, key: Key) -> None:
        """Remember it."""
        self.retries.append(key)

    def confirmed_prune(self) -> str:
        """Return what was confirmed."""
        return self.confirmed

    def confirm_prune(self, identity: str) -> None:
        """Remember it."""
        self.confirmed = identity


@dataclass
class FakeParts:
    """Implements `Parts`; remembers what it was asked for."""

    loaded: FakeLoaded = ONE
    planned: Plan = field(default_factory=lambda: EMPTY)
    domains: Mapping[str, Union[Reading, Unknown]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    around: World = field(default_factory=lambda: World("kvm01", "qemu:///system"))
    settings: Settings = field(default_factory=Settings)
    carry: Carry = succeed
    unreachable: Optional[Exception] = None
    session: bool = False
    clock: Clock = field(default_factory=FakeClock)
    uris: List[Optional[str]] = field(default_factory=list)
    options: List[PlanOptions] = field(default_factory=list)
    executed: List[Plan] = field(default_factory=list)
    lanes: List[int] = field(default_factory=list)
    configs: List[str] = field(default_factory=list)
    served: List[Settings] = field(default_factory=list)
    memory: FakeMemory = field(default_factory=FakeMemory)
    states: List[str] = field(default_factory=list)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    histories: List[str] = field(default_factory=list)
    chronicles: List[ChangeRecorder] = field(default_factory=list)
    taken_back: List[int] = field(default_factory=list)
    kept_otherwise: str = ""
    time: float = 1_000_000.0

    def begin(self, verb: str) -> None:
        """Take no note."""

    def now(self) -> float:
        """Return the time set."""
        return self.time

    def load(self, paths: Sequence[str]) -> FakeLoaded:
        """Return the manifests set."""
        return self.loaded

    def read_files(self, paths: Sequence[str]) -> Tuple[Sequence[ManifestFile], Sequence[Problem]]:
        """Read nothing; the tests of comparisons have the real parts."""
        raise NotImplementedError

    def load_files(self, files: Sequence[ManifestFile]) -> Loaded:
        """Understand them as the real parts do."""
        return load_files(files)

    def find_versions(self, path: str) -> Versions:
        """Know no repository."""
        raise NotImplementedError

    def compare(
        self, host: Optional[Host], base: Desired, head: Desired, options: PlanOptions
    ) -> Plan:
        """Compare nothing."""
        raise NotImplementedError

    def read_schema(self, kind: str) -> str:
        """Know one kind."""
        if kind != "VirtualMachine":
            raise UsageError(f"no schema for {kind!r}; there is: VirtualMachine")
        return '{"title": "VirtualMachine"}'

    def read_settings(self, path: str) -> Settings:
        """Return the settings set."""
        self.configs.append(path)
        return self.settings

    def salvage_settings(self, path: str) -> Settings:
        """Return the defaults."""
        return Settings()

    def serve(
        self,
        settings: Settings,
        reread: Callable[[], Settings],
        errors: TextIO,
        environ: Mapping[str, str],
    ) -> int:
        """Run nothing; the settings are those of the configuration at once and when read anew."""
        self.served = [settings, reread()]
        return 0

    def reach_memory(self, state: str) -> DaemonMemory:
        """Return the memory set."""
        self.states.append(state)
        return self.memory

    def reach_history(self, folder: str) -> History:
        """Return the history set."""
        self.histories.append(folder)
        return self.history

    def record(self, host: Host, told: Reporter, chronicle: ChangeRecorder) -> Reporter:
        """Record nothing; remember who wanted it."""
        self.chronicles.append(chronicle)
        return told

    def plan_way_back(
        self,
        host: Host,
        past: ChangeRecord,
        entries: Sequence[ChangeRecord],
        now: Optional[datetime],
    ) -> RollbackPlan:
        """Return the plan set."""
        self.taken_back.append(past.number)
        world = World("kvm01", "qemu:///system")
        seen = ObservedHost(NO_HOST, self.loaded.desired, world)
        return RollbackPlan(self.loaded.desired, seen, self.planned)

    def find_kept_otherwise(self, host: Host, way: RollbackPlan) -> str:
        """Say what the test says."""
        return self.kept_otherwise

    def plan_deletions(self, host: Host, names: Sequence[str]) -> Plan:
        """Plan nothing; the tests of that verb bring their own."""
        raise NotImplementedError

    def read_text(self, path: str) -> str:
        """Read a file that the test has made."""
        return Path(path).read_text(encoding="utf-8")

    def write_text(self, path: str, text: str) -> None:
        """Write to a folder of the test."""
        Path(path).write_text(text, encoding="utf-8")

    def write_folder(
        self, folder: str, texts: Mapping[str, str], *, replace: bool
    ) -> Sequence[str]:
        return write_folder(folder, texts, replace=replace)

    def read_revision(self, paths: Sequence[str]) -> Optional[str]:
        """Be at a commit."""
        return "0123456789abcdef"

    def take_snapshot(self, host: Host, revision: Optional[str]) -> HostSnapshot:
        """Return a snapshot of nothing."""
        return HostSnapshot("1970-01-12T13:46:40Z", "1.0", "kvm01", "qemu:///system", revision)

    def reach_snapshot(self, snapshot: HostSnapshot) -> Host:
        """Be that host."""
        return NO_HOST

    def connect(self, uri: Optional[str]) -> Host:
        """Be reachable, or not."""
        self.uris.append(uri)
        if self.unreachable is not None:
            raise self.unreachable
        return NO_HOST

    def chooses_session(self) -> bool:
        """Be as the test says."""
        return self.session

    def units(self, uri: Optional[str]) -> Units:
        """See no units; the tests of that verb bring their own."""
        return NoUnits()

    def read_domains(self, host: Host) -> Mapping[str, Union[Reading, Unknown]]:
        """Return the domains set."""
        return self.domains

    def read_sizes(self, host: Host, reading: Reading) -> Mapping[str, int]:
        """Return the sizes set."""
        return self.sizes

    def look_around(self, host: Host, readings: Sequence[Reading]) -> World:
        """Return the surroundings set."""
        return self.around

    def observe(self, host: Host, desired: Desired, background: Background) -> ObservedHost:
        """See nothing."""
        return ObservedHost(NO_HOST, desired, World(self.planned.host, self.planned.uri))

    def plan(self, observation: ObservedHost, options: PlanOptions) -> Plan:
        """Return the plan set."""
        self.options.append(options)
        return Plan(self.planned.host, self.planned.uri, self.planned.actions, options.revision)

    def execute(
        self,
        host: Host,
        desired: Desired,
        todo: Plan,
        report_on: Callable[[Action], Reporter],
        *,
        lanes: int,
    ) -> Tuple[Outcome, ...]:
        """Carry out as the test says, one object after the other."""
        self.executed.append(todo)
        self.lanes.append(lanes)
        return self.carry(todo, OneByOne(report_on))


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """Be one."""
        return True


class Piped(io.StringIO):
    """A text stream that is none."""

    encoding = "utf-8"


@dataclass(frozen=True)
class Result:
    """What a command printed and ended with."""

    status: int
    out: str
    err: str


def call(
    parts: Parts,
    *argv: str,
    answers: Optional[str] = None,
    terminal: bool = False,
    environ: Optional[Dict[str, str]] = None,
) -> Result:
    """Run a command line; `answers` is what a person at a terminal types."""
    out = Terminal() if terminal else Piped()
    err = Piped()
    typed = Piped("") if answers is None else Terminal(answers)
    status = run(list(argv), Console(out, err, typed, environ or {}), parts)
    return Result(int(status), out.getvalue(), err.getvalue())


def action(name: str, kind: ActionKind, **more: object) -> Action:
    """Return an action on a machine."""
    return Action("VirtualMachine", name, kind, **more)  # type: ignore[arg-type]  # by name


def plan_of(*actions: Action) -> Plan:
    """Return a plan of these actions."""
    return Plan("kvm01", "qemu:///system", actions)
