"""Measurements as values and as a JSON document, which is kept and compared. Pure.

Bytes, bytes per second, operations per second, and latency in microseconds. What a tool does not
tell is None, never 0.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, Tuple

from reconciler.core.frozen import frozen, regex
from reconciler.core.plain_data import from_plain, to_plain
from reconciler.errors import RefusedError

FORMAT_VERSION = 1
SMALL_BLOCK = 64 * 1024  # bytes
KEY = "virtReconcilerMeasurement"  # the first key, and its version: by it a measurement is known
# Attributes of a disk's driver in the XML, and fields of DiskSetup.
DISK_OPTIONS = tuple("cache io discard".split())  # noqa: SIM905 - the table of fields is elsewhere
_LABEL = regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@frozen
class Latency:
    """How long single operations took, in microseconds: from submission until completion."""

    p50: float
    p95: float
    p99: float
    p999: float


@frozen
class Flow:
    """What one run read, or what it wrote."""

    total: int
    bandwidth: int
    iops: float
    latency: Optional[Latency] = None


@frozen
class DiskRun:
    """One run of a profile. `seconds` is how long it took.

    `cpu_user` and `cpu_system` are the tool's percent of one processor. `from_storage` are the
    bytes that the kernel read for it from below the page cache.
    """

    seconds: float
    read: Optional[Flow] = None
    write: Optional[Flow] = None
    cpu_user: Optional[float] = None
    cpu_system: Optional[float] = None
    from_storage: Optional[int] = None

    @property
    def flows(self) -> Tuple[Flow, ...]:
        """What it read and what it wrote, as far as it did."""
        return tuple(flow for flow in (self.read, self.write) if flow is not None)

    @property
    def bandwidth(self) -> int:
        """Bytes per second, read and written."""
        return sum(flow.bandwidth for flow in self.flows)

    @property
    def iops(self) -> float:
        """Operations per second, read and written."""
        return sum(flow.iops for flow in self.flows)

    @property
    def total(self) -> int:
        """Bytes, read and written."""
        return sum(flow.total for flow in self.flows)


@frozen
class DiskResult:
    """A profile, measured in one way as often as `runs` has it.

    `direct` is past the page cache. `size` is that of the file, `seconds` the run time that was
    set; None where the tool ends by itself. `engine` is fio's; of other tools it is empty.
    """

    profile: str
    tool: str
    tool_version: str
    direct: bool
    block_size: int
    depth: int
    engine: str
    size: int
    seconds: Optional[int]
    runs: Tuple[DiskRun, ...]

    @property
    def counts_operations(self) -> bool:
        """Whether the number of its operations says more than the bytes that they move."""
        return bool(self.engine) and self.block_size < SMALL_BLOCK

    @property
    def mode(self) -> str:
        """The word for it."""
        return "direct" if self.direct else "buffered"


@frozen
class Figure:
    """A number of a host, measured as often as there are `values`: processor, memory, network.

    `about` is what was measured, like `sha256, 1 process`; `unit` is per second, like `B` or
    `events`. More is better.
    """

    subject: str
    about: str
    tool: str
    tool_version: str
    unit: str
    values: Tuple[float, ...]


@frozen
class DiskSetup:
    """How a guest gets the disk that was measured, as its running definition says.

    What the definition leaves to QEMU is None. `iothread` is its number.
    """

    name: str
    target: str
    bus: str
    image: str
    image_format: str
    cache: Optional[str] = None
    io: Optional[str] = None
    discard: Optional[str] = None
    iothread: Optional[int] = None


@frozen
class Environment:
    """Where it was measured. `memory` is that of the system whose page cache was in between.

    `machine` is the guest in which it was measured, `generation` its manifest's that is applied,
    `machine_type` QEMU's; None on the host. `qemu` is the version that runs guests here. `storage`
    is the path, `filesystem` its type, `device` the block device below, as far as it is known.
    """

    host: str
    kernel: str
    processor: str
    memory: Optional[int]
    qemu: Optional[str] = None
    machine: Optional[str] = None
    generation: Optional[str] = None
    machine_type: Optional[str] = None
    guest_kernel: Optional[str] = None
    disk: Optional[DiskSetup] = None
    pool: Optional[str] = None
    storage: Optional[str] = None
    filesystem: Optional[str] = None
    device: Optional[str] = None


@frozen
class Limits:
    """How the tool was held back. `io_class` is ionice's, `rate` bytes per second."""

    nice: int = 0
    io_class: Optional[str] = None
    rate: Optional[int] = None


@frozen
class Measurement:
    """What one command measured in one place.

    `id` names it among those that are kept, `group` those of one matrix. `taken_at` is UTC as
    `2027-01-15T08:00:00Z`, `version` the product's. `warnings` say what may have disturbed it.
    """

    id: str
    taken_at: str
    version: str
    environment: Environment
    label: Optional[str] = None
    group: Optional[str] = None
    limits: Limits = Limits()
    results: Tuple[DiskResult, ...] = ()
    figures: Tuple[Figure, ...] = ()
    warnings: Tuple[str, ...] = ()


def is_label(text: str) -> bool:
    """Whether it can be a label, and part of the name of a file."""
    return _LABEL.fullmatch(text) is not None


def name_measurement(what: str, taken_at: str) -> str:
    """Return the ID of a measurement: `disk-20270115-080000`."""
    date, _, clock = taken_at.rstrip("Z").partition("T")
    return f"{what}-{date.replace('-', '')}-{clock.replace(':', '')}"


def write_measurement(measurement: Measurement) -> str:
    """Return the document."""
    data = {KEY: FORMAT_VERSION, **to_plain(measurement)}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def read_measurement(text: str, name: str) -> Measurement:
    """Understand a document, called `name` in messages. Raises RefusedError if it is none."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{name}: is not a measurement: {error}") from error
    if not isinstance(data, dict) or KEY not in data:
        raise RefusedError(
            f"{name}: is not a measurement; use a file that `virt-reconciler bench` wrote"
        )
    if data[KEY] != FORMAT_VERSION:
        raise RefusedError(
            f"{name}: is a measurement of version {data[KEY]}, and this program knows "
            f"{FORMAT_VERSION}; measure again with this version"
        )
    return _read(data, name)


def _read(data: Dict[str, Any], name: str) -> Measurement:
    try:
        measurement: Measurement = from_plain(Measurement, data)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{name}: is damaged: {error}; measure again") from error
    return measurement
