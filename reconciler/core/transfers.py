"""Files on their way from an address into a storage pool: the step of a plan, and the ports."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Callable,
    ContextManager,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Protocol,
    Tuple,
    Union,
)

from reconciler.core.frozen import frozen
from reconciler.errors import MissingError, TerminalError

if TYPE_CHECKING:
    from reconciler.core.imports import ImportStep

# What a packed file holds, a chunk at a time. It has the file open, so it must be closed.
Unpacked = Generator[bytes, None, None]


@frozen
class FetchImage:
    """Make the volume `name` of `pool` of the file at `url`, whose SHA-256 is `sha256`.

    `format` is that of the image, which may be packed. `listed` is where the list is that has the
    checksum; empty if the manifest has it.
    """

    url: str
    sha256: str
    pool: str
    name: str
    format: str
    listed: str = ""


@frozen
class CopiedDisk:
    """One disk of a running machine, `target`, and the image of the same size to copy it into.

    The image is grown to `capacity` afterwards; None: it stays as it is.
    """

    disk: str
    target: str
    path: str
    format: str
    capacity: Optional[int] = None


@frozen
class CopyDisks:
    """Copy disks of a running machine into images that are there, all as they are at one moment.

    `is_frozen`: its guest agent freezes the file systems at that moment.
    """

    machine: str
    uuid: str
    disks: Tuple[CopiedDisk, ...]
    is_frozen: bool


TransferStep = Union[FetchImage, CopyDisks, "ImportStep"]


@frozen
class Incoming:
    """A file that comes in from an address: its bytes after the first `offset` ones.

    `total` are the bytes of the whole file, None if the server does not say. `validator` is what
    the server calls this version of the file; empty if it has no name for it.
    """

    offset: int
    total: Optional[int]
    chunks: Iterator[bytes]
    validator: str = ""


class Downloads(Protocol):
    """Files by their addresses, which are http, https and file."""

    def measure(self, url: str) -> Optional[int]:
        """Return the bytes of the file at an address; None if the server does not say.

        Raises TransientError, and TerminalError for what is no address.
        """

    def open(self, url: str, offset: int = 0, validator: str = "") -> ContextManager[Incoming]:
        """Open the file at an address, from `offset` on if the server can do that.

        `validator` is that of the bytes that are here already. Opening and reading raise
        TransientError, MissingError where trying again at once cannot help.
        """

    def read_signed(self, url: str, keyring: str, signature: Optional[str] = None) -> bytes:
        """Return the small file at an address as far as a key of the file `keyring` has signed it.

        `signature` is the address of a detached signature; without it the signature is in the
        file, or beside it. Raises TransientError, MissingError where only a person helps.
        """

    def unpack(self, path: str, tell: Callable[[int], None]) -> Optional[Unpacked]:
        """Return what a packed file holds, a chunk at a time; None for one that is not packed.

        Close it: it has the file open. `tell` is told how many bytes of the file were read.
        Reading raises TerminalError for a damaged file.
        """


class NoDownloads:
    """Implements `Downloads` where nothing is fetched: on what is only read."""

    def measure(self, url: str) -> Optional[int]:
        """Know nothing."""
        del url
        return None

    def open(self, url: str, offset: int = 0, validator: str = "") -> ContextManager[Incoming]:
        """Refuse."""
        del offset, validator
        raise TerminalError(f"{url}: cannot be fetched from here")

    def read_signed(self, url: str, keyring: str, signature: Optional[str] = None) -> bytes:
        """Refuse."""
        del keyring, signature
        raise MissingError(
            f"{url}: cannot be read from here, so which image is the newest is not known"
        )

    def unpack(self, path: str, tell: Callable[[int], None]) -> Optional[Unpacked]:
        """Know nothing."""
        del path, tell
        return None


class PartialVolume(Protocol):
    """A volume of a pool of files on this host that is not whole yet, or not there."""

    @property
    def path(self) -> str:
        """The path of its file."""

    def measure(self) -> int:
        """Return how many bytes are in it; 0 if it is not there."""

    def find_free(self) -> int:
        """Return the bytes that are free where it is."""

    def append(self, chunks: Iterable[bytes]) -> None:
        """Write the chunks behind what is in it; it is made if it is not there.

        What was written before the chunks or the connection failed stays. Raises FullError.
        """

    def digest(self, tell: Callable[[int], None]) -> str:
        """Return the SHA-256 of what is in it; told how many bytes were read."""

    def read_start(self) -> bytes:
        """Return its first bytes, in which an image has its header."""

    def publish(self, name: str, origin: Mapping[str, str]) -> None:
        """Give it the name of a whole volume. Raises RefusedError if something has that name."""

    def read_origin(self) -> Optional[Mapping[str, str]]:
        """Return what it was published with; None of what was not, or where nothing keeps it."""

    def is_seen(self, name: str) -> bool:
        """Whether libvirt has that volume; it is asked to look for it, if it can."""

    def delete(self) -> None:
        """Delete it; that it is not there is no error."""
