"""The ports that the verbs work through, each with the adapter that stands behind it.

Nothing here decides anything: a verb calls pure functions, and those of `control`, by itself. On
the start-up path, so every adapter is imported by the method that needs it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Callable, Mapping, Optional, Protocol, Sequence, Tuple

import reconciler.kinds  # noqa: F401 - fills the table

if TYPE_CHECKING:
    import argparse

    from reconciler.adapters.libvirt.guest_programs import GuestPrograms
    from reconciler.adapters.state.measurements import FolderMeasurements
    from reconciler.cli.console import Console
    from reconciler.cli.daemon_services import DaemonServices
    from reconciler.control.ports import Clock, Host, Secrets, Units
    from reconciler.control.service_ports import DaemonMemory, History
    from reconciler.core.access import ConsoleFiles
    from reconciler.core.imports import Importer
    from reconciler.core.manifest_files import FileSet, LoadedManifests, ManifestFile
    from reconciler.core.preparation import Preparer
    from reconciler.core.settings import Settings
    from reconciler.core.transfers import Downloads
    from reconciler.errors import Problem


class Versions(Protocol):
    """The manifests of a folder as the revisions of its Git repository have them."""

    @property
    def is_bare(self) -> bool:
        """Whether the repository has no work tree."""

    def resolve(self, revision: str) -> str:
        """Return the commit. Raises UsageError if there is none."""

    def read(self, revision: str, commit: str) -> Optional[FileSet]:
        """Return the manifests of a commit; None if it has none."""

    def count_missing(self, commit: str, head: str) -> int:
        """Return how many commits of `commit` are not in `head`, as far as it is known."""


class Services:
    """The world outside of one command, which is run for one verb with one environment."""

    def __init__(
        self,
        verb: str,
        environ: Mapping[str, str],
        config: Optional[str] = None,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Reach nothing yet. Others who wait for this command are told its verb.

        `config` is the configuration that the user names; `note` tells what takes long.
        """
        self._note = note
        self._verb = verb
        self._environ = environ
        self._config = config

    @classmethod
    def from_options(cls, options: argparse.Namespace, console: Console) -> Services:
        """Return the services of a command line."""
        return cls(str(options.verb), console.environ, options.config, console.note)

    @cached_property
    def clock(self) -> Clock:
        """Time."""
        from reconciler.adapters.clock import SystemClock  # noqa: PLC0415

        return SystemClock()

    def load_manifests(
        self, paths: Sequence[str], on_sound: Optional[Callable[[], object]] = None
    ) -> LoadedManifests:
        """Read manifests, with every problem in them; `on_sound`: as soon as one is right."""
        from reconciler.adapters.manifests.reader import load_manifests  # noqa: PLC0415

        return load_manifests(paths, self.allows_plain, on_sound)

    def load_files(self, files: Sequence[ManifestFile]) -> LoadedManifests:
        """Understand manifests that were read already."""
        from reconciler.adapters.manifests.reader import load_files  # noqa: PLC0415

        return load_files(files, self.allows_plain)

    def allows_plain(self) -> bool:
        """Whether this host's configuration allows passwords in manifests.

        One that is missing, wrong or not readable by this user allows none.
        """
        return self._read_own_settings().allow_plain_passwords

    def read_files(self, paths: Sequence[str]) -> Tuple[Sequence[ManifestFile], Sequence[Problem]]:
        """Read the bytes of manifest files."""
        from reconciler.adapters.manifests.files import read_manifest_files  # noqa: PLC0415

        return read_manifest_files(paths)

    def find_versions(self, path: str) -> Versions:
        """Find the Git repository that a folder lies in. Raises UsageError if there is none."""
        from reconciler.adapters.git.work_tree import GitVersions  # noqa: PLC0415

        return GitVersions(path)

    def read_revision(self, paths: Sequence[str]) -> Optional[str]:
        """Return the Git commit that the manifests are at, None outside of Git."""
        from reconciler.adapters.git import read_revision  # noqa: PLC0415

        return read_revision(paths)

    def read_settings(self, path: str) -> Settings:
        """Read the daemon's configuration. Raises UsageError if the file is not there."""
        from reconciler.adapters.manifests.reader import read_settings  # noqa: PLC0415

        return read_settings(path)

    def salvage_settings(self, path: str) -> Settings:
        """Return where the daemon's memory is, as far as a wrong configuration tells."""
        from reconciler.adapters.manifests.reader import salvage_settings  # noqa: PLC0415

        return salvage_settings(path)

    def reach_memory(self, state: str) -> DaemonMemory:
        """Reach the daemon's memory in that folder, which need not be there."""
        from reconciler.adapters.state.folder import FolderStore  # noqa: PLC0415

        return FolderStore(state)

    def reach_history(self, folder: str) -> History:
        """Reach the history in that folder, which need not be there."""
        from reconciler.adapters.state.history import FolderHistory  # noqa: PLC0415

        return FolderHistory(folder)

    def reach_measurements(self, state: str) -> FolderMeasurements:
        """Reach the measurements kept in that state folder, which need not be there."""
        from reconciler.adapters.state.measurements import FolderMeasurements  # noqa: PLC0415

        return FolderMeasurements(state)

    def reach_guest(self, uri: Optional[str], name: str) -> GuestPrograms:
        """Reach the programs of a running guest."""
        from reconciler.adapters.libvirt.guest_programs import reach_guest  # noqa: PLC0415

        return reach_guest(uri, name)

    def connect(self, uri: Optional[str]) -> Host:
        """Reach libvirt; None is libvirt's own choice."""
        from reconciler.adapters.libvirt.host import connect  # noqa: PLC0415
        from reconciler.adapters.state.object_locks import FolderLocks, find_folder  # noqa: PLC0415

        locks = FolderLocks(find_folder(self._environ), self._verb)
        return connect(
            uri,
            lambda: self.units(uri),
            locks,
            self.find_secrets,
            self.find_downloads,
            lambda: self.preparer,
            self.find_importer,
        )

    @cached_property
    def preparer(self) -> Preparer:
        """What prepares clones on this host; one for all, as it remembers what it has read."""
        from reconciler.adapters.guestfs import VirtSysprep  # noqa: PLC0415
        from reconciler.adapters.state.known_images import KnownImages  # noqa: PLC0415

        known = KnownImages(self._read_own_settings().state)
        return VirtSysprep(self._environ, known, self._note)

    def find_importer(self) -> Importer:
        """Return what copies disks of other hypervisors' on this host."""
        from reconciler.adapters.foreign.importer import LocalImporter  # noqa: PLC0415

        return LocalImporter(self._environ)

    def find_downloads(self) -> Downloads:
        """Return what brings files from addresses."""
        from reconciler.adapters.downloads import UrlDownloads  # noqa: PLC0415
        from reconciler.adapters.signatures import verify_signature  # noqa: PLC0415

        return UrlDownloads(verify_signature)

    def find_secrets(self) -> Secrets:
        """Return what reads the secrets of this host that are not libvirt's."""
        from reconciler.adapters.secrets import LocalSecrets  # noqa: PLC0415

        return LocalSecrets(self._environ.get("CREDENTIALS_DIRECTORY"), self._find_key)

    def _find_key(self) -> Optional[bytes]:
        """Return the host's key for digests, from the daemon's state folder."""
        from reconciler.adapters.state.files import find_key  # noqa: PLC0415

        return find_key(self._read_own_settings().state)

    def _read_own_settings(self) -> Settings:
        """Return the settings of this host; the defaults if the usual file cannot be read."""
        from reconciler.cli.arguments import CONFIG_FILE  # noqa: PLC0415
        from reconciler.core.settings import Settings  # noqa: PLC0415
        from reconciler.errors import ReconcilerError  # noqa: PLC0415

        try:
            return self.read_settings(self._config or CONFIG_FILE)
        except ReconcilerError:
            if self._config is not None:
                raise
            return Settings()

    def connect_console(self, uri: str, name: str, files: ConsoleFiles, *, force: bool) -> bool:
        """Connect a terminal with a guest's serial console; return whether it was closed.

        Else the person has ended it. Raises BusyError if someone else has it open, unless `force`
        disconnects them.
        """
        from reconciler.adapters.libvirt.serial_console import connect  # noqa: PLC0415

        return connect(uri, name, files, force=force)

    def become(self, words: Sequence[str], packages: str) -> int:
        """Become another program, which gets the terminal; returns only in tests.

        Raises MissingError, which names its packages, if it is not installed.
        """
        import os  # noqa: PLC0415
        import shutil  # noqa: PLC0415
        import signal  # noqa: PLC0415

        from reconciler.errors import MissingError  # noqa: PLC0415

        program = shutil.which(words[0], path=self._environ.get("PATH"))
        if program is None:
            raise MissingError(f"{words[0]} is not installed: {packages}")
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that is inherited
        os.execve(program, list(words), dict(self._environ))  # noqa: S606

    def units(self, uri: Optional[str]) -> Units:
        """See libvirt's daemons on this host, as a client of that URI."""
        from reconciler.adapters.units import SystemdUnits  # noqa: PLC0415

        return SystemdUnits(uri, self._environ)

    def serve(self, settings: Settings, console: Console) -> DaemonServices:
        """Return the services of a daemon with these settings."""
        from reconciler.cli.daemon_services import DaemonServices  # noqa: PLC0415

        return DaemonServices(settings, console.err, self._environ)

    def chooses_session(self) -> bool:
        """Whether libvirt, unasked, takes this user's own host where there is one for all."""
        from reconciler.adapters.units import chooses_session  # noqa: PLC0415

        return chooses_session(self._environ)
