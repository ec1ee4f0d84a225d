"""Put the daemon together: which adapter stands behind which port, and which settings go where."""

from __future__ import annotations

import gc
import os
import random
import tempfile
import time
from typing import Callable, Mapping, TextIO, Tuple

from reconciler.adapters.git.remote import RemoteSource
from reconciler.adapters.git.work_tree import WorkTreeSource
from reconciler.adapters.libvirt.connections import is_local
from reconciler.adapters.libvirt.host import attend, connect
from reconciler.adapters.manifests.folder import FolderSource
from reconciler.adapters.manifests.loading import load_files
from reconciler.adapters.metrics import Exposition
from reconciler.adapters.state.folder import FolderStore
from reconciler.adapters.state.history import FolderHistory
from reconciler.adapters.state.object_locks import FolderLocks, find_folder
from reconciler.adapters.systemd import SystemdSupervisor, open_journal
from reconciler.adapters.units import SystemdUnits
from reconciler.adapters.watch.watching import FileWatcher, read_signs
from reconciler.control.gauges import LoopGauges, Registry
from reconciler.control.journal_reporter import TroubleReporter
from reconciler.control.loop import Loop
from reconciler.control.manifest_follower import LookTimer, ManifestFollower, ManifestListener
from reconciler.control.manifest_sets import LocalFiles, ParsedFiles
from reconciler.control.service_ports import FileSource, HostSigns, Journal
from reconciler.control.state import LoopServices
from reconciler.core import events
from reconciler.core.events import Event
from reconciler.core.frozen import frozen, replace
from reconciler.core.history import FOLDER
from reconciler.core.settings import Settings
from reconciler.daemon import Daemon, StoppableClock
from reconciler.errors import TransientError, UsageError

REPOSITORY = "repository.git"
# Settings that a reload does not put in force.
AT_RESTART = ("connect", "state", "resync", "lanes", "prune", "metrics")


@frozen
class Process:
    """What the daemon has of its process."""

    errors: TextIO
    environ: Mapping[str, str]


def serve(settings: Settings, reread: Callable[[], Settings], process: Process) -> int:
    """Run the daemon until it is told to stop; return its exit status.

    `reread` returns the settings anew, or raises. Raises RefusedError when another daemon runs on
    the same state.
    """
    gc.enable()  # a command does without, but this goes on for months
    store = FolderStore(settings.state)
    with store.lock():
        return _serve(settings, reread, process, store)


def _serve(
    settings: Settings, reread: Callable[[], Settings], process: Process, store: FolderStore
) -> int:
    journal = open_journal(process.errors, process.environ)
    locks = FolderLocks(find_folder(process.environ), "run")
    units = SystemdUnits(settings.connect, process.environ)
    host, news = attend(settings.connect, units, locks)
    meter, clock = Registry(), StoppableClock()
    history = FolderHistory(os.path.join(settings.state, FOLDER))
    signs = read_signs if is_local(settings.connect) else HostSigns
    parts = LoopServices(
        host, news, store, journal, meter, clock, time.time, random.random, history, connect, signs
    )
    loop = Loop(parts, settings)
    measuring = LoopGauges(loop, meter)
    exposition = Exposition(settings.metrics, meter.render)

    def follow(now: Settings) -> ManifestFollower:
        return _make_follower(now, loop, journal, meter, process)

    def reload() -> Tuple[ManifestFollower, Tuple[str, ...]]:
        again = reread()
        waiting = tuple(one for one in AT_RESTART if _get(again, one) != _get(settings, one))
        return follow(replace(again, state=settings.state, connect=settings.connect)), waiting

    showing = TroubleReporter(journal, "metrics are not shown")

    def look() -> None:
        measuring.measure()
        showing.run(exposition.show)

    for line in store.find_broken():
        journal.tell(Event(events.FAILED, f"state: {line}"))
    look()
    daemon = Daemon(
        loop,
        follow(settings),
        SystemdSupervisor(process.environ),
        journal,
        clock,
        random.random,
        settings.resync,
        reload,
        look,
    )
    return daemon.run()


def _make_follower(
    settings: Settings, loop: Loop, journal: Journal, meter: Registry, process: Process
) -> ManifestFollower:
    interval = settings.git.interval if settings.git else settings.rescan
    return ManifestFollower(
        ParsedFiles(_make_files(settings, process), load_files),
        FileWatcher(),
        ManifestListener(loop.publish, loop.trouble, loop.recovered, loop.watching),
        journal,
        meter,
        LookTimer(interval),
    )


def _make_files(settings: Settings, process: Process) -> FileSource:
    if settings.git is not None:
        folder = _find_repository(settings.state)
        credentials = process.environ.get("CREDENTIALS_DIRECTORY")
        return RemoteSource(settings.git, folder, credentials)
    if settings.directory is None:
        raise UsageError("the configuration names no source of manifests")
    path = settings.directory.path
    return LocalFiles(WorkTreeSource(path), FolderSource(path, StoppableClock()))


def _find_repository(state: str) -> str:
    """Return where the fetched repository is: beside the state, if it can be there at all.

    In a state that cannot be written a new one is made elsewhere, for as long as the daemon runs;
    one that is there already stays, as it says what was taken last.
    """
    folder = os.path.join(state, REPOSITORY)
    if os.path.exists(os.path.join(folder, "HEAD")):
        return folder
    try:
        FolderStore(state).touch()
    except TransientError:
        return os.path.join(tempfile.mkdtemp(prefix="virt-reconciler-"), REPOSITORY)
    return folder


def _get(settings: Settings, name: str) -> object:
    return getattr(settings, name)
