"""What was found on the host, as values: the observed side of a plan.

What could not be read is `Unknown` with its reason: never empty, never absent. What was not read
yet is neither: a plan that depends on it asks. Nothing here talks to libvirt.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, FrozenSet, Mapping, Optional, Tuple, Union

from reconciler.core.faults import Fact, Known, Section, ask
from reconciler.core.frozen import frozen
from reconciler.core.images import Images
from reconciler.core.key import Key
from reconciler.core.machine import Disk, Machine
from reconciler.core.names import Owner
from reconciler.core.preparation import PreparationTools
from reconciler.core.secret_refs import SealedSecret, SecretRef
from reconciler.core.windows_images import WindowsImage

if TYPE_CHECKING:
    from reconciler.core.guest import FirstBoot, GuestProof
    from reconciler.core.imports import ForeignSource, ImportTools
    from reconciler.core.libvirt_daemons import DaemonsView
    from reconciler.core.virtio_win import DriverMedia


@frozen
class Unknown:
    """Something that could not be read, and why; `transient` if it may be readable later."""

    reason: str
    transient: bool = False


class GuestState(Enum):
    """What a guest does. In every state but OFF a QEMU process exists and has its images open."""

    OFF = "off"
    RUNNING = "running"
    PAUSED = "paused"
    SHUTTING_DOWN = "shutting down"
    CRASHED = "crashed"
    PMSUSPENDED = "pmsuspended"

    @property
    def is_active(self) -> bool:
        """Whether a QEMU process exists, whatever the guest in it does."""
        return self is not GuestState.OFF


@frozen
class DomainView:
    """One libvirt domain as read in this pass.

    `persistent_xml` is the definition for the next start (with VIR_DOMAIN_XML_INACTIVE and
    SECURE), `live_xml` the running one, None when the guest is off. `disk_sizes` maps a disk's
    path (or target, where it has none) to its virtual size in bytes, as far as it was read.
    `state_reason` is why the guest is in this state, in the words of `virsh domstate --reason`;
    empty for a guest that runs, or is off and is not to be started. `job` is what libvirt does to
    the guest, like `backup` or `block copy of disk vda`, as far as it was read. `disk_errors`
    maps a disk's target to the error that paused the guest, `no space` or `unspecified`.
    `saved_xml` is the configuration in which a saved guest is resumed; empty if it cannot be read,
    None if the guest is not saved.
    """

    name: str
    uuid: str
    state: GuestState
    persistent_xml: str
    live_xml: Optional[str] = None
    autostart: bool = False
    persistent: bool = True
    saved: bool = False
    saved_xml: Optional[str] = None
    disk_sizes: Mapping[str, int] = field(default_factory=dict)
    state_reason: str = ""
    job: str = ""
    disk_errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether a QEMU process exists, whatever the guest in it does."""
        return self.state.is_active


@frozen
class Reading:
    """A domain with its XML understood: machines for both configurations, and our mark.

    `live` is None when the guest is off; `owner` is None when the domain is not ours. `snapshots`
    says in words which disks are on external snapshots, where that was asked for.
    """

    view: DomainView
    persistent: Machine
    live: Optional[Machine] = None
    owner: Optional[Owner] = None
    snapshots: str = ""

    @property
    def is_running(self) -> bool:
        """Whether the guest executes: it is neither off nor paused, crashed or asleep."""
        return self.view.state is GuestState.RUNNING

    @property
    def is_active(self) -> bool:
        """Whether a QEMU process exists: its images are open, and a change can disturb it."""
        return self.view.is_active


def size_key(disk: Disk) -> str:
    """Return by what a disk's size is asked for: its path, else its target.

    The path is the same in both configurations, where a changed bus changes the target.
    """
    is_path = (disk.source or "").startswith("/")
    return (disk.source if is_path else disk.target) or ""


@frozen
class LostMachine:
    """A machine as it was last known, of which libvirt stores no definition any more.

    `at` is since when it was like that, in seconds since the epoch; `autostart` whether it started
    with the host; `missing` are places in its definition whose secrets are not known any more.
    """

    reading: Reading
    at: float
    autostart: bool = False
    missing: Tuple[str, ...] = ()


@frozen
class VolumeView:
    """One storage volume. Sizes are bytes; `backing` is the path of the image it overlays.

    `changed_at` is when its data was written last, as libvirt has it; empty where it cannot say.
    `allocation` is what it takes of its pool now.
    """

    pool: str
    name: str
    path: str
    format: str
    capacity: int
    backing: Optional[str] = None
    changed_at: str = ""
    allocation: Optional[int] = None


@frozen
class PoolView:
    """One active storage pool.

    `path` is the target folder or device folder. `available` are the bytes that are free in it,
    None where that is not known.
    """

    name: str
    type: str
    path: str
    volumes: Mapping[str, VolumeView] = field(default_factory=dict)
    available: Optional[int] = None


@frozen
class MachineCaps:
    """What this host offers for one machine type, from getDomainCapabilities.

    `machine` is the canonical type that the asked-for name resolves to.
    """

    machine: str
    domain_type: str
    arch: str
    vcpu_max: int
    disk_buses: FrozenSet[str]
    cdrom_buses: FrozenSet[str]
    firmware: FrozenSet[str]
    cpu_modes: FrozenSet[str]
    graphics: FrozenSet[str]
    video: FrozenSet[str]
    tpm: bool
    rng: bool = True
    cpu_models: FrozenSet[str] = frozenset()
    emulator: str = ""


class FileKind(Enum):
    """What lies at a path of the host."""

    FILE = "file"
    BLOCK = "block device"
    OTHER = "neither a file nor a block device"
    MISSING = "missing"


@frozen
class FileView:
    """What lies at a path of the host, as libvirt's daemon sees it. `size` is bytes.

    `qcow2_version` is 0 for what is not a qcow2; `snapshots` counts those inside of it.
    """

    kind: FileKind
    size: int = 0
    qcow2_version: int = 0
    snapshots: int = 0


@frozen
class Facilities:
    """What of the host a guest needs besides networks and pools.

    `memory` are the bytes that the host has. `devices` are the names of its network devices, the
    bridges among them. `files` maps a path to what lies there; a path that cannot be seen lacks.
    """

    memory: Optional[int] = None
    devices: Optional[FrozenSet[str]] = None
    files: Mapping[str, FileView] = field(default_factory=dict)


@frozen
class World:
    """Everything that a plan may depend on, as far as it was read.

    `known` are the facts that were read besides what is always read; None in a world in which what
    is not there does not exist. Whoever plans looks only by the methods below, and by `images`:
    they ask for what was not read, by a `HostQuestion`. No answer changes one that came before.

    Always read: `domains`, those that the manifests name (as machine or template); a name that is
    missing is absent for certain. `daemons` are libvirt's, looked at only where a manifest asks for
    it. `busy` maps (kind, name) of an object that another run of ours works on at this moment to a
    line that says so. `lost` has the machines that are gone and known from before. `elsewhere` says
    of machines that are not here why they are not to be made: another host has them, or may have.
    `others_asked`: another host was asked. `observed` has what kinds read of their objects besides.

    Read where it is asked for: `networks` by name, and whether each is active. `pools`, the active
    ones and, as Unknown, those that were asked for and are not. `machines` maps the machine type
    asked for (`q35`, or "" for none) to what the host offers. `claims` maps what can be taken only
    once on a host, (`mac`, `52:54:…`) and (`uuid`, …), to the names of the domains that hold it,
    owned or not; (`machine`, name) to itself where that domain bears its own mark, and (`mark`,
    name) to the domains that are the machine of that mark, renamed. `images` answers the same for
    images, and what lies below them. `first_boots` maps a domain to what is known of its first
    boot, `drivers` to what its guest shows of a bus. `secrets` recognises those that the manifests
    name. `reflinks` holds the (pool, image path) pairs that can share blocks. `free` maps the path
    of an image to the bytes that it may still grow by, `lengths` an address to the bytes of its
    file. `imports` maps a file to what is in it, `import_tools` a folder to what imports.
    `checksums` maps a template to the SHA-256 that the list of its image has, `tools` a folder to
    what prepares clones in it, `driver_media` a place (empty: the host's) to its virtio-win media.
    `windows` maps an image's path to what was read in it. `facilities` is what else the host has.
    """

    host: str
    uri: str
    domains: Mapping[str, Union[Reading, Unknown]] = field(default_factory=dict)
    networks: Mapping[str, bool] = field(default_factory=dict)
    pools: Mapping[str, Union[PoolView, Unknown]] = field(default_factory=dict)
    machines: Mapping[str, Union[MachineCaps, Unknown]] = field(default_factory=dict)
    claims: Mapping[Tuple[str, str], Tuple[str, ...]] = field(default_factory=dict)
    images: Images = field(default_factory=Images)
    reflinks: FrozenSet[Tuple[str, str]] = frozenset()
    free: Mapping[str, int] = field(default_factory=dict)
    daemons: Union[DaemonsView, Unknown] = Unknown("no manifest asks for them")
    facilities: Facilities = Facilities()
    lengths: Mapping[str, Union[int, Unknown, None]] = field(default_factory=dict)
    checksums: Mapping[str, Union[str, Unknown]] = field(default_factory=dict)
    driver_media: Mapping[str, Union[DriverMedia, Unknown]] = field(default_factory=dict)
    tools: Mapping[str, Union[PreparationTools, Unknown]] = field(default_factory=dict)
    windows: Mapping[str, Union[WindowsImage, Unknown]] = field(default_factory=dict)
    busy: Mapping[Key, str] = field(default_factory=dict)
    lost: Mapping[str, LostMachine] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    others_asked: bool = False
    secrets: Mapping[SecretRef, Union[SealedSecret, Unknown]] = field(default_factory=dict)
    observed: Mapping[Key, object] = field(default_factory=dict)
    first_boots: Mapping[str, FirstBoot] = field(default_factory=dict)
    imports: Mapping[str, Union[ForeignSource, Unknown]] = field(default_factory=dict)
    import_tools: Mapping[str, Union[ImportTools, Unknown]] = field(default_factory=dict)
    drivers: Mapping[str, Union[GuestProof, Unknown]] = field(default_factory=dict)
    known: Known = None

    def ask(self, *facts: Fact) -> None:
        """Raise HostQuestion if any of the facts was not read yet."""
        ask(self.known, *facts)

    def find_pool(self, name: str) -> Union[PoolView, Unknown]:
        """Return the pool of that name, or why there is none to use."""
        self.ask(Fact(Section.POOL, name))
        there = ", ".join(sorted(self.pools)) or "none"
        return self.pools.get(name, Unknown(f"no such pool; there are: {there}"))

    def list_pools(self) -> Tuple[PoolView, ...]:
        """Return every active pool that can be read."""
        self.ask(Fact(Section.POOLS))
        return tuple(pool for pool in self.pools.values() if isinstance(pool, PoolView))

    def list_networks(self) -> Mapping[str, bool]:
        """Return the networks, and whether each is active."""
        self.ask(Fact(Section.NETWORKS))
        return self.networks

    def find_machine(self, machine: str) -> Union[MachineCaps, Unknown, None]:
        """Return what the host offers for that machine type; None if nothing is known of it.

        What was read for `q35` holds for the version that it stands for.
        """
        for caps in self.machines.values():
            if isinstance(caps, MachineCaps) and caps.machine == machine:
                return caps
        self.ask(Fact(Section.MACHINE_TYPE, machine))
        return self.machines.get(machine)

    def find_holders(self, kind: str, value: str) -> Tuple[str, ...]:
        """Return the domains that hold what can be taken only once; see `claims`."""
        self.ask(Fact(Section.CLAIMS))
        return self.claims.get((kind, value), ())

    def can_share(self, pool: str, image: str) -> bool:
        """Whether the image can be cloned into the pool by block sharing."""
        self.ask(Fact(Section.REFLINK, pool, image))
        return (pool, image) in self.reflinks

    def find_free(self, path: str) -> Optional[int]:
        """Return the bytes that an image may still grow by; None where that is not known."""
        self.ask(Fact(Section.FREE, path))
        return self.free.get(path)

    def find_first_boot(self, name: str, instance: str) -> FirstBoot:
        """Return what is known of a domain's first boot as an instance of cloud-init's."""
        self.ask(Fact(Section.FIRST_BOOT, name, instance))
        from reconciler.core.guest import FirstBoot  # noqa: PLC0415 - start-up time

        return self.first_boots.get(name, FirstBoot())

    def find_driver(self, name: str) -> Optional[GuestProof]:
        """Return what a guest shows during a staged bus change; None if nobody can be asked."""
        self.ask(Fact(Section.DRIVER, name))
        found = self.drivers.get(name)
        return None if isinstance(found, Unknown) else found

    def find_memory(self) -> Optional[int]:
        """Return the bytes of memory that the host has; None where that is not known."""
        self.ask(Fact(Section.MEMORY))
        return self.facilities.memory

    def find_devices(self) -> Optional[FrozenSet[str]]:
        """Return the names of the host's network devices; None where they are not known."""
        self.ask(Fact(Section.DEVICES))
        return self.facilities.devices

    def find_length(self, url: str) -> Union[int, Unknown, None]:
        """Return the bytes of the file at an address; None where the server does not say."""
        self.ask(Fact(Section.LENGTH, url))
        return self.lengths.get(url)

    def find_checksum(self, template: str) -> Union[str, Unknown]:
        """Return the SHA-256 that the list of a template's image has, or why it is not known."""
        self.ask(Fact(Section.CHECKSUM, template))
        return self.checksums.get(template, Unknown("its list of checksums was not read"))

    def find_tools(self, folder: str) -> Union[PreparationTools, Unknown]:
        """Return what prepares clones in a folder, or why nothing does."""
        self.ask(Fact(Section.TOOLS, folder))
        return self.tools.get(folder, Unknown("nothing that prepares clones is known here"))

    def find_windows(self, path: str, image_format: str) -> Union[WindowsImage, Unknown]:
        """Return what was read of the Windows in an image, or why it cannot be read."""
        self.ask(Fact(Section.WINDOWS, path, image_format))
        return self.windows.get(path, WindowsImage(unchecked="nobody can look into images here"))

    def find_driver_media(self, place: str = "") -> Union[DriverMedia, Unknown]:
        """Return the virtio-win media at a place of the host; without one, those that it has."""
        self.ask(Fact(Section.DRIVER_MEDIA, place))
        return self.driver_media.get(place, Unknown("no virtio-win media were looked for"))

    def find_import(self, name: str) -> Union[ForeignSource, Unknown, None]:
        """Return what is in `KIND:FORMAT:PATH`; None where it cannot be seen."""
        self.ask(Fact(Section.IMPORT, name))
        return self.imports.get(name)

    def find_import_tools(self, folder: str) -> Union[ImportTools, Unknown, None]:
        """Return what imports into a folder; None where it cannot be seen."""
        self.ask(Fact(Section.IMPORT_TOOLS, folder))
        return self.import_tools.get(folder)

    def find_secret(self, ref: SecretRef) -> Union[SealedSecret, Unknown]:
        """Return what recognises a secret, or why it cannot be read."""
        self.ask(Fact(Section.SECRET, ref.source.value, ref.name))
        return self.secrets.get(ref, Unknown(f"{ref}: cannot be read from here"))

    def find_file(self, path: str) -> Optional[FileView]:
        """Return what lies at a path of the host; None where it cannot be seen."""
        self.ask(Fact(Section.FILE, path))
        return self.facilities.files.get(path)
