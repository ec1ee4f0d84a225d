"""The plan: a value that can be printed, compared, stored, and carried out as it stands.

A `Change` is what a person reads; a `Step` is what the executor does, in order, and nothing else.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, FrozenSet, Mapping, Optional, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.key import Key
from reconciler.core.preparation import PrepareVolume
from reconciler.core.transfers import TransferStep
from reconciler.core.world import GuestState
from reconciler.errors import ReconcilerError, TransientError

if TYPE_CHECKING:
    from reconciler.core.libvirt_daemons import Verb


class Effect(Enum):
    """What a change does to a running guest; the words are a promise."""

    LIVE = "live"
    NEXT_BOOT = "next-boot"
    RESTART = "restart"
    WITHHELD = "withheld"
    OFFLINE = "offline"
    DESTRUCTIVE = "destructive"


class ActionKind(Enum):
    """What the plan does with one object."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    ADOPT = "adopt"
    NONE = "none"
    WITHHELD = "withheld"
    FAILED = "failed"


Value = Union[None, bool, int, str]


@frozen
class Change:
    """One field that differs. None on a side means absent there."""

    path: str
    observed: Value
    desired: Value
    effect: Effect
    reason: str = ""


@frozen
class CreateVolume:
    """Make a volume that does not exist yet. `capacity` is bytes.

    `clone` is none (blank), allocated (blank, and all of it at once), full, linked or reflink;
    `origin` is the path of the image cloned and `origin_format` its format. `machine` has it.
    """

    disk: str
    pool: str
    name: str
    format: str
    capacity: Optional[int]
    clone: str = "none"
    origin: Optional[str] = None
    origin_format: Optional[str] = None
    machine: str = ""
    windows: str = ""


@frozen
class DeletePartial:
    """Delete a volume that an interrupted run of ours began and never finished."""

    disk: str
    pool: str
    name: str


@frozen
class ResizeVolume:
    """Grow the image at `path` to `capacity` bytes while no guest uses it."""

    disk: str
    path: str
    capacity: int


@frozen
class BlockResize:
    """Grow the disk at `target` to `capacity` bytes under the running guest."""

    disk: str
    target: str
    capacity: int


@frozen
class Define:
    """Store `xml` as the definition for the next start. Never undefines."""

    xml: str


@frozen
class AttachDevice:
    """Plug the device into the running guest (live configuration only)."""

    path: str
    xml: str


@frozen
class UpdateDevice:
    """Change the device in the running guest (live configuration only)."""

    path: str
    xml: str


@frozen
class DetachDevice:
    """Unplug the device from the running guest, and wait until the guest let it go."""

    path: str
    xml: str


@frozen
class SetVcpus:
    """Set the number of online processors of the running guest."""

    count: int


@frozen
class SetMemory:
    """Set the balloon's target of the running guest, in KiB."""

    kib: int


@frozen
class SetAutostart:
    """Start, or do not start, the domain with the host."""

    enabled: bool


@frozen
class SetMetadata:
    """Write our ownership element, live (when `live`) and persistent."""

    xml: str
    live: bool


@frozen
class Shutdown:
    """Ask the guest to shut down and wait `timeout` seconds; power it off hard only if `force`.

    Or if it has written nothing to the disks `unwritten` since its start.
    """

    timeout: int
    force: bool
    unwritten: Tuple[str, ...] = ()


@frozen
class Start:
    """Start the domain."""


@frozen
class Resume:
    """Let a paused guest go on."""


@frozen
class Wake:
    """Wake a guest that suspended itself, and wait until it runs."""


@frozen
class DeleteVolume:
    """Delete a volume made for the machine, whose guest is off, at `path`; gone is as good."""

    disk: str
    pool: str
    name: str
    path: str


@frozen
class CreateSeed:
    """Make the volume for the first boot, for QEMU alone; secrets are filled in at last."""

    pool: str
    name: str
    path: str
    digest: str
    files: Tuple[Tuple[str, str], ...] = field(repr=False)


@frozen
class DeleteSeed:
    """Delete a volume beside the disks, which no running guest has; gone already is as good."""

    pool: str
    name: str
    path: str


@frozen
class RecordStart:
    """Write into our mark that the guest runs with its seed, or on another bus, since now."""


@frozen
class InstallDriver:
    """Run a program in the guest, wait `limit` seconds, and write into our mark how it ended.

    It installs `driver`. `X:` in an argument is the drive of the guest that has the file.
    """

    program: str
    arguments: Tuple[str, ...]
    limit: int
    driver: str = ""


@frozen
class Undefine:
    """Remove the definition of a domain that is off, with its NVRAM, TPM and saved state."""


@frozen
class ChangeUnits:
    """Do one thing to units of libvirt's daemons on this host."""

    verb: Verb
    units: Tuple[str, ...]


Step = Union[
    CreateVolume,
    PrepareVolume,
    TransferStep,
    DeletePartial,
    ResizeVolume,
    BlockResize,
    Define,
    AttachDevice,
    UpdateDevice,
    DetachDevice,
    SetVcpus,
    SetMemory,
    SetAutostart,
    SetMetadata,
    Shutdown,
    Start,
    Resume,
    Wake,
    DeleteVolume,
    CreateSeed,
    DeleteSeed,
    RecordStart,
    InstallDriver,
    Undefine,
    ChangeUnits,
]


@frozen
class Before:
    """What the executor must find; `definition` is the digest of stored XML, None: no domain."""

    definition: Optional[str]
    state: GuestState = GuestState.OFF


@frozen
class Action:
    """What happens to one object.

    `changes` are in reading order. `pending` are stored already and wait for the guest's next cold
    start (RestartRequired). `reason` says why the action is withheld or failed; `notes` are facts
    worth a line each. `transient`: what failed or is withheld may be done later, by the same
    manifest and for the same domain. `awaits_window`: the guest is restarted in the next window.
    `is_unsettled`: time alone makes another plan. `stalled` is for a person to mend.
    """

    kind: str
    name: str
    action: ActionKind
    changes: Tuple[Change, ...] = ()
    steps: Tuple[Step, ...] = ()
    before: Before = Before(None)
    pending: Tuple[str, ...] = ()
    reason: str = ""
    notes: Tuple[str, ...] = ()
    transient: bool = False
    awaits_window: bool = False
    is_unsettled: bool = False
    stalled: str = ""

    @property
    def key(self) -> Key:
        """The object's kind and name."""
        return Key(self.kind, self.name)


def failed_action(kind: str, name: str, error: ReconcilerError) -> Action:
    """Return the action of an object that cannot be planned, and whether it may be later."""
    transient = isinstance(error, TransientError)
    return Action(kind, name, ActionKind.FAILED, reason=str(error), transient=transient)


@frozen
class Outcome:
    """How an action ended. `error` is None on success; `pending` waits for the next cold start.

    `cause` is the exception behind `error`: its type says whether trying again may help. `kept` are
    the paths of what was done all the same and not put back; `definition` is a new machine's.
    """

    name: str
    action: ActionKind
    error: Optional[str] = None
    pending: Tuple[str, ...] = ()
    cause: Optional[ReconcilerError] = field(default=None, compare=False)
    kept: Tuple[str, ...] = ()


def failed_outcome(action: Action, error: ReconcilerError, kept: Tuple[str, ...] = ()) -> Outcome:
    """Return how an action ended that failed; `kept` was done all the same."""
    return Outcome(action.name, action.action, str(error), cause=error, kept=kept)


@frozen
class Plan:
    """All actions, sorted by kind and name. `revision` is the manifests' Git commit, if known.

    `base` is the version of the manifests that these are compared with, like `main (0123456789ab)`;
    then what both want alike is left out. `host` is empty where no host was looked at. `taken_at`
    is when the snapshot was taken that stood for the host, None where the host itself was asked.
    `left_out` is the number of problems of manifests that are therefore not in it.
    """

    host: str
    uri: str
    actions: Tuple[Action, ...]
    revision: Optional[str] = None
    base: Optional[str] = None
    taken_at: Optional[str] = None
    left_out: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do and nothing that is held back or failed."""
        return all(action.action is ActionKind.NONE for action in self.actions)


@frozen
class PlanOptions:
    """What the person asked for besides the manifests.

    `adopt` names domains that may be taken over, `adopt_all` all that the manifests name. `now` is
    the host's local time; `revision` the manifests' Git commit. `unattended`: no person sees the
    plan before it is carried out. `left` says of paths why they are left alone. `here` names
    machines that no other host has, `aborts` those whose staged bus change is to end; `retried` is
    when a person asked for another try, 0: never. `migrated`: the machine went to another host.
    """

    adopt: FrozenSet[str] = frozenset()
    adopt_all: bool = False
    now: Optional[datetime] = None
    revision: Optional[str] = None
    unattended: bool = False
    left: Mapping[str, str] = field(default_factory=dict)
    here: FrozenSet[str] = frozenset()
    migrated: bool = False
    aborts: FrozenSet[str] = frozenset()
    retried: float = 0

    def adopts(self, name: str) -> bool:
        """Whether that domain may be taken over."""
        return self.adopt_all or name in self.adopt
