"""The ports that the daemon works through, each with the adapter that stands behind it."""

from __future__ import annotations

import os
import random
import tempfile
from contextlib import AbstractContextManager
from functools import partial
from typing import Callable, Mapping, Sequence, TextIO

from reconciler.adapters.clock import StoppableClock, find_boot
from reconciler.adapters.downloads import UrlDownloads
from reconciler.adapters.foreign.importer import LocalImporter
from reconciler.adapters.git.remote import RemoteSource
from reconciler.adapters.git.work_tree import WorkTreeSource
from reconciler.adapters.guestfs import VirtSysprep
from reconciler.adapters.libvirt.connections import is_local
from reconciler.adapters.libvirt.host import attend, connect
from reconciler.adapters.manifests.files import FolderSource
from reconciler.adapters.manifests.reader import load_files
from reconciler.adapters.metrics import Exposition
from reconciler.adapters.secrets import LocalSecrets
from reconciler.adapters.signatures import verify_signature
from reconciler.adapters.state.files import find_key
from reconciler.adapters.state.folder import FolderStore
from reconciler.adapters.state.history import FolderHistory
from reconciler.adapters.state.known_images import KnownImages
from reconciler.adapters.state.object_locks import FolderLocks, find_folder
from reconciler.adapters.systemd import SystemdSupervisor, open_journal
from reconciler.adapters.units import SystemdUnits
from reconciler.adapters.watch import FileWatcher, read_signs
from reconciler.control.manifest_follower import LocalFiles, ParsedFiles
from reconciler.control.service_ports import (
    FileSource,
    HostSigns,
    ManifestSource,
    Meter,
    Supervisor,
    Watcher,
)
from reconciler.control.state import LoopServices
from reconciler.core.history import FOLDER
from reconciler.core.settings import MetricsSettings, Settings
from reconciler.daemon import DaemonClock
from reconciler.errors import TransientError, UsageError

REPOSITORY = "repository.git"


class DaemonServices:
    """The world outside of the daemon, by the settings that it starts with."""

    def __init__(self, settings: Settings, errors: TextIO, environ: Mapping[str, str]) -> None:
        """Reach nothing yet but the journal."""
        self._settings, self._environ = settings, environ
        self._store = FolderStore(settings.state)
        self.journal = open_journal(errors, environ)
        self.clock: DaemonClock = StoppableClock()
        self.chance: Callable[[], float] = random.random
        self.supervisor: Supervisor = SystemdSupervisor(environ)

    def lock_memory(self) -> AbstractContextManager[None]:
        """Be the only daemon on this memory. Raises RefusedError if there is another."""
        return self._store.lock()

    def find_broken(self) -> Sequence[str]:
        """Return a line for each file of the memory that cannot be used."""
        return self._store.find_broken()

    def attend(self, meter: Meter) -> LoopServices:
        """Reach libvirt with its news, and all else that the loop works through."""
        uri = self._settings.connect
        locks = FolderLocks(find_folder(self._environ), "run")
        secrets = LocalSecrets(
            self._environ.get("CREDENTIALS_DIRECTORY"), partial(find_key, self._settings.state)
        )
        units = SystemdUnits(uri, self._environ)
        downloads, importer = UrlDownloads(verify_signature), LocalImporter(self._environ)
        preparer = VirtSysprep(self._environ, KnownImages(self._settings.state))
        host, news = attend(
            uri,
            lambda: units,
            locks,
            secrets=lambda: secrets,
            downloads=lambda: downloads,
            preparer=lambda: preparer,
            importer=lambda: importer,
        )
        return LoopServices(
            host=host,
            news=news,
            store=self._store,
            journal=self.journal,
            meter=meter,
            clock=self.clock,
            chance=self.chance,
            history=FolderHistory(os.path.join(self._settings.state, FOLDER)),
            connect=connect,
            signs=read_signs if is_local(uri) else HostSigns,
            boot=find_boot() if is_local(uri) else "",
        )

    def open_source(self, settings: Settings) -> ManifestSource:
        """Return where these settings say that the manifests come from."""
        parse = partial(load_files, allows_plain=lambda: settings.allow_plain_passwords)
        return ParsedFiles(self._open_files(settings), parse)

    def make_watcher(self) -> Watcher:
        """Return what announces changes of files."""
        return FileWatcher()

    def show_metrics(
        self, settings: MetricsSettings, render: Callable[[], str]
    ) -> Callable[[], None]:
        """Return what shows the metrics; to be called now and then. Raises TransientError then."""
        return Exposition(settings, render).show

    def _open_files(self, settings: Settings) -> FileSource:
        if settings.git is not None:
            folder = _find_repository(settings.state)
            credentials = self._environ.get("CREDENTIALS_DIRECTORY")
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
