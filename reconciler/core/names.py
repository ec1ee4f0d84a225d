"""Names and addresses that are derived and never stored, and the mark of ownership as a value.

Each derived name is a pure function of names in the manifest, so that every pass, every host and
every plan comes to the same value. A change here would change machines that exist: the tests pin
values.
"""

from __future__ import annotations

import hashlib
import json
from typing import FrozenSet, Mapping, Optional, Tuple
from urllib.parse import parse_qs, quote, urlsplit

from reconciler.core.frozen import frozen, regex
from reconciler.core.units import show_time
from reconciler.errors import TerminalError

QUIET = 600.0  # seconds without a sign after which a run on another machine counts as dead


@frozen
class Worker:
    """One run of virt-reconciler that works on an object.

    `machine` stands for the boot of the machine and the namespace in which `process` is counted;
    `started` is when that process began, in clock ticks since the boot: a number that was given
    again has another. `since` is when it began with the object, in seconds since the epoch.
    """

    machine: str
    host: str
    process: int
    started: int
    verb: str
    since: float = 0.0

    @property
    def identity(self) -> Mapping[str, object]:
        """What tells this run from every other."""
        return {"machine": self.machine, "process": self.process, "started": self.started}

    def describe(self) -> str:
        """Return `pid 123, apply, since 2026-11-26T12:03:00Z`."""
        since = f", since {show_time(self.since)}" if self.since else ""
        return f"pid {self.process}, {self.verb}{since}"


def describe_busy(name: str, worker: Optional[Worker]) -> str:
    """Say that another run of virt-reconciler works on an object now."""
    who = worker.describe() if worker else "an unknown process"
    return f"another virt-reconciler works on {name} ({who}); try again when it has ended"


def describe_unseen(name: str, worker: Worker, last: float) -> str:
    """Say that a run on another machine may still make volumes; `last` is its last sign."""
    until = show_time(last + QUIET)
    return (
        f"another virt-reconciler on {worker.host} ({worker.describe()}) makes volumes of {name}; "
        f"whether it still runs cannot be seen from here. If they have not grown by {until}, "
        "it counts as stopped: apply again then"
    )


MAC_PREFIX = "52:54:00"
MARK_NAMESPACE = "urn:virt-reconciler:domain:1"  # of our element in <metadata>
MARK_PREFIX = "vr"
ALIAS_PREFIX = "ua-"
_ALIAS_NAME = regex(r"[A-Za-z0-9_-]+")
_SUFFIXES = {"": "", "raw": ".img"}
IMAGES = ("qcow2", "raw", "")  # what the name of a volume that we made may tell of its format


def derive_mac(machine: str, interface: str) -> str:
    """Return the MAC of an interface for which the manifest gives none.

    QEMU's prefix 52:54:00, then the first three bytes of sha256 over both names with a zero byte
    between. A clash with another domain is found by the planner, which sees every MAC of the host.
    """
    seed = hashlib.sha256(f"{machine}\0{interface}".encode()).digest()
    return ":".join((MAC_PREFIX, *(f"{byte:02x}" for byte in seed[:3])))


def volume_name(machine: str, disk: str, image: str) -> str:
    """Return the name of the volume made for a disk: `MACHINE-DISK.qcow2`, or .img for raw.

    An empty `image` is for pools that hold no files, where a suffix means nothing.
    """
    return f"{machine}-{disk}{_SUFFIXES.get(image, f'.{image}')}"


def alias_of(name: str) -> str:
    """Return the user alias that carries a device's name.

    libvirt drops an alias with any other character without a word, and the device would have lost
    its identity; so such a name is refused.
    """
    if not is_alias_name(name):
        raise TerminalError(
            f"device name {name!r}: only letters, digits, '-' and '_' are allowed in libvirt's "
            "alias"
        )
    return f"{ALIAS_PREFIX}{name}"


def is_alias_name(name: str) -> bool:
    """Whether a user alias can carry the name."""
    return _ALIAS_NAME.fullmatch(name) is not None


def name_of(alias: Optional[str]) -> Optional[str]:
    """Return the name that a user alias carries; None for libvirt's own aliases (`net0`)."""
    if alias is None or not alias.startswith(ALIAS_PREFIX):
        return None
    return alias[len(ALIAS_PREFIX) :]


def name_place(host: str, uri: str) -> str:
    """Return a name for a host's driver that is the same by every way there: `qemu-system-kvm01`.

    `host` is the name that libvirt reports. Of what a URI may say besides, only a socket that is
    not libvirt's usual one leads elsewhere.
    """
    parts = urlsplit(uri)
    sockets = parse_qs(parts.query).get("socket", [])
    other = [
        socket
        for socket in sockets
        if not socket.startswith(("/run/libvirt/", "/var/run/libvirt/"))
    ]
    words = [parts.scheme.partition("+")[0], parts.path.strip("/"), host]
    words += [f"socket={socket}" for socket in other]
    return quote("-".join(word for word in words if word), safe=" _-").replace(".", "%2E")


# The fields of a manifest that are for the first boot.
CLOUD_INIT, IGNITION, WINDOWS = "cloudInit", "ignition", "windows"
IGNITION_SUFFIX = ".ign"  # of the volume
_ANSWERS = regex(r".*-unattend(-\d+)?\.iso")  # the volume of an answer file
NAMED = "windows:"  # before a computer name: whether a Windows that is called so has set itself up
IS_ON, SNAPSHOT = " is on ", "external snapshot "  # in the note of a disk on a snapshot
BUS_CHANGE = "busChange"  # the lines of a staged bus change in a plan
# The names of its devices, which no manifest can use, and which only its own plan looks at.
HELPER, DRIVER_CD = "bus-change-helper", "bus-change-drivers"
HELPER_CARD = "bus-change-card"
HELPER_SIZE = 2**30
HELPER_SUFFIX = "-bus-change.qcow2"  # of the helper's volume


def name_seed_field(volume: str) -> str:
    """Return the field of the manifest that a volume beside the disks is made for."""
    if volume.endswith(HELPER_SUFFIX):
        return BUS_CHANGE
    if volume.endswith(IGNITION_SUFFIX):
        return IGNITION
    return WINDOWS if _ANSWERS.fullmatch(volume) else CLOUD_INIT


@frozen
class SeedMark:
    """What the guest was given for its first boot: its instance-id and the digest of its files.

    `count` is the number of instances that the machine has been. `pool`, `volume` and `path` are
    those of the seed's volume, empty once the seed is removed. `since` is when the guest was first
    seen running with it, in seconds since the epoch; 0: not yet.
    """

    instance: str
    digest: str
    count: int = 1
    pool: str = ""
    volume: str = ""
    path: str = ""
    since: int = 0
    secrets: str = ""

    @property
    def field(self) -> str:
        """The manifest's field that it is made of."""
        return name_seed_field(self.volume)

    @property
    def is_attached(self) -> bool:
        """Whether there is a volume, and a drive for it in the definition."""
        return bool(self.path)


@frozen
class MovedDevice:
    """A disk or card that a staged bus change moves: its name, and its former element.

    `target` is what a disk has on the new bus, or the MAC of a card; empty before the switch.
    """

    name: str
    xml: str
    target: str = ""

    @property
    def is_card(self) -> bool:
        """Whether it is a network card."""
        return self.xml.startswith("<interface")


@frozen
class BusChangeMark:
    """How far a staged bus change is; all times are seconds since the epoch, 0 means not yet.

    Disks go to `bus`, cards to `model`; each is empty where none of its kind is moved. `serial` is
    that of the helper disk, whose volume is `path`, `mac` that of the helper card (both empty once
    they are removed), `media` the CD-ROM with drivers. `begun` is when the change began,
    `installed` when a program was last run in the guest to install them, with its `install_result`
    (empty: not known), `proved` when the guest showed the helpers, with the `driver` that it named.
    `resumes` says that the guest ran and was shut down for the change. `switched` is when the
    devices were moved, `started` when the guest was first seen running on them, `overdue` what it
    lacked when its time was over and it was not turned off. `failed` is why the change ended before
    its end, with the manifest of that `generation`; while `switched` is set, the way back is still
    to be made.
    """

    bus: str = ""
    serial: str = ""
    model: str = ""
    mac: str = ""
    pool: str = ""
    volume: str = ""
    path: str = ""
    media: str = ""
    begun: int = 0
    installed: int = 0
    install_result: str = ""
    driver: str = ""
    proved: int = 0
    resumes: bool = False
    switched: int = 0
    started: int = 0
    overdue: str = ""
    failed: str = ""
    generation: str = ""
    moved: Tuple[MovedDevice, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether it ended before its end, and nothing of it is left in the domain."""
        return bool(self.failed) and not (self.path or self.mac or self.switched)

    @property
    def aim(self) -> str:
        """What its devices are moved to: `virtio`, `scsi and virtio`."""
        return " and ".join(dict.fromkeys(filter(None, (self.bus, self.model))))

    @property
    def what(self) -> str:
        """What is moved, in the plural: `disks and cards`."""
        return " and ".join(filter(None, (self.bus and "disks", self.model and "cards")))

    @property
    def former(self) -> str:
        """What comes back where the change fails."""
        if self.bus and self.model:
            return "former definition"
        return "former bus" if self.bus else "former model"

    @property
    def helpers(self) -> str:
        """The devices on which the guest is to show its drivers: `helper disk and card`."""
        named = filter(None, (self.bus and "disk", self.model and "card"))
        return f"helper {' and '.join(named)}"

    @property
    def are(self) -> str:
        """The verb that follows `helpers`."""
        return "are" if self.bus and self.model else "is"

    @property
    def own(self) -> Tuple[str, ...]:
        """The names of the devices on which the guest is to show its drivers."""
        named = (HELPER if self.serial else "", HELPER_CARD if self.mac else "")
        return tuple(filter(None, named))

    @property
    def targets(self) -> Tuple[str, ...]:
        """The targets of the moved disks on their new bus."""
        return tuple(disk.target for disk in self.moved if disk.target and not disk.is_card)

    @property
    def names(self) -> FrozenSet[str]:
        """The names of the devices that are moved."""
        return frozenset(device.name for device in self.moved)


@frozen
class Owner:
    """What the domain's metadata says of the manifest it follows.

    `name` is the manifest's; a domain of another name (a copy made by hand) is not ours.
    `generation` and `spec` are those last applied in full. `creating` are paths of volumes that
    were being made; they are unfinished if the mark is still there in a later pass. `revision` is
    the Git commit that was applied then, None where it was not known. `made` are paths of volumes
    that were made for the machine, there being none before: only those are ever deleted with it.
    `worker` is the run that makes or made the volumes in `creating`. `formerly` are the names that
    the machine had before it was renamed: its volumes may be called by them. `is_unfinished` says
    that the machine itself is being created: its definition lacks the disks whose volumes are not
    complete. `seed` is None of a machine that was never given one. `secrets` says of each secret
    that the spec names which it was, as a digest with the host's key. `bus_change` is how far a
    staged bus change is, None where none is under way.
    """

    name: str
    generation: str
    spec: str = "{}"
    os: Optional[str] = None
    creating: Tuple[str, ...] = ()
    revision: Optional[str] = None
    made: Tuple[str, ...] = ()
    worker: Optional[Worker] = None
    formerly: Tuple[str, ...] = ()
    is_unfinished: bool = False
    seed: Optional[SeedMark] = None
    secrets: Tuple[Tuple[str, str], ...] = ()
    bus_change: Optional[BusChangeMark] = None

    @property
    def names(self) -> Tuple[str, ...]:
        """The machine's names, the present one first."""
        return (self.name, *self.formerly)

    @property
    def disks(self) -> FrozenSet[str]:
        """Names of the disks that the last applied spec gave the machine."""
        try:
            return frozenset(disk["name"] for disk in json.loads(self.spec).get("disks", ()))
        except (ValueError, TypeError, AttributeError, KeyError):
            return frozenset()  # somebody edited it: we know of none
