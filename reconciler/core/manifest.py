"""Desired objects as a person wrote them: what a manifest means, without where it was read.

The values here are complete and checked; a function that gets one need not doubt it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import field
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Protocol,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from reconciler.core.cloud_init import CloudInit
from reconciler.core.frozen import frozen
from reconciler.core.guests import may_be_windows
from reconciler.core.ignition import Ignition
from reconciler.core.images import DEFAULT_POOL
from reconciler.core.key import Key
from reconciler.core.machine import Cdrom, Disk, Disruption, Machine
from reconciler.core.preparation import Preparation

if TYPE_CHECKING:
    from reconciler.core.answer_file import WindowsIdentity
    from reconciler.core.libvirt_daemons import Mode

MACHINE, TEMPLATE, HOST = "VirtualMachine", "Template", "Host"


write_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
GENERATION_DIGITS = 12


@frozen
class Window:
    """A weekly time in which a restart may happen, in the host's local time.

    `days` are 0 (Monday) to 6 (Sunday); `start` is minutes after midnight, `duration` minutes.
    A window may run past midnight.
    """

    days: Tuple[int, ...]
    start: int
    duration: int


BUS_CHANGE_TIMEOUT = 900  # seconds


@frozen
class BusChange:
    """How disks are moved to another bus (`lifecycle.busChange`).

    `mode` is direct, staged, or None where the operating system decides. `timeout` are the seconds
    in which the guest must show its disks on the new bus, once it was started on it. `install`: the
    guest's agent installs the drivers.
    """

    mode: Optional[str] = None
    timeout: int = BUS_CHANGE_TIMEOUT
    install: bool = False

    def is_staged(self, os: Optional[str]) -> bool:
        """Whether the disks of a guest with this system are moved step by step."""
        return may_be_windows(os) if self.mode is None else self.mode == "staged"


@frozen
class Lifecycle:
    """What may be done to the machine unasked. `shutdown_timeout` is seconds.

    `force_off` allows a hard power-off when the guest has not shut down in that time. `start_after`
    are the machines whose guests must be ready before it is started.
    """

    disruption: Disruption = Disruption.WHEN_OFF
    deletion: str = "orphan"
    windows: Tuple[Window, ...] = ()
    shutdown_timeout: int = 120
    force_off: bool = False
    start_after: Tuple[str, ...] = ()
    bus_change: BusChange = field(default_factory=BusChange)


@frozen
class Place:
    """Where an object was written; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Render as `file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"


class Manifest(Protocol):
    """What the manifest of every kind has.

    `generation` is a digest of its canonical `spec` and labels: it changes when they do. `host` is
    the name of the host that it is placed on, None where it names none.
    """

    @property
    def key(self) -> Key:
        """Its kind and name."""

    @property
    def generation(self) -> str:
        """The digest."""

    @property
    def place(self) -> Place:
        """Where it was written."""

    @property
    def host(self) -> Optional[str]:
        """Where it is placed."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels."""


Locate = Callable[[Tuple[Union[str, int], ...]], Place]
"""Finds where a field of a document was written: `("spec", "disks", 0, "source")`."""


@frozen
class MachineManifest:
    """A `VirtualMachine` manifest.

    `generation` is a digest of the canonical `spec` and labels: it changes when they do.
    `spec` is the canonical JSON text of `spec`, kept in the domain as the last applied one; a
    secret in it is hidden, here and in the digest. `revision` is the Git commit it was read at,
    where that is known.
    """

    machine: Machine
    generation: str
    spec: str
    place: Place
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    labels: Mapping[str, str] = field(default_factory=dict)
    host: Optional[str] = None
    required_daemons: Tuple[str, ...] = ()
    revision: Optional[str] = None
    locate: Optional[Locate] = field(default=None, compare=False, repr=False)
    cloud_init: Optional[CloudInit] = None
    ignition: Optional[Ignition] = None
    windows: Optional[WindowsIdentity] = None

    @property
    def name(self) -> str:
        """The domain's name."""
        return self.machine.name

    @property
    def key(self) -> Key:
        """The machine's kind and name."""
        return Key(MACHINE, self.machine.name)

    def find_disk_source(self, name: str) -> Place:
        """Return where the `source` of a disk was written; where the document begins, if unknown.

        Found only when it is asked for: that reads the file's text once more.
        """
        names = [disk.name for disk in self.machine.disks or ()]
        if self.locate is None or name not in names:
            return self.place
        return self.locate(("spec", "disks", names.index(name), "source"))


# What the name of a volume ends in while the image of a template is not whole.
DOWNLOADING, UNPACKING = ".download", ".unpacking"
_CHECKSUM_DIGITS = 12


@frozen
class ChecksumList:
    """The publisher's list of checksums, and the file of keys one of which must have signed it.

    `signature` is the address of a detached signature that is not beside the list.
    """

    url: str
    signed_by: str
    signature: Optional[str] = None


@frozen
class ImageAddress:
    """Where the image of a template is fetched from, and the SHA-256 of the file that is there.

    `sha256` is empty as long as nobody has read it in the list `checksums`.
    """

    url: str
    sha256: str = ""
    format: str = "qcow2"
    checksums: Optional[ChecksumList] = None


def name_image(template: str, address: ImageAddress) -> Optional[str]:
    """Return the volume of an image that is fetched: another checksum is another volume.

    None while the checksum is not known.
    """
    if not address.sha256:
        return None
    return f"{template}-{address.sha256[:_CHECKSUM_DIGITS]}.{address.format}"


def is_image_of(name: str, template: TemplateManifest) -> bool:
    """Whether a volume's name is one that an image of the template's address has, or had before."""
    address = template.address
    if address is None:
        return False
    form = f"{re.escape(template.name)}-[0-9a-f]{{{_CHECKSUM_DIGITS}}}\\.(qcow2|raw)"
    return re.fullmatch(form, name) is not None


@frozen
class TemplateManifest:
    """A `Template` manifest: exactly one of `domain`, `volume` (with `pool`) and `image` is set.

    One with an `address` has the `volume` that its image is fetched into, if its checksum is known.

    `disk` names the disk of `domain` to clone (its target or alias), None means the boot disk.
    `generalized` is the author's word on how and when identity was removed from the image.
    `linked_clones` allows clones that keep depending on the template's image. `preparation` is what
    is done to each clone before its first start, and never to the image. `cloudbase` says that the
    image has cloudbase-init.
    """

    name: str
    place: Place
    domain: Optional[str] = None
    disk: Optional[str] = None
    pool: Optional[str] = None
    volume: Optional[str] = None
    image: Optional[str] = None
    os: Optional[str] = None
    generalized: Optional[str] = None
    linked_clones: bool = False
    generation: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    host: Optional[str] = None
    address: Optional[ImageAddress] = None
    preparation: Optional[Preparation] = None
    cloudbase: bool = False

    @property
    def key(self) -> Key:
        """The template's kind and name."""
        return Key(TEMPLATE, self.name)


@frozen
class HostManifest:
    """A `Host` manifest: how the daemons of the hosts that `selector` names shall be.

    `mode` is None where it says nothing of daemons. `ensure` allows units to be changed; without it
    they are looked at and no more. Only what is `forbidden` is ever stopped. `uri` is how other
    hosts reach its libvirt. `virtio_win` is the path or POOL/VOLUME of its virtio-win drivers.
    """

    name: str
    place: Place
    selector: Tuple[str, ...]
    mode: Optional[Mode] = None
    required: Tuple[str, ...] = ()
    forbidden: Tuple[str, ...] = ()
    ensure: bool = False
    uri: Optional[str] = None
    virtio_win: Optional[str] = None
    generation: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    host: Optional[str] = None

    @property
    def key(self) -> Key:
        """The host's kind and name."""
        return Key(HOST, self.name)


M = TypeVar("M", bound=Manifest)


@frozen
class NamedImage:
    """A machine that is given an image by its manifest, and the disk or drive that has it."""

    manifest: MachineManifest
    drive: Union[Disk, Cdrom]


@frozen
class Desired:
    """All that the given manifests describe, sorted by kind and name."""

    objects: Mapping[Key, Manifest] = field(default_factory=dict)

    @classmethod
    def of(cls, *manifests: Manifest) -> Desired:
        """Return these manifests; of two with one key the later one counts."""
        found = {manifest.key: manifest for manifest in manifests}
        return cls({key: found[key] for key in sorted(found)})

    def of_kind(self, kind: str) -> Tuple[Manifest, ...]:
        """Return the manifests of a kind, sorted by name."""
        return tuple(manifest for key, manifest in self.objects.items() if key.kind == kind)

    def with_kind(self, kind: str, manifests: Iterable[Manifest]) -> Desired:
        """Return the same, with these manifests in place of all that are of that kind."""
        others = (manifest for key, manifest in self.objects.items() if key.kind != kind)
        return Desired.of(*others, *manifests)

    @cached_property
    def machines(self) -> Tuple[MachineManifest, ...]:
        """The virtual machines, sorted by name."""
        return _select(self.objects, MachineManifest)

    @cached_property
    def templates(self) -> Tuple[TemplateManifest, ...]:
        """The templates, sorted by name."""
        return _select(self.objects, TemplateManifest)

    @cached_property
    def hosts(self) -> Tuple[HostManifest, ...]:
        """The hosts, sorted by name."""
        return _select(self.objects, HostManifest)

    @cached_property
    def images(self) -> Mapping[str, Tuple[NamedImage, ...]]:
        """Who is given the images that the machines name: by path, or POOL/VOLUME."""
        found: Dict[str, List[NamedImage]] = {}
        for manifest in self.machines:
            drives: Iterable[Union[Disk, Cdrom]] = (
                *(manifest.machine.disks or ()),
                *(manifest.machine.cdroms or ()),
            )
            for drive in drives:
                path = drive.source if isinstance(drive, Disk) else drive.media
                volume = f"{drive.pool or DEFAULT_POOL}/{drive.volume}" if drive.volume else None
                for name in filter(None, (path, volume)):
                    found.setdefault(name, []).append(NamedImage(manifest, drive))
        return {name: tuple(users) for name, users in found.items()}

    def template(self, name: str) -> Optional[TemplateManifest]:
        """Return the template of that name, or None."""
        found = self.objects.get(Key(TEMPLATE, name))
        return found if isinstance(found, TemplateManifest) else None


def _select(objects: Mapping[Key, Manifest], type_: Type[M]) -> Tuple[M, ...]:
    return tuple(manifest for manifest in objects.values() if isinstance(manifest, type_))


def is_named(names: Iterable[str], host: str) -> bool:
    """Whether one of the names is this host's, short or full."""
    return any(name in (host, host.split(".", 1)[0]) for name in names)


def is_placed_here(manifest: Manifest, host: str) -> bool:
    """Whether the manifest is for this host: it names none, or this one (short or full name)."""
    return manifest.host is None or is_named((manifest.host,), host)


def may_be_same(one: str, other: str) -> bool:
    """Whether two names may be of one host: equal, or one is the other without its domain."""
    short = one.split(".", 1)[0] == other.split(".", 1)[0]
    return one == other or (short and ("." not in one or "." not in other))


def digest_generation(spec: str, labels: Mapping[str, str]) -> str:
    """Return a digest of the canonical `{labels, spec}`, of which the text of spec is known."""
    text = f'{{"labels":{write_canonical(labels)},"spec":{spec}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:GENERATION_DIGITS]
