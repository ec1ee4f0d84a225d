"""What a disk is imported from: the value of the manifest, what was found, and the steps. Pure.

An import happens once, when the disk is made. Nothing compares the disk with it afterwards.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Protocol, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.preparation import Injection, build_injection
from reconciler.errors import MissingError

OVA, VMX, DISK = "ova", "vmx", "disk"
KINDS = (OVA, VMX, DISK)
AUTO, VIRT_V2V, QEMU_IMG = "auto", "virt-v2v", "qemu-img"
FORMATS = ("vmdk", "vhdx", "vdi", "vpc", "qcow2", "raw")
# Buses of which every system that VMware runs has a driver in its initial RAM disk or registry.
PLAIN_BUSES = ("sata", "ide", "usb")

Tell = Callable[[str, int, int], None]
"""Told (what, bytes done, bytes in all; below 0: unknown) a few times a second."""


@frozen
class ImportSource:
    """`source.import` of a disk: a file on the host.

    `file` is the name of one disk of several in an OVA or VMX, `format` that of an image as its
    owner knows it, `via` how it is converted. `injection` is put into a Windows.
    """

    kind: str
    path: str
    sha256: str = ""
    file: str = ""
    format: str = ""
    via: str = AUTO
    injection: Optional[Injection] = None


def build_import(data: Mapping[str, Any]) -> ImportSource:
    """Return the value of an `import` that the schema has passed."""
    kind = next(name for name in KINDS if name in data)
    return ImportSource(
        kind=kind,
        path=data[kind],
        sha256=data.get("sha256", ""),
        file=data.get("file", ""),
        format=data.get("format", ""),
        via=data.get("via", AUTO),
        injection=build_injection(data.get("inject")),
    )


@frozen
class FileStamp:
    """A file as it was found, to know it again by."""

    path: str
    size: int
    changed_at: int


@frozen
class ForeignImage:
    """An image of another hypervisor's: `name` is its file's, `place` how qemu-img opens it.

    `capacity` is what the guest sees, `data` the most that is copied of it; both are bytes.
    `stamps` are all files that are read.
    """

    name: str
    format: str
    capacity: int
    data: int
    place: str
    stamps: Tuple[FileStamp, ...]


@frozen
class ForeignCard:
    """A network card as the other hypervisor has it."""

    model: str = ""
    mac: str = ""
    network: str = ""


@frozen
class ForeignMachine:
    """What the description of a machine says, as far as it says it.

    `os` is a short id of libosinfo's, `system` the name that the other hypervisor has for it.
    `disks` are the names of the files. `memory` is bytes.
    """

    name: str = ""
    system: str = ""
    os: str = ""
    firmware: str = "bios"
    cpus: int = 0
    cores: int = 0
    memory: int = 0
    tpm: bool = False
    disks: Tuple[str, ...] = ()
    cards: Tuple[ForeignCard, ...] = ()
    remarks: Tuple[str, ...] = ()


@frozen
class ForeignSource:
    """What is in a file to import. `checks` says that it comes with checksums of its own.

    Where the file cannot be seen, as in a recorded host, it is not `known`.
    """

    stamp: FileStamp
    images: Tuple[ForeignImage, ...]
    machine: ForeignMachine = ForeignMachine()
    checks: bool = False
    known: bool = True


@frozen
class ImportTools:
    """What imports on a host: the versions of qemu-img, and of virt-v2v with what it can read.

    `lack` is why virt-v2v cannot be used on this host, `confined` why it cannot be from this
    process; both are empty if it can.
    """

    qemu_img: str = ""
    virt_v2v: str = ""
    reads: Tuple[str, ...] = ()
    lack: str = ""
    confined: str = ""


@frozen
class VerifyImport:
    """Verify the checksums of a file before anything of it is copied."""

    kind: str
    stamp: FileStamp
    sha256: str


@frozen
class ImportedDisk:
    """One image to be copied into the volume at `path`, which is there and blank."""

    disk: str
    pool: str
    name: str
    path: str
    format: str
    image: ForeignImage


@frozen
class ImportDisk:
    """Copy an image of another hypervisor's as it is, by qemu-img."""

    target: ImportedDisk


@frozen
class ConvertMachine:
    """Convert a machine of another hypervisor's by virt-v2v, and copy its disks.

    `sizes` are those of all its disks in their order, `targets` those of them that are wanted.
    `falls_back`: a machine that virt-v2v refuses is copied as it is. `virtio_disks` are those that
    need the driver. The work goes on in a folder in `folder`, whose name begins with `stem`.
    """

    machine: str
    kind: str
    stamp: FileStamp
    sizes: Tuple[int, ...]
    targets: Tuple[Tuple[int, ImportedDisk], ...]
    falls_back: bool
    folder: str
    stem: str
    virtio_disks: Tuple[str, ...] = ()
    virtio_win: str = ""


ImportStep = Union[VerifyImport, ImportDisk, ConvertMachine]


class Importer(Protocol):
    """What reads files of other hypervisors', and copies them. It never writes to them."""

    def find_tools(self, folder: str) -> ImportTools:
        """Return what can import into that folder. Raises MissingError if nothing can."""

    def inspect(self, name: str) -> ForeignSource:
        """Return what is in a file, `KIND:FORMAT:PATH`. Raises TerminalError, MissingError."""

    def digest(self, stamp: FileStamp, tell: Tell) -> str:
        """Return the SHA-256 of a file."""

    def verify(self, step: VerifyImport, tell: Tell) -> None:
        """Verify a file before anything of it is copied. Raises TerminalError."""

    def copy(self, target: ImportedDisk, tell: Tell) -> None:
        """Copy an image into a volume, and return when it is on disk.

        What `tell` raises ends the work. Raises FullError, TransientError, TerminalError.
        """

    def convert(self, step: ConvertMachine, tell: Tell) -> None:
        """Convert a machine into its volumes, and return when they are on disk."""

    def guess_system(self, image: ForeignImage, tell: Tell) -> str:
        """Return libosinfo's short id of the system in an image; empty if nobody can say."""


def unseen(path: str) -> ForeignSource:
    """Return a file of which nothing is known but that it is named."""
    return ForeignSource(FileStamp(path, 0, 0), (), known=False)


class NoImporter:
    """Implements `Importer` where nothing is imported, for that reason."""

    def __init__(self, reason: str) -> None:
        """Keep why."""
        self._reason = reason

    def find_tools(self, folder: str) -> ImportTools:
        """Refuse."""
        del folder
        raise MissingError(self._reason)

    def inspect(self, name: str) -> ForeignSource:
        """Refuse."""
        raise MissingError(f"{name.split(':', 2)[2]}: {self._reason}")

    def digest(self, stamp: FileStamp, tell: Tell) -> str:
        """Refuse."""
        del tell
        raise MissingError(f"{stamp.path}: {self._reason}")

    def verify(self, step: VerifyImport, tell: Tell) -> None:
        """Refuse."""
        del tell
        raise MissingError(f"{step.stamp.path}: {self._reason}")

    def copy(self, target: ImportedDisk, tell: Tell) -> None:
        """Refuse."""
        del tell
        raise MissingError(f"{target.image.name}: {self._reason}")

    def convert(self, step: ConvertMachine, tell: Tell) -> None:
        """Refuse."""
        del tell
        raise MissingError(f"{step.stamp.path}: {self._reason}")

    def guess_system(self, image: ForeignImage, tell: Tell) -> str:
        """Know nothing."""
        del image, tell
        return ""


def find_image(source: ForeignSource, file: str) -> Optional[int]:
    """Return the number of the image of that name; of the only one without a name."""
    if not file:
        return 0 if len(source.images) == 1 else None
    names = [image.name for image in source.images]
    return names.index(file) if file in names else None
