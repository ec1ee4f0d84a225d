"""The composition root: which adapter stands behind which port, and nothing else.

On the start-up path, so every adapter is imported by the method that needs it.
"""

from __future__ import annotations

import os
import time
from typing import (
    TYPE_CHECKING,
    Callable,
    Mapping,
    Optional,
    Sequence,
    TextIO,
    Tuple,
    Union,
)

import reconciler.kinds  # noqa: F401 - fills the table

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.cli.parts import Loaded, Versions
    from reconciler.control.change_recorder import ChangeRecorder
    from reconciler.control.ports import Host, Reporter, Units
    from reconciler.control.service_ports import DaemonMemory, History
    from reconciler.core.history import ChangeRecord
    from reconciler.core.host_snapshot import HostSnapshot
    from reconciler.core.manifest import Desired
    from reconciler.core.manifest_files import ManifestFile
    from reconciler.core.plan import Action, Outcome, Plan, PlanOptions
    from reconciler.core.settings import Settings
    from reconciler.core.world import Reading, Unknown, World
    from reconciler.errors import Problem
    from reconciler.kinds.machine.elsewhere import Background
    from reconciler.kinds.machine.observe import ObservedHost
    from reconciler.kinds.machine.rollback import RollbackPlan


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class Product:
    """The real parts."""

    clock = SystemClock()

    def __init__(self) -> None:
        """Run no verb yet."""
        self._verb = ""

    def begin(self, verb: str) -> None:
        """Remember the verb for who waits for it."""
        self._verb = verb

    def now(self) -> float:
        """Ask the machine."""
        return time.time()

    def load(self, paths: Sequence[str]) -> Loaded:
        """Read manifest files."""
        from reconciler.adapters.manifests.loading import load_manifests  # noqa: PLC0415

        return load_manifests(paths)

    def read_files(self, paths: Sequence[str]) -> Tuple[Sequence[ManifestFile], Sequence[Problem]]:
        """Read from the file system."""
        from reconciler.adapters.manifests.files import read_manifest_files  # noqa: PLC0415

        return read_manifest_files(paths)

    def load_files(self, files: Sequence[ManifestFile]) -> Loaded:
        """Hold them against schema and meaning."""
        from reconciler.adapters.manifests.loading import load_files  # noqa: PLC0415

        return load_files(files)

    def find_versions(self, path: str) -> Versions:
        """Ask git."""
        from reconciler.adapters.git.work_tree import GitVersions  # noqa: PLC0415

        return GitVersions(path)

    def compare(
        self, host: Optional[Host], base: Desired, head: Desired, options: PlanOptions
    ) -> Plan:
        """Compare, and plan."""
        from reconciler.control.comparison import compare_on, compare_without_host  # noqa: PLC0415

        if host is None:
            return compare_without_host(base, head, options)
        from reconciler.kinds.machine.observe import observe  # noqa: PLC0415

        return compare_on(host, base, head, lambda chosen: observe(host, chosen).plan(options))

    def read_schema(self, kind: str) -> str:
        """Read a schema that is part of the installation."""
        from reconciler.adapters.manifests.schema_errors import read_schema  # noqa: PLC0415

        return read_schema(kind)

    def read_settings(self, path: str) -> Settings:
        """Read a configuration file."""
        from reconciler.adapters.manifests.configuration import read_settings  # noqa: PLC0415

        return read_settings(path)

    def salvage_settings(self, path: str) -> Settings:
        """Read what can be read of a configuration file."""
        from reconciler.adapters.manifests.configuration import salvage_settings  # noqa: PLC0415

        return salvage_settings(path)

    def serve(
        self,
        settings: Settings,
        reread: Callable[[], Settings],
        errors: TextIO,
        environ: Mapping[str, str],
    ) -> int:
        """Run the daemon with the real parts."""
        from reconciler.cli.serving import Process, serve  # noqa: PLC0415

        return serve(settings, reread, Process(errors, environ))

    def reach_memory(self, state: str) -> DaemonMemory:
        """Look into the state folder."""
        from reconciler.adapters.state.folder import FolderStore  # noqa: PLC0415

        return FolderStore(state)

    def reach_history(self, folder: str) -> History:
        """Look into a folder of changes."""
        from reconciler.adapters.state.history import FolderHistory  # noqa: PLC0415

        return FolderHistory(folder)

    def record(self, host: Host, told: Reporter, chronicle: ChangeRecorder) -> Reporter:
        """Write down what is done."""
        return chronicle.on(host, told)

    def plan_way_back(
        self,
        host: Host,
        past: ChangeRecord,
        entries: Sequence[ChangeRecord],
        now: Optional[datetime],
    ) -> RollbackPlan:
        """Observe, and plan the way back."""
        from reconciler.kinds.machine.rollback import plan_way_back  # noqa: PLC0415

        return plan_way_back(host, past, entries, now)

    def find_kept_otherwise(self, host: Host, way: RollbackPlan) -> str:
        """Read the definition back."""
        from reconciler.kinds.machine.rollback import find_kept_otherwise  # noqa: PLC0415

        return find_kept_otherwise(host, way)

    def plan_deletions(self, host: Host, names: Sequence[str]) -> Plan:
        """Observe, and plan the end of objects."""
        from reconciler.control.pruning import plan_deletions  # noqa: PLC0415
        from reconciler.core.key import parse_key  # noqa: PLC0415
        from reconciler.core.kinds import list_kinds  # noqa: PLC0415

        return plan_deletions(host, [parse_key(name, (), list_kinds()) for name in names])

    def read_text(self, path: str) -> str:
        """Read from the file system."""
        from reconciler.adapters.text_files import read_text  # noqa: PLC0415

        return read_text(path)

    def write_text(self, path: str, text: str) -> None:
        """Write to the file system."""
        from reconciler.adapters.text_files import write_text  # noqa: PLC0415

        write_text(path, text)

    def write_folder(
        self, folder: str, texts: Mapping[str, str], *, replace: bool
    ) -> Sequence[str]:
        """Write files into a folder."""
        from reconciler.adapters.text_files import write_folder  # noqa: PLC0415

        return write_folder(folder, texts, replace=replace)

    def read_revision(self, paths: Sequence[str]) -> Optional[str]:
        """Ask git."""
        from reconciler.adapters.git.work_tree import read_revision  # noqa: PLC0415

        return read_revision(paths)

    def take_snapshot(self, host: Host, revision: Optional[str]) -> HostSnapshot:
        """Read the host."""
        from reconciler import __version__  # noqa: PLC0415
        from reconciler.core.times import show_time  # noqa: PLC0415
        from reconciler.kinds.machine.survey import take_snapshot  # noqa: PLC0415

        return take_snapshot(host, show_time(self.now()) or "", __version__, revision)

    def reach_snapshot(self, snapshot: HostSnapshot) -> Host:
        """Answer out of the snapshot."""
        from reconciler.adapters.recorded import RecordedHost  # noqa: PLC0415

        return RecordedHost(snapshot)

    def connect(self, uri: Optional[str]) -> Host:
        """Connect through libvirt's own client library."""
        from reconciler.adapters.libvirt.host import connect  # noqa: PLC0415
        from reconciler.adapters.state.object_locks import FolderLocks, find_folder  # noqa: PLC0415

        locks = FolderLocks(find_folder(os.environ), self._verb)
        return connect(uri, self.units(uri), locks)

    def chooses_session(self) -> bool:
        """Ask what libvirt's client would do, and look for the host's sockets."""
        from reconciler.adapters.units import chooses_session  # noqa: PLC0415

        return chooses_session(os.environ)

    def units(self, uri: Optional[str]) -> Units:
        """Ask systemd."""
        from reconciler.adapters.units import SystemdUnits  # noqa: PLC0415

        return SystemdUnits(uri, os.environ)

    def read_domains(self, host: Host) -> Mapping[str, Union[Reading, Unknown]]:
        """Read every domain; one that cannot be understood is Unknown."""
        from reconciler.kinds.machine.survey import add_jobs, add_snapshots, survey  # noqa: PLC0415

        return add_snapshots(host, add_jobs(host, survey(host)))

    def read_sizes(self, host: Host, reading: Reading) -> Mapping[str, int]:
        """Read the sizes of a domain's disks."""
        from reconciler.kinds.machine.survey import read_sizes  # noqa: PLC0415

        return read_sizes(host, reading)

    def look_around(self, host: Host, readings: Sequence[Reading]) -> World:
        """Ask for machine types, networks and pools."""
        from reconciler.kinds.machine.survey import look_around  # noqa: PLC0415

        return look_around(host, readings)

    def observe(self, host: Host, desired: Desired, background: Background) -> ObservedHost:
        """Read the host."""
        from reconciler.kinds.machine.observe import observe  # noqa: PLC0415

        return observe(host, desired, background=background)

    def plan(self, observation: ObservedHost, options: PlanOptions) -> Plan:
        """Plan, and read what the plan asks."""
        return observation.plan(options)

    def execute(
        self,
        host: Host,
        desired: Desired,
        todo: Plan,
        report_on: Callable[[Action], Reporter],
        *,
        lanes: int,
    ) -> Tuple[Outcome, ...]:
        """Carry out the plan's steps."""
        from reconciler.control.executor import execute_in_lanes  # noqa: PLC0415

        return execute_in_lanes(host, desired, todo, report_on, self.clock, lanes)
