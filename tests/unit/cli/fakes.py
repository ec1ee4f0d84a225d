"""The ports of the command line in memory: a test says what manifests, host and memory hold."""

from __future__ import annotations

import io
import json
import os
import signal
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from reconciler.adapters.clock import StoppableClock
from reconciler.cli.console import Console
from reconciler.cli.daemon_services import DaemonServices
from reconciler.cli.run import run
from reconciler.cli.services import Services
from reconciler.control.ports import Clock, Host, Listener, NoUnits, Units
from reconciler.control.service_ports import DaemonMemory, History, ManifestSource, Meter, Watcher
from reconciler.control.state import LoopServices
from reconciler.core.key import Key
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import LoadedManifests, ManifestFile, ManifestSet
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.core.settings import MetricsSettings, Settings
from tests.unit.fake_clock import FakeClock
from tests.unit.loop.fakes import ListJournal, MemoryHistory, MemoryStore
from tests.unit.memory_host import MemoryHost

REAL = Services("test", os.environ)  # the real ports, for what reads files alone
REVISION = "0123456789abcdef"
SMALL: Mapping[str, Any] = {"cpus": 1, "memory": "1GiB"}
BAD = "kind: VirtualMachine\nmetadata: {name: bad}\n"


def manifest(name: str, **spec: Any) -> str:
    """Return the text of a small machine's manifest."""
    document = {
        "apiVersion": "virt-reconciler/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {**SMALL, **spec},
    }
    return json.dumps(document, indent=1)


def manifests(**specs: Mapping[str, Any]) -> Dict[str, str]:
    """Return a file of a manifest for each machine."""
    return {f"{name}.yaml": manifest(name, **spec) for name, spec in specs.items()}


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
class FakeSource:
    """Manifests that are read again and again; implements `ManifestSource`."""

    desired: Desired

    def take(self) -> ManifestSet:
        """Return the manifests set."""
        return ManifestSet("one", self.desired, revision="one")

    def recall(self) -> Optional[ManifestSet]:
        """Remember nothing."""
        return None

    def places(self) -> Tuple[str, ...]:
        """Announce nothing."""
        return ()


class FakeWatcher:
    """A watcher that announces nothing; implements `Watcher`."""

    def watch(self, places: Tuple[str, ...], hint: Callable[[], None]) -> str:
        """Watch nothing."""
        return "inotify"

    def is_armed(self) -> bool:
        """Whether nothing more is to be watched than is."""
        return True

    def stop(self) -> None:
        """Do nothing."""


class FakeNews:
    """News that never come; implements `News`."""

    def start(self, listener: Listener) -> None:
        """Say that all drivers are reached."""
        for driver in ("qemu", "storage", "network"):
            listener.reached(driver)

    def is_alive(self) -> bool:
        """Be alive."""
        return True

    def stop(self) -> None:
        """Do nothing."""


class FakeSupervisor:
    """A service manager that sends a signal each time that the daemon is ready."""

    watchdog_interval = 0.0

    def __init__(self, *signals: int) -> None:
        self.signals = list(signals)
        self.told: List[str] = []

    def ready(self) -> None:
        """Send the next signal."""
        self.told.append("ready")
        signal.raise_signal(self.signals.pop(0))

    def reloading(self) -> None:
        """Remember it."""
        self.told.append("reloading")

    def stopping(self) -> None:
        """Remember it."""
        self.told.append("stopping")

    def alive(self) -> None:
        """Do nothing."""

    def status(self, text: str) -> None:
        """Do nothing."""


class FakeDaemonServices(DaemonServices):
    """The daemon's ports in memory: it is told to read its settings anew once, and then to stop."""

    def __init__(self, services: FakeServices) -> None:
        """Begin with nothing remembered."""
        self.services = services
        self.store = MemoryStore()
        self.listed = ListJournal()
        self.journal = self.listed
        self.clock = StoppableClock()
        self.chance = lambda: 0.5
        self.told = FakeSupervisor(signal.SIGHUP, signal.SIGTERM)
        self.supervisor = self.told
        self.sources: List[Settings] = []

    def lock_memory(self) -> AbstractContextManager[None]:
        """Be alone."""
        return nullcontext()

    def find_broken(self) -> Sequence[str]:
        """Have nothing broken."""
        return ()

    def attend(self, meter: Meter) -> LoopServices:
        """Return the host of the command line."""
        return LoopServices(
            host=self.services.host,
            news=FakeNews(),
            store=self.store,
            journal=self.journal,
            meter=meter,
            clock=self.clock,
            chance=self.chance,
            history=self.services.history,
        )

    def open_source(self, settings: Settings) -> ManifestSource:
        """Return the manifests of the command line."""
        self.sources.append(settings)
        return FakeSource(self.services.load_manifests(()).desired)

    def make_watcher(self) -> Watcher:
        """Watch nothing."""
        return FakeWatcher()

    def show_metrics(
        self, settings: MetricsSettings, render: Callable[[], str]
    ) -> Callable[[], None]:
        """Show nothing."""
        return lambda: None


@dataclass
class FakeServices(Services):
    """Implements every port; remembers what it was asked for."""

    files: Mapping[str, str] = field(default_factory=lambda: manifests(vm1={}))
    host: MemoryHost = field(default_factory=MemoryHost)
    settings: Settings = field(default_factory=Settings)
    unreachable: Optional[BaseException] = None
    session: bool = False
    clock: Clock = field(default_factory=FakeClock)
    uris: List[Optional[str]] = field(default_factory=list)
    configs: List[str] = field(default_factory=list)
    memory: FakeMemory = field(default_factory=FakeMemory)
    states: List[str] = field(default_factory=list)
    history: MemoryHistory = field(default_factory=MemoryHistory)
    histories: List[str] = field(default_factory=list)
    revision: str = REVISION
    served: List[FakeDaemonServices] = field(default_factory=list)

    def load_manifests(
        self, paths: Sequence[str], on_sound: Optional[Callable[[], object]] = None
    ) -> LoadedManifests:
        """Understand the files set, whatever is asked for."""
        return self.load_files(
            [ManifestFile(name, text.encode()) for name, text in self.files.items()]
        )

    def allows_plain(self) -> bool:
        """Allow it if the settings do."""
        return self.settings.allow_plain_passwords

    def read_revision(self, paths: Sequence[str]) -> Optional[str]:
        """Be at a commit."""
        return self.revision

    def read_settings(self, path: str) -> Settings:
        """Return the settings set."""
        self.configs.append(path)
        return self.settings

    def salvage_settings(self, path: str) -> Settings:
        """Return the defaults."""
        return Settings()

    def reach_memory(self, state: str) -> DaemonMemory:
        """Return the memory set."""
        self.states.append(state)
        return self.memory

    def reach_history(self, folder: str) -> History:
        """Return the history set."""
        self.histories.append(folder)
        return self.history

    def connect(self, uri: Optional[str]) -> Host:
        """Be reachable, or not."""
        self.uris.append(uri)
        if self.unreachable is not None:
            raise self.unreachable
        return self.host

    def chooses_session(self) -> bool:
        """Be as the test says."""
        return self.session

    def serve(self, settings: Settings, console: Console) -> DaemonServices:
        """Serve in memory."""
        self.served.append(FakeDaemonServices(self))
        return self.served[-1]

    def units(self, uri: Optional[str]) -> Units:
        """See no units; the tests of that verb bring their own."""
        return NoUnits()


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
    services: Services,
    *argv: str,
    answers: Optional[str] = None,
    terminal: bool = False,
    environ: Optional[Dict[str, str]] = None,
) -> Result:
    """Run a command line; `answers` is what a person at a terminal types."""
    out = Terminal() if terminal else Piped()
    err = Piped()
    typed = Piped("") if answers is None else Terminal(answers)
    console = Console(out, err, typed, environ or {})
    status = run(list(argv), console, lambda _options, _console: services)
    return Result(int(status), out.getvalue(), err.getvalue())


def applied(**specs: Mapping[str, Any]) -> FakeServices:
    """Return services whose host has these machines as their manifests say."""
    services = FakeServices(manifests(**specs))
    done = call(services, "apply", "--yes", "p")
    assert done.status == 0, done.err
    services.host.writes.clear()
    services.history.entries.clear()
    for asked in (services.uris, services.configs, services.states, services.histories):
        asked.clear()
    return services
