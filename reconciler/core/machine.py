"""A virtual machine as a value: the one type for both sides of a comparison.

A `Machine` is built from a manifest (desired) and from domain XML (observed). On every field
`None` means "not managed" (desired) or "not there" (observed), and an empty tuple means
"none of them". Sizes are bytes. Nothing here knows YAML, XML or libvirt.

A field whose metadata says `compared=False` is never diffed: it says how to make a thing or how
to recognise it, not how the thing is.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any, Iterable, Optional, Sequence, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.secret_refs import Secret
from reconciler.core.units import format_size
from reconciler.errors import TerminalError

if TYPE_CHECKING:
    from reconciler.core.imports import ImportSource

_TYPES_SHOWN = 12  # machine types; a host has some sixty


def hint() -> Any:  # dataclasses.field is typed as its default's type
    """Declare a field that identifies or creates a device but is never diffed."""
    return field(default=None, metadata={"compared": False})


class Power(Enum):
    """What a machine should be doing: RUNNING or STOPPED. The others are only ever observed."""

    RUNNING = "running"
    STOPPED = "stopped"
    SAVED = "saved"
    PAUSED = "paused"
    SHUTTING_DOWN = "shutting down"
    CRASHED = "crashed"
    PMSUSPENDED = "pmsuspended"


class Disruption(Enum):
    """How far a change may disturb a running guest (`lifecycle.disruption`)."""

    NEVER = "never"
    WHEN_OFF = "whenOff"
    RESTART = "restart"
    WINDOW = "window"


class CloneMode(Enum):
    """How a disk is made from its template."""

    AUTO = "auto"
    FULL = "full"
    LINKED = "linked"
    REFLINK = "reflink"


@frozen
class Cpus:
    """Virtual processors: `count` are online, `maximum` can be plugged without a restart.

    `mode` is libvirt's cpu mode (host-passthrough, host-model, maximum, custom) and `model` the
    named CPU of mode custom. `unpluggable` (observed only) is how many of the online ones a
    running guest can be asked to give back.
    """

    count: Optional[int] = None
    maximum: Optional[int] = None
    sockets: Optional[int] = None
    cores: Optional[int] = None
    threads: Optional[int] = None
    mode: Optional[str] = None
    model: Optional[str] = None
    unpluggable: Optional[int] = hint()


@frozen
class Memory:
    """Bytes the guest has now (`size`, the balloon's target) and at most (`maximum`).

    `balloon` (observed only) says whether the guest has a balloon device.
    """

    size: Optional[int] = None
    maximum: Optional[int] = None
    balloon: Optional[bool] = hint()


@frozen
class MachineOrigin:
    """A disk of another machine that a disk begins as a copy of; None: the one of the same name.

    `freeze` has the agent of a running guest freeze its file systems for the moment of the copy.
    """

    machine: str
    disk: Optional[str] = None
    freeze: bool = False


@frozen
class Disk:
    """One disk. `name` is its identity; on the observed side it is the alias or the target.

    `source` is the host path of the image or block device. `template`, `clone`, `origin`,
    `imported`, `pool` and `volume` say how the manifest wants it made or found; `planning` resolves
    them to `source`.
    """

    name: str
    bus: Optional[str] = None
    size: Optional[int] = None
    format: Optional[str] = None
    source: Optional[str] = None
    cache: Optional[str] = None
    io: Optional[str] = None
    discard: Optional[str] = None
    serial: Optional[str] = None
    boot: Optional[int] = None
    readonly: Optional[bool] = None
    shareable: Optional[bool] = None
    alias: Optional[str] = hint()
    target: Optional[str] = hint()
    pool: Optional[str] = hint()
    volume: Optional[str] = hint()
    template: Optional[str] = hint()
    clone: Optional[CloneMode] = hint()
    origin: Optional[MachineOrigin] = hint()
    imported: Optional[ImportSource] = hint()


@frozen
class Cdrom:
    """One CD-ROM drive. `media` is a host path; the empty string is a drive without medium."""

    name: str
    bus: Optional[str] = None
    media: Optional[str] = None
    boot: Optional[int] = None
    alias: Optional[str] = hint()
    target: Optional[str] = hint()
    pool: Optional[str] = hint()
    volume: Optional[str] = hint()


@frozen
class Interface:
    """One network interface, on a libvirt network or on a host bridge. `link` is up or down.

    `addresses` (with their prefix lengths), `gateways` and `nameservers` are for the guest's first
    boot.

    Without either it is one of another kind, which a manifest names by its MAC and leaves alone;
    `uplink` (observed only) says what it is on then, like `macvtap on eno1`.
    """

    name: str
    network: Optional[str] = None
    bridge: Optional[str] = None
    model: Optional[str] = None
    mac: Optional[str] = None
    link: Optional[str] = None
    boot: Optional[int] = None
    alias: Optional[str] = hint()
    uplink: Optional[str] = hint()
    addresses: Tuple[str, ...] = field(default=(), metadata={"compared": False})
    gateways: Tuple[str, ...] = field(default=(), metadata={"compared": False})
    nameservers: Tuple[str, ...] = field(default=(), metadata={"compared": False})


@frozen
class Overlay:
    """The escape hatch: an XML fragment merged into the element that `xpath` names.

    `xpath` is absolute and names one parent element (`/domain/devices/memballoon`); `fragment` is
    one element, whose attributes and text are set in the child of the same tag, the rest of
    which stays. It has a token for each secret. `present=False` means that what `xpath` names shall
    not be there.
    """

    xpath: str
    fragment: str = ""
    present: bool = True


@frozen
class Machine:
    """A virtual machine, wanted or found.

    `credentials` are those of systemd, by name, as JSON with sorted keys.
    `firmware_open` (observed only) says that whether UEFI is with Secure Boot is not decided.
    """

    name: str
    uuid: Optional[str] = None
    os: Optional[str] = hint()
    power: Optional[Power] = None
    autostart: Optional[bool] = None
    machine: Optional[str] = None
    firmware: Optional[str] = None
    cpus: Optional[Cpus] = None
    memory: Optional[Memory] = None
    disks: Optional[Tuple[Disk, ...]] = None
    cdroms: Optional[Tuple[Cdrom, ...]] = None
    interfaces: Optional[Tuple[Interface, ...]] = None
    guest_agent: Optional[bool] = None
    console: Optional[bool] = None
    graphics: Optional[str] = None
    graphics_password: Optional[Secret] = None
    video: Optional[str] = None
    rng: Optional[bool] = None
    tpm: Optional[bool] = None
    credentials: Optional[str] = None
    firmware_open: Optional[bool] = hint()
    overlays: Tuple[Overlay, ...] = field(default=(), metadata={"compared": False})


def describe_device(device: Union[Disk, Cdrom, Interface], about: str = "") -> str:
    """Return like `virtio 60GiB, linked clone of template win2016 as default/vm-root.qcow2`."""
    words = [word for word in _words(device) if word]
    return ", ".join(part for part in (" ".join(words), about) if part)


def _words(device: Union[Disk, Cdrom, Interface]) -> Iterable[Optional[str]]:
    if isinstance(device, Disk):
        return (device.bus, format_size(device.size) if device.size else None)
    if isinstance(device, Cdrom):
        return (device.bus, device.media or "empty")
    return (
        *_source(device),
        device.model,
        device.mac,
        (device.link == "down" and "link down") or None,
    )


def _source(device: Interface) -> Tuple[Optional[str], ...]:
    if device.bridge:
        return ("bridge", device.bridge)
    return ("network", device.network) if device.network else (device.uplink,)


def chipset_of(machine: str) -> str:
    """Return the chipset of a machine type: `q35`, `pc` (i440FX), or the type itself.

    `q35` of `pc-q35-rhel9.6.0`, `pc` of `pc-i440fx-7.2` and of the old `pc-1.2`.
    """
    if "q35" in machine:
        return "q35"
    return "pc" if machine == "pc" or machine.startswith("pc-") else machine


def refuse_machine(machine: str, there: Sequence[str]) -> TerminalError:
    """Return the error for a machine type that is not among those that are there."""
    more = f" and {len(there) - _TYPES_SHOWN} more" if len(there) > _TYPES_SHOWN else ""
    names = ", ".join(there[:_TYPES_SHOWN]) + more
    import difflib  # noqa: PLC0415 - start-up time

    near = difflib.get_close_matches(machine, there, n=3)
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    return TerminalError(
        f"machine type {machine!r} is not available on this host; available: {names}{nearest}"
    )
