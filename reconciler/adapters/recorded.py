"""A host that was recorded: answers what a plan asks as the host would have then.

Implements the reading half of `ports`; every other method refuses. Needs no libvirt.
"""

from __future__ import annotations

from typing import FrozenSet, Mapping, NoReturn, Optional, Sequence, Tuple, Union

from reconciler.control.ports import NoLocks
from reconciler.core.frozen import frozen
from reconciler.core.guest import NoGuests
from reconciler.core.host_snapshot import HostSnapshot
from reconciler.core.images import ImageView, SnapshotView
from reconciler.core.imports import ForeignSource, ImportTools, NoImporter, unseen
from reconciler.core.libvirt_daemons import DaemonsView, SocketAnswer
from reconciler.core.machine import refuse_machine
from reconciler.core.preparation import NoPreparer, PreparationTools
from reconciler.core.secret_refs import NoSecrets
from reconciler.core.transfers import NoDownloads
from reconciler.core.virtio_win import DriverMedia
from reconciler.core.windows_images import WindowsImage
from reconciler.core.world import DomainView, FileView, MachineCaps, PoolView, Unknown
from reconciler.errors import NotFoundError, RefusedError, TerminalError, TransientError


class _Recorded:
    """What all of a recorded host's drivers have in common."""

    def __init__(self, snapshot: HostSnapshot) -> None:
        self._snapshot = snapshot

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse whatever is no reading: there is nothing here to write to."""
        raise RefusedError(f"a snapshot of {self._snapshot.host} cannot be changed ({name})")


class RecordedDomains(_Recorded):
    """Implements `ports.Domains`."""

    @property
    def uri(self) -> str:
        """The URI that the host was reached at."""
        return self._snapshot.uri

    @property
    def host(self) -> str:
        """The host's name."""
        return self._snapshot.host

    def list_domains(self) -> Mapping[str, Union[DomainView, Unknown]]:
        """Return every domain."""
        return self._snapshot.domains

    def read_domain(self, name: str) -> DomainView:
        """Return one domain; one that could not be read then cannot be read now."""
        view = self._snapshot.domains.get(name)
        if view is None:
            raise NotFoundError(f"domain {name}: there was none")
        if isinstance(view, Unknown):
            raise TransientError(view.reason)
        return view

    def read_disk_sizes(
        self, disks: Mapping[str, Tuple[str, ...]]
    ) -> Mapping[str, Mapping[str, int]]:
        """Return the sizes that are asked for, as far as they are known."""
        sizes = self._snapshot.sizes
        return {
            name: {target: sizes[name][target] for target in wanted if target in sizes[name]}
            for name, wanted in disks.items()
            if name in sizes
        }

    def find_job(self, name: str) -> str:
        """Return the job that was under way."""
        view = self._snapshot.domains.get(name)
        return view.job if isinstance(view, DomainView) else ""

    def count_written(self, name: str, targets: Sequence[str]) -> Optional[int]:  # noqa: ARG002
        """Know nothing: it was not recorded."""
        return None

    def read_off_reason(self, name: str) -> str:
        """Return why the domain was off."""
        return self._snapshot.off_reasons.get(name, "")

    def list_machines(self) -> Tuple[str, ...]:
        """Return the machine types that were on offer."""
        return self._snapshot.machine_types

    def read_memory(self) -> Optional[int]:
        """Return the memory that the host had."""
        return self._snapshot.memory

    def read_caps(self, machine: str) -> MachineCaps:
        """Return what was on offer for a machine type."""
        caps = self._snapshot.machines.get(machine)
        if caps is None:
            raise refuse_machine(machine, self.list_machines())
        if isinstance(caps, Unknown):
            raise TerminalError(caps.reason)
        return caps

    def list_snapshots(self, name: str) -> Tuple[str, ...]:
        """Return the domain's snapshots and checkpoints."""
        return self._snapshot.obstacles.get(name, ())

    def read_snapshots(self, name: str) -> Tuple[SnapshotView, ...]:
        """Return the domain's snapshots."""
        return self._snapshot.snapshots.get(name, ())


class RecordedStorage(_Recorded):
    """Implements `ports.Storage`."""

    def list_pools(self) -> Tuple[str, ...]:
        """Return the names of the active pools."""
        return tuple(self._snapshot.pools)

    def list_inactive_pools(self) -> Tuple[str, ...]:
        """Return the names of the pools that were not active."""
        return self._snapshot.inactive_pools

    def read_pool(self, name: str) -> PoolView:
        """Return a pool."""
        pool = self._snapshot.pools[name]
        if isinstance(pool, Unknown):
            raise TerminalError(pool.reason)
        return pool

    def read_free(self, path: str) -> Optional[int]:
        """Return None: what is free was not written down."""
        del path
        return None

    def read_images(self, images: Mapping[str, str]) -> Mapping[str, ImageView]:
        """Return every image: what was not asked for then is not known now."""
        del images
        return self._snapshot.images

    def read_files(self, paths: Sequence[str]) -> Mapping[str, FileView]:
        """Return those files that a domain had; of others nobody knows whether they were there."""
        files = self._snapshot.files
        return {path: files[path] for path in paths if path in files}

    def find_driver_media(self, place: str) -> DriverMedia:
        """Say that nobody knows: a snapshot does not contain them."""
        del place
        return DriverMedia(unseen=("a recorded host does not contain its virtio-win media",))

    def can_reflink(self, pool: PoolView, image: str) -> bool:
        """Return what was found out then."""
        return (pool.name, image) in self._snapshot.shared


class RecordedNetworks(_Recorded):
    """Implements `ports.Networks`."""

    def list_networks(self) -> Mapping[str, bool]:
        """Return all networks, and whether each was active."""
        return self._snapshot.networks

    def list_devices(self) -> Optional[FrozenSet[str]]:
        """Return the names of the network devices."""
        return self._snapshot.devices


class RecordedUnits(_Recorded):
    """Implements `ports.units.Units`."""

    def observe(self) -> Union[DaemonsView, Unknown]:
        """Return the daemons as they were."""
        return self._snapshot.daemons

    def ask(self, path: str) -> SocketAnswer:
        """Nobody can be asked any more."""
        return SocketAnswer(problem=f"{path}: a snapshot holds no answer of a daemon")


class RecordedPreparer(NoPreparer):
    """Implements `Preparer`: whether the host can prepare clones, only the host itself shows."""

    def find_tools(self, folder: str) -> PreparationTools:
        """Know nothing more."""
        del folder
        return PreparationTools()

    def read_windows(self, path: str, image_format: str) -> WindowsImage:
        """Look into no image: a snapshot holds none."""
        del path, image_format
        return WindowsImage(unchecked="a snapshot holds no images")


class RecordedImporter(NoImporter):
    """Implements `Importer`: what is in a file, only the host itself shows."""

    def find_tools(self, folder: str) -> ImportTools:
        """Know nothing more."""
        del folder
        return ImportTools()

    def inspect(self, name: str) -> ForeignSource:
        """Know nothing more."""
        return unseen(name.split(":", 2)[2])


@frozen
class RecordedHost:
    """Implements `ports.Host` by a snapshot."""

    snapshot: HostSnapshot

    @property
    def domains(self) -> RecordedDomains:
        """The hypervisor driver."""
        return RecordedDomains(self.snapshot)

    @property
    def storage(self) -> RecordedStorage:
        """The storage driver."""
        return RecordedStorage(self.snapshot)

    @property
    def networks(self) -> RecordedNetworks:
        """The network driver."""
        return RecordedNetworks(self.snapshot)

    @property
    def guests(self) -> NoGuests:
        """What goes on inside a guest is not recorded."""
        return NoGuests()

    @property
    def units(self) -> RecordedUnits:
        """The daemons of libvirt."""
        return RecordedUnits(self.snapshot)

    @property
    def downloads(self) -> NoDownloads:
        """Nothing is fetched for what is over."""
        return NoDownloads()

    @property
    def preparer(self) -> RecordedPreparer:
        """What prepares clones is not recorded."""
        return RecordedPreparer("nothing is prepared for what is over")

    @property
    def importer(self) -> RecordedImporter:
        """What is to be imported is not recorded."""
        return RecordedImporter("nothing is imported for what is over")

    @property
    def locks(self) -> NoLocks:
        """Nobody works on what is over."""
        return NoLocks()

    @property
    def secrets(self) -> NoSecrets:
        """What is secret is not recorded."""
        return NoSecrets("a snapshot contains no secrets")
