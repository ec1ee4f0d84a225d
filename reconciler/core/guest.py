"""What is known of the inside of a running guest: the values, and the port that brings them. Pure.

Everything here comes from the guest itself, which may be hostile: texts are data for people, and no
plan depends on them.
"""

from __future__ import annotations

from enum import Enum
from typing import Callable, Mapping, Optional, Protocol, Sequence, Tuple

from reconciler.core.frozen import frozen, replace

_PARTS = 50  # of a file system: a change of less than one is not told
WINDOWS = "mswindows"  # the agent's `id` of every Windows

STORAGE_DRIVERS: Mapping[str, str] = {"virtio": "viostor", "scsi": "vioscsi"}
"""The driver of virtio-win's that a disk on a bus needs in a Windows."""
STORAGE_MODULES: Mapping[str, str] = {"virtio": "virtio_blk", "scsi": "virtio_scsi"}
"""The kernel module that it needs in a Linux."""
NETWORK_MODULE = "virtio_net"
"""The kernel module that a network card on virtio needs in a Linux."""

# What a report may lack; the words of `Unseen.what`.
SYSTEM, HOST_NAME = "operating system", "host name"
INTERFACES, DISKS, FILE_SYSTEMS = "network interfaces", "disks", "file systems"
CLOUD_INIT = "cloud-init"


class AgentState(Enum):
    """How a guest's agent answers.

    SILENT is connected and did not answer in time; BUSY is used by somebody else for a long time.
    """

    OFF = "the guest does not run"
    NONE = "the domain has no channel for it"
    DISCONNECTED = "not connected"
    SILENT = "does not answer"
    BUSY = "busy"
    ANSWERS = "answers"


class AddressSource(Enum):
    """Who named the addresses of an interface: the guest, a DHCP server of libvirt's, the host."""

    AGENT = "agent"
    LEASE = "lease"
    ARP = "arp"


class CloudInitState(Enum):
    """How far cloud-init is in this boot. ABSENT: the guest shows no sign of it."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@frozen
class Unseen:
    """Something that could not be seen, and why: `disks`, `the guest does not allow …`."""

    what: str
    why: str


@frozen
class GuestInterface:
    """A network interface. `name` is the guest's, empty where only the host has told of it.

    `addresses` have their prefix lengths, `192.0.2.10/24`; all are of one `source`.
    """

    mac: str
    name: str = ""
    addresses: Tuple[str, ...] = ()
    source: AddressSource = AddressSource.AGENT


@frozen
class GuestDisk:
    r"""A whole disk: `/dev/vda`, `\\.\PhysicalDrive0`.

    `bus` is the agent's word and `serial` as the guest has it, where udev may have put the model
    before it; `pci` is the address of the disk's controller, `0000:05:00.0`. Empty: not known.
    """

    device: str
    bus: str = ""
    serial: str = ""
    pci: str = ""


@frozen
class FileSystem:
    """A mounted file system, in bytes. `device` is `vda1` or `dm-0`, `disks` what it lies on."""

    mountpoint: str
    type: str = ""
    device: str = ""
    size: Optional[int] = None
    used: Optional[int] = None
    disks: Tuple[str, ...] = ()


@frozen
class CloudInitReport:
    """How cloud-init ended, and with which errors; `stage` is what it does while it runs.

    `finished` is the instance-id that was asked for, if its first boot is over.
    """

    state: CloudInitState = CloudInitState.UNKNOWN
    errors: Tuple[str, ...] = ()
    stage: str = ""
    finished: str = ""


@frozen
class DriverProbe:
    """What a guest is asked for during a staged bus change.

    That is the new bus of its disks with the helper disk's serial, and the helper card's MAC; each
    is empty where no such device is moved.
    """

    bus: str
    serial: str
    mac: str = ""


@frozen
class GuestDriver:
    """A driver that a Windows names for a device; `device` is vendor and device: `1af4:1042`."""

    name: str
    version: str = ""
    device: str = ""


@frozen
class DriverReport:
    """What a guest has shown of the driver that was probed for, in libvirt's run number `run`.

    `is_started` says whether the system starts it at boot, None where that was not seen; `about` is
    why not, or what was inspected. `hindrance` is why the agent cannot install it; empty if it can.
    """

    probe: DriverProbe
    run: str = ""
    drivers: Tuple[GuestDriver, ...] = ()
    is_started: Optional[bool] = None
    about: str = ""
    hindrance: str = ""


@frozen
class GuestReport:
    """What one look into a guest has shown.

    `os` is its name for people, `system` the agent's id (`rocky`, `mswindows`), `machine` the
    architecture (`x86_64`), empty if it is not known. `unseen` says what
    could not be seen, and why. What lacks and is not in `unseen` is not there. `driver` is there
    during a staged bus change.
    """

    agent: AgentState = AgentState.NONE
    version: str = ""
    os: str = ""
    system: str = ""
    machine: str = ""
    host_name: str = ""
    interfaces: Tuple[GuestInterface, ...] = ()
    disks: Tuple[GuestDisk, ...] = ()
    file_systems: Tuple[FileSystem, ...] = ()
    cloud_init: CloudInitReport = CloudInitReport()
    unseen: Tuple[Unseen, ...] = ()
    driver: Optional[DriverReport] = None

    @property
    def answers(self) -> bool:
        """Whether the agent answers."""
        return self.agent is AgentState.ANSWERS

    @property
    def is_windows(self) -> bool:
        """Whether it is a Windows."""
        return self.system == WINDOWS

    def find_unseen(self, what: str) -> str:
        """Return why something could not be seen; empty if it was."""
        return next((unseen.why for unseen in self.unseen if unseen.what == what), "")

    def find_addresses(self, mac: str) -> Tuple[str, ...]:
        """Return the addresses of an interface."""
        mac = mac.lower()
        found = (interface for interface in self.interfaces if interface.mac == mac)
        return tuple(address for interface in found for address in interface.addresses)


@frozen
class GuestView:
    """The condition `GuestReady` of one machine, and the report that it was judged by.

    `ready` is None where nothing is known. `reasons` say what is missing, or of a guest that is
    ready what could not be seen; `is_booting` that time may mend all of it.
    """

    ready: Optional[bool] = None
    reasons: Tuple[str, ...] = ()
    report: GuestReport = GuestReport()
    is_booting: bool = False

    @property
    def reason(self) -> str:
        """The reasons as one text."""
        return "; ".join(self.reasons)

    @property
    def is_final(self) -> bool:
        """Whether this boot cannot end with a guest that is ready: its cloud-init has failed."""
        return not self.ready and self.report.cloud_init.state is CloudInitState.FAILED


def keep_sizes(former: GuestView, now: GuestView) -> GuestView:
    """Return what is seen now with the former sizes of file systems in use that differ little.

    What is written to the disk at each little change of them tells nobody more.
    """
    known = {mounted.mountpoint: mounted for mounted in former.report.file_systems}
    mounted = tuple(
        replace(each, used=_round_used(known.get(each.mountpoint), each))
        for each in now.report.file_systems
    )
    return replace(now, report=replace(now.report, file_systems=mounted))


def _round_used(former: Optional[FileSystem], now: FileSystem) -> Optional[int]:
    if former is None or former.used is None or now.used is None or not now.size:
        return now.used
    return former.used if abs(now.used - former.used) * _PARTS < now.size else now.used


def is_link_local(address: str) -> bool:
    """Whether nobody can reach the address but from the same link, so that it proves nothing."""
    return address.lower().startswith(("fe80:", "169.254."))


@frozen
class FirstBoot:
    """What is known of a first boot with a seed, at the time `now`; finished as its agent says.

    `lack` is why the agent did not say it; empty if it did, or was not asked.
    """

    now: float = 0.0
    is_finished: bool = False
    lack: str = ""


@frozen
class GuestProof:
    """What is known of a guest during a staged bus change, at the time `now` since the epoch.

    `report` is the last look into it. `written` are the bytes that it has written to the moved
    disks since it was started, None where that is not known.
    """

    now: float = 0.0
    report: GuestReport = GuestReport()
    written: Optional[int] = None


ANY_DRIVE = "X:"
"""Stands for the drive of a Windows that has the file: which one it is, only the guest knows."""


@frozen
class ProgramEnd:
    """How a program in a guest ended, with what it wrote.

    `status` is its exit status, None where that is not known; then `lack` says why.
    """

    status: Optional[int] = None
    output: str = ""
    lack: str = ""


class Guests(Protocol):
    """The running guests of a host, by their agents.

    No call but `run` waits longer than some seconds for one agent, whatever the guest does.
    """

    def read(
        self, name: str, instance: str = "", probe: Optional[DriverProbe] = None
    ) -> GuestReport:
        """Look into a domain's guest; `instance` is the instance of cloud-init's to ask about.

        Raises NotFoundError where there is no such domain, TransientError where libvirt cannot be
        asked. What the guest does not tell is in the report.
        """

    def is_boot_finished(self, name: str, instance: str) -> bool:
        """Whether the agent says that cloud-init has finished as that instance."""

    def find_driver(self, name: str, probe: DriverProbe) -> GuestReport:
        """Return what the guest shows of a driver, now or when it was last looked into."""

    def run(
        self,
        name: str,
        path: str,
        arguments: Sequence[str],
        limit: float,
        sleep: Callable[[float], None],
    ) -> ProgramEnd:
        """Run a program in a domain's guest, and wait at most so many seconds for its end.

        An argument that begins with `ANY_DRIVE` is a file on one of the guest's drives. Raises
        TransientError where libvirt cannot be asked; what the guest does not do is in the result.
        """


class NoGuests:
    """Implements `Guests` where nobody can be asked: a recorded host, another program's test."""

    def read(  # the port's shape
        self,
        name: str,  # noqa: ARG002
        instance: str = "",  # noqa: ARG002
        probe: Optional[DriverProbe] = None,  # noqa: ARG002
    ) -> GuestReport:
        """Know nothing."""
        return GuestReport()

    def is_boot_finished(self, name: str, instance: str) -> bool:  # noqa: ARG002
        """Know nothing."""
        return False

    def find_driver(self, name: str, probe: DriverProbe) -> GuestReport:  # noqa: ARG002
        """Know nothing."""
        return GuestReport()

    def run(
        self,
        name: str,  # noqa: ARG002
        path: str,  # noqa: ARG002
        arguments: Sequence[str],  # noqa: ARG002
        limit: float,  # noqa: ARG002
        sleep: Callable[[float], None],  # noqa: ARG002
    ) -> ProgramEnd:
        """Run nothing."""
        return ProgramEnd(lack="the guest cannot be reached from here")
