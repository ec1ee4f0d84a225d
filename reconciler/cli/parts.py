"""What the verbs are made of, as a Protocol; `composition` has the real ones."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Callable,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    TextIO,
    Tuple,
    Union,
)

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.control.change_recorder import ChangeRecorder
    from reconciler.control.ports import Clock, Host, Reporter, Units
    from reconciler.control.service_ports import DaemonMemory, History
    from reconciler.core.history import ChangeRecord
    from reconciler.core.host_snapshot import HostSnapshot
    from reconciler.core.manifest import Desired
    from reconciler.core.manifest_files import FileSet, ManifestFile
    from reconciler.core.plan import Action, Outcome, Plan, PlanOptions
    from reconciler.core.settings import Settings
    from reconciler.core.world import Reading, Unknown, World
    from reconciler.errors import Problem
    from reconciler.kinds.machine.elsewhere import Background
    from reconciler.kinds.machine.observe import ObservedHost
    from reconciler.kinds.machine.rollback import RollbackPlan


class Loaded(Protocol):
    """Manifests that were read: what is right in them, and everything that is wrong."""

    @property
    def desired(self) -> Desired:
        """The valid objects."""

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """Every problem, of all files."""


class Versions(Protocol):
    """The manifests of a folder as the revisions of its Git repository have them."""

    is_bare: bool

    def resolve(self, revision: str) -> str:
        """Return the commit. Raises UsageError if there is none."""

    def read(self, revision: str, commit: str) -> Optional[FileSet]:
        """Return the manifests of a commit; None if it has none."""

    def count_missing(self, commit: str, head: str) -> int:
        """Return how many commits of `commit` are not in `head`, as far as it is known."""


class Parts(Protocol):
    """What the verbs are made of."""

    @property
    def clock(self) -> Clock:
        """Time."""

    def begin(self, verb: str) -> None:
        """Take note of the verb that is run: others who wait for it are told."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def load(self, paths: Sequence[str]) -> Loaded:
        """Read manifests, with every problem in them."""

    def read_files(self, paths: Sequence[str]) -> Tuple[Sequence[ManifestFile], Sequence[Problem]]:
        """Read the bytes of manifest files."""

    def load_files(self, files: Sequence[ManifestFile]) -> Loaded:
        """Understand files that were read."""

    def find_versions(self, path: str) -> Versions:
        """Find the Git repository that a folder lies in. Raises UsageError if there is none."""

    def compare(
        self, host: Optional[Host], base: Desired, head: Desired, options: PlanOptions
    ) -> Plan:
        """Plan what `head` changes against `base`, on a host or on none."""

    def read_schema(self, kind: str) -> str:
        """Return the JSON Schema of a kind as text. Raises UsageError for an unknown one."""

    def read_settings(self, path: str) -> Settings:
        """Read the daemon's configuration. Raises UsageError if the file is not there."""

    def salvage_settings(self, path: str) -> Settings:
        """Return where the daemon's memory is, as far as a wrong configuration tells."""

    def serve(
        self,
        settings: Settings,
        reread: Callable[[], Settings],
        errors: TextIO,
        environ: Mapping[str, str],
    ) -> int:
        """Run the daemon until it is told to stop; return its exit status."""

    def reach_memory(self, state: str) -> DaemonMemory:
        """Reach the daemon's memory in that folder, which need not be there."""

    def reach_history(self, folder: str) -> History:
        """Reach the history in that folder, which need not be there."""

    def record(self, host: Host, told: Reporter, chronicle: ChangeRecorder) -> Reporter:
        """Return a reporter that writes each change down, and tells the other."""

    def plan_way_back(
        self,
        host: Host,
        past: ChangeRecord,
        entries: Sequence[ChangeRecord],
        now: Optional[datetime],
    ) -> RollbackPlan:
        """Observe a machine and plan what leads back to before that change."""

    def find_kept_otherwise(self, host: Host, way: RollbackPlan) -> str:
        """Return how the stored definition is not what was to be stored, or nothing."""

    def plan_deletions(self, host: Host, names: Sequence[str]) -> Plan:
        """Plan the end of machines, as the daemon would."""

    def read_text(self, path: str) -> str:
        """Read a file. Raises UsageError if there is none."""

    def write_text(self, path: str, text: str) -> None:
        """Write a file as a whole. Raises TerminalError if that fails."""

    def write_folder(
        self, folder: str, texts: Mapping[str, str], *, replace: bool
    ) -> Sequence[str]:
        """Write files into a folder, which is made; return their paths.

        Raises UsageError, before any is written, if one is there and is not to be replaced.
        """

    def read_revision(self, paths: Sequence[str]) -> Optional[str]:
        """Return the Git commit that the manifests are at, None outside of Git."""

    def take_snapshot(self, host: Host, revision: Optional[str]) -> HostSnapshot:
        """Read all of the host that any plan may ask for."""

    def reach_snapshot(self, snapshot: HostSnapshot) -> Host:
        """Return a host that answers as it did when the snapshot was taken."""

    def connect(self, uri: Optional[str]) -> Host:
        """Reach libvirt; None is libvirt's own choice."""

    def chooses_session(self) -> bool:
        """Whether libvirt, unasked, takes this user's own host where there is one for all."""

    def units(self, uri: Optional[str]) -> Units:
        """See libvirt's daemons on this host, as a client of that URI."""

    def read_domains(self, host: Host) -> Mapping[str, Union[Reading, Unknown]]:
        """Read and understand every domain of the host."""

    def read_sizes(self, host: Host, reading: Reading) -> Mapping[str, int]:
        """Return `size_key` → virtual size of a domain's disks, as far as known."""

    def look_around(self, host: Host, readings: Sequence[Reading]) -> World:
        """Read what the defaults of new machines like these depend on."""

    def observe(self, host: Host, desired: Desired, background: Background) -> ObservedHost:
        """Read the domains that the manifests name."""

    def plan(self, observation: ObservedHost, options: PlanOptions) -> Plan:
        """Plan for the host, and read what the plan asks."""

    def execute(
        self,
        host: Host,
        desired: Desired,
        todo: Plan,
        report_on: Callable[[Action], Reporter],
        *,
        lanes: int,
    ) -> Tuple[Outcome, ...]:
        """Carry out the plan, `lanes` objects at a time."""
