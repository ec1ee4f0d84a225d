"""What the control room needs from the outside, as Protocols."""

from __future__ import annotations

from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Callable,
    FrozenSet,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Union,
)

from reconciler.core.images import ImageView, SnapshotView
from reconciler.core.key import Key
from reconciler.core.names import Worker
from reconciler.core.plan import Action, CreateSeed, CreateVolume, Outcome
from reconciler.core.secret_refs import SealedSecret, SecretRef, SecretText
from reconciler.core.transfers import CopyDisks, Downloads, PartialVolume
from reconciler.core.world import DomainView, FileView, MachineCaps, PoolView, Unknown, VolumeView
from reconciler.errors import TerminalError

if TYPE_CHECKING:
    from reconciler.core.guest import Guests
    from reconciler.core.imports import Importer
    from reconciler.core.libvirt_daemons import DaemonsView, SocketAnswer, Verb
    from reconciler.core.preparation import Preparer
    from reconciler.core.virtio_win import DriverMedia


class Locks(Protocol):
    """A lock for each object, by (kind, name), of each libvirt host. Ends with its process."""

    @property
    def me(self) -> Worker:
        """This run, as of now: what it begins has begun at `since`."""

    def take(self, place: str, key: Key) -> Callable[[], None]:
        """Take the lock of an object and return how to give it back; never waits.

        `place` stands for the libvirt host. Raises BusyError while another run holds it, and
        TransientError if no lock can be taken here.
        """

    def list_held(self, place: str) -> Mapping[Key, Optional[Worker]]:
        """Return the objects that other runs work on now, and who; None: it has not said yet."""

    def is_alive(self, worker: Worker) -> Optional[bool]:
        """Whether that run goes on; None if it cannot be seen from here (another machine)."""


class NoLocks:
    """Implements `Locks` where nobody else can be at work: on what is only read."""

    me = Worker(machine="", host="", process=0, started=0, verb="")

    def take(self, place: str, key: Key) -> Callable[[], None]:  # noqa: ARG002 - the port's shape
        """Take nothing."""
        return lambda: None

    def list_held(self, place: str) -> Mapping[Key, Optional[Worker]]:  # noqa: ARG002
        """Nobody holds anything."""
        return {}

    def is_alive(self, worker: Worker) -> Optional[bool]:
        """Only this run is known."""
        return worker.identity == self.me.identity


Progress = Callable[[str, int, int], None]
"""Told (what, bytes done, bytes in all; below 0: unknown) a few times a second in long work."""


class Domains(Protocol):
    """The hypervisor driver: domains and what it can do."""

    @property
    def uri(self) -> str:
        """The connection's URI, as libvirt reports it."""

    @property
    def host(self) -> str:
        """The host's name."""

    def list_domains(self) -> Mapping[str, Union[DomainView, Unknown]]:
        """Read every domain of the host, without disk sizes."""

    def read_domain(self, name: str) -> DomainView:
        """Read one domain anew. Raises NotFoundError only when libvirt says it is not there."""

    def read_disk_sizes(
        self, disks: Mapping[str, Tuple[str, ...]]
    ) -> Mapping[str, Mapping[str, int]]:
        """Return domain → disk → size, for the paths or targets asked for, where known."""

    def find_job(self, name: str) -> str:
        """Return the job under way, like `block copy of disk vda`; empty if there is none."""

    def count_written(self, name: str, targets: Sequence[str]) -> Optional[int]:
        """Return the bytes that a guest has written to disks since its start; None if not known."""

    def read_off_reason(self, name: str) -> str:
        """Return virsh's word for why it is off, else empty; `unknown` once it is forgotten."""

    def list_machines(self) -> Tuple[str, ...]:
        """Return the machine types on offer, those without a version first."""

    def read_memory(self) -> Optional[int]:
        """Return the bytes of memory that the host has, swap included; None if not known."""

    def read_caps(self, machine: str) -> MachineCaps:
        """Ask what the host offers for a machine type (`""`: its default)."""

    def define(self, xml: str, *, validate: bool = True) -> None:
        """Store a definition; `validate` holds it against libvirt's schema first."""

    def undefine_new(self, name: str) -> None:
        """Take back a definition that this very action created; NVRAM and TPM state stay."""

    def undefine(self, name: str) -> None:
        """Remove a definition, with NVRAM, TPM and saved state. Raises RefusedError if it runs."""

    def list_snapshots(self, name: str) -> Tuple[str, ...]:
        """Return what would be lost unseen, or forbids undefining: `snapshot X`, `checkpoint Y`."""

    def read_snapshots(self, name: str) -> Tuple[SnapshotView, ...]:
        """Return the domain's snapshots, the oldest first."""

    def attach(self, name: str, xml: str) -> None:
        """Plug a device into the running guest."""

    def update(self, name: str, xml: str) -> None:
        """Change a device of the running guest."""

    def detach(self, name: str, xml: str) -> None:
        """Ask the running guest to let a device go; returns before it did."""

    def copy_disks(self, step: CopyDisks, progress: Progress) -> None:
        """Copy disks of a running domain, which is afterwards as it was, whatever happens."""

    def set_vcpus(self, name: str, count: int) -> None:
        """Set the running guest's online processors."""

    def set_memory(self, name: str, kib: int) -> None:
        """Set the running guest's balloon target."""

    def set_autostart(self, name: str, enabled: bool) -> None:  # noqa: FBT001 - libvirt's own shape
        """Start the domain with the host, or not."""

    def set_metadata(self, name: str, xml: str, live: bool) -> None:  # noqa: FBT001
        """Write our metadata element, persistent and, where asked, live."""

    def resize_block(self, name: str, target: str, capacity: int) -> None:
        """Grow a disk under the running guest."""

    def start(self, name: str) -> None:
        """Start a domain that is off."""

    def resume(self, name: str) -> None:
        """Let a paused guest go on; one that runs already is no error."""

    def wake(self, name: str) -> None:
        """Wake a guest that suspended itself to memory."""

    def shut_down(self, name: str) -> None:
        """Ask the guest to shut down, through its agent, else by ACPI; returns at once."""

    def power_off(self, name: str) -> None:
        """Cut the power. Only ever where the manifest allows it."""


class Storage(Protocol):
    """The storage driver."""

    def read_pool(self, name: str) -> PoolView:
        """Read a pool and its volumes."""

    def can_reflink(self, pool: PoolView, image: str) -> bool:
        """Try whether the image at that path can be cloned into the pool by block sharing.

        Nothing visible is created; False also where it cannot be tried (a remote host).
        """

    def list_pools(self) -> Tuple[str, ...]:
        """Names of the active pools."""

    def list_inactive_pools(self) -> Tuple[str, ...]:
        """Names of the pools that are defined and not active."""

    def read_free(self, path: str) -> Optional[int]:
        """Return the bytes that an image may still grow by, read anew; None if not known."""

    def read_images(self, images: Mapping[str, str]) -> Mapping[str, ImageView]:
        """Read images by path (→ format, empty if not known), and all that is below them.

        Raises nothing; what could not be read says so.
        """

    def read_files(self, paths: Sequence[str]) -> Mapping[str, FileView]:
        """Return what lies at these paths of the host; what cannot be seen from here lacks."""

    def find_driver_media(self, place: str) -> DriverMedia:
        """Return the virtio-win media at a path or POOL/VOLUME; in the usual places if empty."""

    def create_volume(self, step: CreateVolume, progress: Progress) -> VolumeView:
        """Make a volume, blank or as a clone. Raises RefusedError if the name is taken."""

    def create_seed(self, step: CreateSeed) -> None:
        """Make the volume with the files, for QEMU alone. Raises RefusedError if it is taken."""

    def open_part(self, pool: str, name: str) -> PartialVolume:
        """Return a volume that is not whole yet, or not there.

        Raises TerminalError where a pool cannot have one, MissingError where this user cannot.
        """

    def resize_volume(self, path: str, capacity: int) -> None:
        """Grow the volume at `path`; never shrinks."""

    def delete_partial(self, pool: str, name: str) -> None:
        """Delete a volume that this product began to create and did not finish."""

    def delete_volume(self, pool: str, name: str, path: str) -> None:
        """Delete a volume that was made for a machine; that it is gone already is no error.

        Raises RefusedError if the volume of that name lies at another path.
        """


class Networks(Protocol):
    """The network driver."""

    def list_networks(self) -> Mapping[str, bool]:
        """Names of all networks, and whether each is active."""

    def list_devices(self) -> Optional[FrozenSet[str]]:
        """Names of the host's network devices, the bridges among them; None if not known."""


class Reporter(Protocol):
    """Whom the executor tells how far it is."""

    def started(self, action: Action) -> None:
        """Say that work on an object begins."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how many bytes of a long copy are done."""

    def finished(self, outcome: Outcome) -> None:
        """Say how an object's action ended."""


class Clock(Protocol):
    """Time, so that waiting can be tested without waiting."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def local(self) -> datetime:
        """Return the host's local time, without its zone: maintenance windows are in it."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Host(Protocol):
    """One libvirt host: its drivers, each on a connection of its own."""

    @property
    def domains(self) -> Domains:
        """The hypervisor driver."""

    @property
    def storage(self) -> Storage:
        """The storage driver."""

    @property
    def networks(self) -> Networks:
        """The network driver."""

    @property
    def guests(self) -> Guests:
        """The running guests, by their agents."""

    @property
    def downloads(self) -> Downloads:
        """What brings files from addresses."""

    @property
    def preparer(self) -> Preparer:
        """What changes images that no guest has."""

    @property
    def importer(self) -> Importer:
        """What copies disks of other hypervisors'."""

    @property
    def units(self) -> Units:
        """The daemons of libvirt, as the host's service manager has them."""

    @property
    def locks(self) -> Locks:
        """Who else works on this host's objects."""

    @property
    def secrets(self) -> Secrets:
        """The secrets that manifests name."""


class Listener(Protocol):
    """Whom the news are told. Its methods return at once: they run in libvirt's event thread."""

    def domain_changed(self, name: str) -> None:
        """Take note that something happened to that domain."""

    def domain_left(self, name: str) -> None:
        """Take note that the domain was migrated to another host; nothing else tells it later."""

    def guest_changed(self, name: str) -> None:
        """Take note that a domain's guest starts or ends, or its agent comes or goes."""

    def surroundings_changed(self, kind: str, name: str) -> None:
        """Take note that something happened to a `network` or a `pool`."""

    def reached(self, driver: str) -> None:
        """Take note that a driver (`qemu`, `storage`, `network`) is there; the past is unknown."""

    def lost(self, driver: str, reason: str) -> None:
        """Take note that a driver is not there; told once for each reason."""


class News(Protocol):
    """Where news come from. Keeps the connections up, each driver's by itself."""

    def start(self, listener: Listener) -> None:
        """Tell the listener from now on, until `stop`."""

    def is_alive(self) -> bool:
        """Whether all that brings news is still there; without it nothing is heard ever again."""

    def stop(self) -> None:
        """Tell nothing more."""


class Units(Protocol):
    """libvirt's daemons as systemd has them."""

    def observe(self) -> Union[DaemonsView, Unknown]:
        """Read the state of every daemon's units, and start none; Unknown on another host."""

    def ask(self, path: str) -> SocketAnswer:
        """Connect to a socket as a client would, and see who accepts. May start a daemon."""

    def change(self, verb: Verb, units: Tuple[str, ...]) -> None:
        """Do one thing to units, and wait until it is done. Raises TerminalError."""


class NoUnits:
    """Implements `Units` where nobody has said how to see them: everything is unknown."""

    reason = "the units of that host cannot be read from here"

    def observe(self) -> Union[DaemonsView, Unknown]:
        """Know nothing."""
        return Unknown(self.reason)

    def ask(self, path: str) -> SocketAnswer:
        """Know nothing."""
        from reconciler.core.libvirt_daemons import SocketAnswer  # noqa: PLC0415 - start-up time

        return SocketAnswer(problem=f"{path}: {self.reason}")

    def change(self, verb: Verb, units: Tuple[str, ...]) -> None:
        """Refuse."""
        raise TerminalError(f"cannot {verb.value} {', '.join(units)}: {self.reason}")


class Secrets(Protocol):
    """The secrets that manifests name, as this process can read them on the host."""

    def read(self, ref: SecretRef) -> SecretText:
        """Read a secret, each time anew; one newline at its end is left out.

        Raises TransientError, which names the reference and a command that helps: whatever is wrong
        with it can be repaired without the manifest.
        """

    def seal(self, ref: SecretRef) -> SealedSecret:
        """Read a secret, and return what recognises it. Raises as `read` does."""

    def find_key(self) -> Optional[bytes]:
        """Return the host's key for digests; None if this user has none and cannot make one."""
