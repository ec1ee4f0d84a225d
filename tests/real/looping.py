"""The loop on a real host, in this process: real events, real changes, memory for the rest."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Iterator, List, Optional, Tuple

from reconciler.adapters.clock import StoppableClock
from reconciler.adapters.libvirt.connections import Connections, LibvirtEvents, run_event_loop
from reconciler.adapters.libvirt.domains import LibvirtDomains
from reconciler.adapters.libvirt.guests import LibvirtGuests, RememberedGuests
from reconciler.adapters.libvirt.host import NO_PREPARER, LibvirtNetworks, refuse_imports
from reconciler.adapters.libvirt.storage import LibvirtStorage
from reconciler.control.loop import Loop
from reconciler.control.ports import Locks, NoLocks, NoUnits, Secrets, Units
from reconciler.control.service_ports import History
from reconciler.control.state import LoopServices
from reconciler.core.conditions import READY
from reconciler.core.guest import Guests, NoGuests
from reconciler.core.imports import Importer
from reconciler.core.machine import Cpus, Machine, Memory, Power
from reconciler.core.manifest import (
    Desired,
    HostManifest,
    Lifecycle,
    MachineManifest,
    TemplateManifest,
)
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.preparation import Preparer
from reconciler.core.records import Record
from reconciler.core.secret_refs import NoSecrets
from reconciler.core.settings import Settings
from reconciler.core.transfers import Downloads, NoDownloads
from reconciler.errors import Problem
from tests.lab.host import LabHost
from tests.lab.keys import vm
from tests.lab.namespaces import children_of, name_of, number_inside
from tests.real.faults import is_read
from tests.real.worlds import MIB, manifest_of
from tests.unit.loop.fakes import CountingMeter, ListJournal, MemoryHistory, MemoryStore

run_event_loop()  # before the first connection of this process
LIMIT = 120.0  # seconds; only a failure takes that long


class Recording:
    """One driver, whose writing calls are noted."""

    def __init__(self, driver: object, writes: List[str], hold: Callable[[str], None]) -> None:
        self._driver, self._writes, self._hold = driver, writes, hold

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if is_read(name):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self._writes.append(name)
            self._hold(name)
            return found(*arguments, **more)

        return call


@dataclass(frozen=True)
class RecordingHost:
    """A host that notes what is written to it."""

    domains: Any
    storage: Any
    networks: Any
    units: Units = NoUnits()  # noqa: RUF009 - it holds nothing
    locks: Locks = NoLocks()  # noqa: RUF009
    secrets: Secrets = NoSecrets("none")  # noqa: RUF009
    downloads: Downloads = NoDownloads()  # noqa: RUF009
    guests: Guests = NoGuests()  # noqa: RUF009
    preparer: Preparer = NO_PREPARER
    importer: Importer = refuse_imports()  # noqa: RUF009


@dataclass
class Looping:
    """A running loop. `hold` is called before each writing call, with its name."""

    lab: LabHost
    store: Any = field(default_factory=MemoryStore)
    history: History = field(default_factory=MemoryHistory)
    journal: ListJournal = field(default_factory=ListJournal)
    meter: CountingMeter = field(default_factory=CountingMeter)
    clock: StoppableClock = field(default_factory=StoppableClock)
    writes: List[str] = field(default_factory=list)
    hold: Callable[[str], None] = lambda _name: None
    connect: Optional[Callable[[str], Any]] = None
    downloads: Downloads = NoDownloads()  # noqa: RUF009
    loop: Any = None
    count: int = 0

    def start(self) -> Looping:
        """Start the loop."""
        connections = Connections(self.lab.uri())
        drivers = (
            LibvirtDomains(connections),
            LibvirtStorage(connections),
            LibvirtNetworks(connections),
        )
        domains, storage, networks = (
            Recording(driver, self.writes, lambda name: self.hold(name)) for driver in drivers
        )
        guests = RememberedGuests(LibvirtGuests(Connections(self.lab.uri())))
        host = RecordingHost(domains, storage, networks, downloads=self.downloads, guests=guests)
        news = LibvirtEvents(connections)
        self.loop = Loop(
            LoopServices(
                host=host,
                news=news,
                store=self.store,
                journal=self.journal,
                meter=self.meter,
                clock=self.clock,
                chance=random.random,
                history=self.history,
                connect=self.connect,
            ),
            Settings(resync=0),
        )
        threading.Thread(target=self.loop.lanes.run, daemon=True).start()
        threading.Thread(target=self.loop.guests.lanes.run, daemon=True).start()
        news.start(self.loop)
        self.wait(lambda: not self.loop.shared.unreached, "libvirt is reached")
        return self

    def stop(self) -> None:
        """End it, and wait for what still runs."""
        self.loop.queue.close()
        self.loop.guests.queue.close()
        self.clock.stop()
        self.loop.shared.services.news.stop()
        assert self.loop.queue.wait_idle(LIMIT)

    def publish(
        self,
        *manifests: MachineManifest,
        problems: Tuple[Problem, ...] = (),
        revision: str = "",
        hosts: Tuple[HostManifest, ...] = (),
        templates: Tuple[TemplateManifest, ...] = (),
    ) -> None:
        """Give the loop new manifests."""
        self.count += 1
        name = revision or f"r{self.count}"
        desired = Desired.of(*manifests, *hosts, *templates)
        self.loop.publish(ManifestSet(name, desired, problems, name))

    def record(self, name: str) -> Record:
        """Return what the loop remembers of an object."""
        return self.loop.shared.ledger.get(vm(name))  # type: ignore[no-any-return]

    def wait_ready(self, name: str, generation: Optional[str] = None) -> Record:
        """Wait until the object is as wanted."""

        def is_ready() -> bool:
            record = self.record(name)
            fits = generation is None or record.observed_generation == generation
            return fits and record.condition(READY).holds is True

        self.wait(is_ready, f"{name} is ready")
        return self.record(name)

    def wait(self, condition: Callable[[], object], what: str, limit: float = LIMIT) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + limit
        while not condition():
            told = "\n".join(event.message for event in self.journal.events[-10:])
            assert time.monotonic() < deadline, f"in vain until {what}; told:\n{told}"
            time.sleep(0.02)

    def wait_quiet(self) -> None:
        """Wait until nothing is worked on and nothing waits."""
        self.wait(lambda: not len(self.loop.queue) and self.loop.queue.wait_idle(0), "quiet")

    def virsh(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Do something by hand."""
        return self.lab.virsh(*words, check=check)


def machine(name: str = "vm", **fields: Any) -> Machine:
    """Return a small machine without a system; a guest of it runs and does nothing."""
    plain = Machine(
        name,
        os="generic",
        power=Power.RUNNING,
        machine="q35",
        cpus=Cpus(count=1),
        memory=Memory(64 * MIB),
        disks=(),
        interfaces=(),
    )
    return replace(plain, **fields)


def manifest(
    name: str = "vm", lifecycle: Lifecycle = Lifecycle(), **fields: Any
) -> MachineManifest:
    """Return the manifest of such a machine."""
    found = manifest_of(machine(name, **fields), lifecycle)
    return replace(found, spec=json.dumps({"lifecycle": {"deletion": lifecycle.deletion}}))


def stored(looping: Looping) -> List[str]:
    """Return the domains that libvirt has a definition of."""
    return looping.virsh("list", "--all", "--name", "--persistent").stdout.split()


@contextmanager
def killed_libvirtd(host: LabHost) -> Iterator[None]:
    """Kill the daemon, and have it started again at the end: else it may be back before it is missed."""
    first, pid = host.first(), libvirtd(host)
    os.kill(first, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        yield
    finally:
        os.kill(first, signal.SIGCONT)


def libvirtd(host: LabHost) -> int:
    """Return the daemon's process as this machine sees it, once it runs.

    Its own children have its name, too, until they become another program.
    """
    deadline = time.monotonic() + LIMIT
    while True:
        with suppress(OSError, ValueError):
            inside = int((host.folder / "libvirtd.pid").read_text(encoding="ascii"))
            found = [pid for pid in children_of(host.first()) if name_of(pid) == "libvirtd"]
            for pid in found:
                if number_inside(pid) == inside:
                    return pid
        assert time.monotonic() < deadline, "libvirtd does not run"
        time.sleep(0.02)
