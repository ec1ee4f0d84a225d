"""The hypervisor driver: domains, their devices, what the host can do. Implements `Domains`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator, Mapping, Optional, Sequence, Tuple, Union

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import STORAGE, Connections
from reconciler.adapters.libvirt.domain_reader import (
    NOT_RUNNING,
    find_job,
    list_views,
    read_off_reason,
    read_sizes,
    read_snapshot,
    read_state,
    read_view,
)
from reconciler.core.images import SnapshotView
from reconciler.core.machine import refuse_machine
from reconciler.core.names import MARK_NAMESPACE, MARK_PREFIX
from reconciler.core.transfers import CopyDisks
from reconciler.core.units import format_size
from reconciler.core.world import DomainView, GuestState, MachineCaps, Unknown
from reconciler.core.xmltree import parse
from reconciler.errors import MissingError, RefusedError, TransientError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Connection, Domain
    from reconciler.control.ports import Progress

# What is said of a drive whose tray did not open: by QEMU ("Tray of device 'sata0-0-0' is not
# open", "is locked and force was not specified") and by libvirt, which waits 5 s for the guest
# ("timed out waiting to open tray of 'sda'", qemuHotplugWaitForTrayEject).
_TRAY = ("is not open", "is locked", "waiting to open tray")
# A guest that was asked may open its tray a moment later, and the next call finds it open; QEMU
# also loses this race now and then (https://gitlab.com/qemu-project/qemu/-/issues/933).
_TRAY_WAITS = (1.0, 2.0)  # seconds before each further try
# QEMU's words when a device was asked for before and the guest has not answered yet
# (softmmu/qdev-monitor.c, qmp_device_del). Our caller waits for the device to go either way.
_ALREADY_ASKED = "already in the process of unplug"
BYTES_WRITTEN = 3  # of what virDomainBlockStats returns


def update(domain: Domain, xml: str) -> None:
    """Change a device: its medium, its link. Raises TransientError if the tray stays shut."""
    for wait in _TRAY_WAITS:
        try:
            domain.updateDeviceFlags(xml, binding.AFFECT_LIVE)
        except binding.Error as error:
            if not _is_about_tray(error):
                raise
            SYSTEM_CLOCK.sleep(wait)
        else:
            return
    _update_at_last(domain, xml)


def detach(domain: Domain, xml: str) -> None:
    """Ask for a device back; that it was asked for before is no error."""
    try:
        domain.detachDeviceFlags(xml, binding.AFFECT_LIVE)
    except binding.Error as error:
        if _ALREADY_ASKED not in binding.message_of(error):
            raise


def set_vcpus(domain: Domain, count: int) -> None:
    """Plug processors in, or ask for them back.

    libvirt waits 5 s for the guest to give one back (qemuDomainRemoveDeviceWaitTime); a slow one
    does so later, which is no error. Our caller waits for it.
    """
    try:
        domain.setVcpusFlags(count, binding.AFFECT_LIVE)
    except binding.Error as error:
        if binding.code_of(error) != binding.OPERATION_TIMEOUT:
            raise


def _update_at_last(domain: Domain, xml: str) -> None:
    """Try for the last time.

    libvirt older than 9.3 (Debian 12, Rocky 9.2) opens no tray of a drive that was plugged into
    the running guest: it does not know that there is one until it is restarted, and forcing does
    not help (NEWS of 9.3.0, "Properly detect tray of hotplugged CD-ROM devices"; tried on 9.0).
    And when firmware or a driver resets the SCSI bus while the tray is open, QEMU shuts it without
    telling (scsi_disk_reset); libvirt takes it for open, and opens it never again.
    """
    try:
        domain.updateDeviceFlags(xml, binding.AFFECT_LIVE)
    except binding.Error as error:
        if not _is_about_tray(error):
            raise
        raise TransientError(
            f"domain {domain.name()}: the CD-ROM drive's tray stays shut: unmount the medium in "
            "the guest; or, of a drive that was reset while its tray was open, or that was plugged "
            "in while it ran, and libvirt is older than 9.3, restart libvirt's daemon "
            f"(libvirt: {binding.message_of(error)})"
        ) from error


def _is_about_tray(error: Exception) -> bool:
    message = binding.message_of(error)
    return any(words in message for words in _TRAY)


# What a manifest that names no machine type gets where the host has it: libvirt's own default on
# Rocky 9 is pc-i440fx-rhel7.6.0, which is deprecated.
PREFERRED_MACHINE = "q35"
_NO_MEMORY = "cannot allocate memory"  # QEMU's words, within libvirt's internal error


class LibvirtDomains:
    """Domains through one libvirt connection."""

    def __init__(self, connections: Connections) -> None:
        """Keep the connections; nothing is opened yet."""
        self._connections = connections

    @property
    def uri(self) -> str:
        """The connection's URI, as libvirt reports it."""
        return self._connections.uri

    @property
    def host(self) -> str:
        """The host's name."""
        with binding.calling("asking libvirt for the host's name"):
            return self._connection.getHostname()

    def list_domains(self) -> Mapping[str, Union[DomainView, Unknown]]:
        """Read every domain of the host, without disk sizes."""
        return list_views(self._connection)

    def read_domain(self, name: str) -> DomainView:
        """Read one domain anew. Raises NotFoundError only when libvirt says it is not there."""
        return read_view(self._connection, name)

    def read_disk_sizes(
        self, targets: Mapping[str, Tuple[str, ...]]
    ) -> Mapping[str, Mapping[str, int]]:
        """Return domain → target → virtual size for the targets asked for; unreadable ones lack."""
        return read_sizes(self._connection, lambda: self._connections.get(STORAGE), targets)

    def find_job(self, name: str) -> str:
        """Return the job under way on an active domain or its disks; empty if there is none."""
        with self._domain(name, "asking for its jobs") as domain:
            return find_job(domain) if domain.ID() != NOT_RUNNING else ""

    def count_written(self, name: str, targets: Sequence[str]) -> Optional[int]:
        """Return the bytes that a running guest has written; None where it is not known."""
        with self._domain(name, "asking what it has written") as domain:
            if domain.ID() == NOT_RUNNING:
                return None
            written = [domain.blockStats(target)[BYTES_WRITTEN] for target in targets]
            return sum(written) if written and min(written) >= 0 else None

    def read_off_reason(self, name: str) -> str:
        """Return why a domain is off, in the words of `virsh domstate --reason`; else empty.

        libvirt forgets it when its daemon is restarted: `unknown`.
        """
        with self._domain(name, "asking why it is off") as domain:
            return read_off_reason(domain)

    def list_machines(self) -> Tuple[str, ...]:
        """Return the machine types on offer, those without a version first."""
        from reconciler.adapters.libvirt import capabilities  # noqa: PLC0415 - start-up time

        with binding.calling("asking for the host's machine types"):
            xml = self._connection.getCapabilities()
        return tuple(capabilities.list_machines(xml, capabilities.host_arch(xml)))

    def read_memory(self) -> Optional[int]:
        """Return the bytes of memory that the host has, swap included; None if not known.

        The swap of a remote host cannot be asked for.
        """
        try:
            kib = self._connection.getMemoryStats(binding.ALL_CELLS)["total"]
        except (binding.Error, KeyError):
            return None
        if not self._connections.is_local:
            return kib * 1024
        from reconciler.adapters.libvirt import own_view  # noqa: PLC0415 - start-up time

        return kib * 1024 + own_view.read_swap()

    def read_caps(self, machine: str) -> MachineCaps:
        """Ask what the host offers for a machine type (`""`: its default)."""
        doing = f"asking what the host offers for machine type {machine or 'of its choice'}"
        with binding.calling(doing):
            try:
                return _ask_caps(self._connection, machine or PREFERRED_MACHINE)
            except binding.Error as error:
                if binding.code_of(error) != binding.INVALID_ARG:
                    raise
            if machine:
                raise refuse_machine(machine, self.list_machines())
            return _ask_caps(self._connection, None)

    def define(self, xml: str, *, validate: bool = True) -> None:
        """Store a definition; validating it against libvirt's schema takes it 8 ms."""
        name = parse(xml).findtext("name")
        with binding.calling(f"domain {name}: storing its definition"):
            self._connection.defineXMLFlags(xml, binding.DEFINE_VALIDATE if validate else 0)

    def undefine_new(self, name: str) -> None:
        """Take back a definition that this very action created.

        It was never started, so NVRAM and TPM state that are there are older than it, and stay.
        """
        with self._domain(name, "taking back its new definition") as domain:
            domain.undefineFlags(_undefine_flags(domain, keeps=True))

    def undefine(self, name: str) -> None:
        """Remove the definition of a domain that is off, with NVRAM, TPM state and saved state.

        Raises RefusedError if it runs: libvirt would undefine it, and it ran on as transient.
        """
        with self._domain(name, "removing its definition") as domain:
            if domain.ID() != NOT_RUNNING:
                raise RefusedError(f"domain {name}: it runs, and is only undefined when it is off")
            domain.undefineFlags(_undefine_flags(domain))

    def list_snapshots(self, name: str) -> Tuple[str, ...]:
        """Return what would be lost unseen, or forbids undefining: `snapshot X`, `checkpoint Y`."""
        with self._domain(name, "listing its snapshots") as domain:
            checkpoints = [checkpoint.getName() for checkpoint in domain.listAllCheckpoints()]
            snapshots = domain.snapshotListNames()
        found = [f"snapshot {snapshot}" for snapshot in snapshots]
        return tuple(sorted([*found, *(f"checkpoint {checkpoint}" for checkpoint in checkpoints)]))

    def read_snapshots(self, name: str) -> Tuple[SnapshotView, ...]:
        """Return the domain's snapshots, the oldest first."""
        with self._domain(name, "reading its snapshots") as domain:
            found = [read_snapshot(snapshot.getXMLDesc()) for snapshot in domain.listAllSnapshots()]
        return tuple(sorted(found, key=lambda snapshot: snapshot.created_at))

    def attach(self, name: str, xml: str) -> None:
        """Plug a device into the running guest."""
        with self._domain(name, "plugging in a device") as domain:
            domain.attachDeviceFlags(xml, binding.AFFECT_LIVE)

    def update(self, name: str, xml: str) -> None:
        """Change a device of the running guest."""
        with self._domain(name, "changing a device") as domain:
            update(domain, xml)

    def detach(self, name: str, xml: str) -> None:
        """Ask the running guest to let a device go; returns before it did."""
        with self._domain(name, "unplugging a device") as domain:
            detach(domain, xml)

    def copy_disks(self, step: CopyDisks, progress: Progress) -> None:
        """Copy disks of a running domain, which is afterwards as it was, whatever happens."""
        from reconciler.adapters.libvirt.live_copy import copy_disks  # noqa: PLC0415 - rarely used

        copy_disks(self._connections, step, progress)

    def set_vcpus(self, name: str, count: int) -> None:
        """Ask the running guest to use so many processors; may return before it does."""
        with self._domain(name, f"setting {count} processors online") as domain:
            set_vcpus(domain, count)

    def set_memory(self, name: str, kib: int) -> None:
        """Set the running guest's balloon target."""
        with self._domain(name, f"setting its memory to {format_size(kib * 1024)}") as domain:
            domain.setMemoryFlags(kib, binding.AFFECT_LIVE)

    def set_autostart(self, name: str, enabled: bool) -> None:  # noqa: FBT001 - the port's shape
        """Start the domain with the host, or not."""
        with self._domain(name, f"turning autostart {'on' if enabled else 'off'}") as domain:
            domain.setAutostart(int(enabled))

    def set_metadata(self, name: str, xml: str, live: bool) -> None:  # noqa: FBT001
        """Write our metadata element, persistent and, where asked, live."""
        flags = binding.AFFECT_CONFIG | (binding.AFFECT_LIVE if live else 0)
        with self._domain(name, "writing our mark in its metadata") as domain:
            domain.setMetadata(binding.METADATA_ELEMENT, xml, MARK_PREFIX, MARK_NAMESPACE, flags)

    def resize_block(self, name: str, target: str, capacity: int) -> None:
        """Grow a disk under the running guest; never shrinks."""
        with self._domain(name, f"growing disk {target} to {format_size(capacity)}") as domain:
            now = domain.blockInfo(target)[0]
            if now > capacity:
                raise RefusedError(
                    f"domain {name}: disk {target} is {format_size(now)}, more than "
                    f"{format_size(capacity)}; a disk is never shrunk"
                )
            domain.blockResize(target, capacity, binding.RESIZE_BYTES)

    def start(self, name: str) -> None:
        """Start a domain that is off."""
        with self._domain(name, "starting it") as domain:
            try:
                domain.create()
            except binding.Error as error:
                if _NO_MEMORY not in binding.message_of(error).lower():
                    raise
                raise MissingError(
                    f"domain {name}: starting it: not enough memory: the host has "
                    f"{self._find_free_memory()} free (virsh nodememstats)"
                ) from error

    def _find_free_memory(self) -> str:
        try:
            kib = self._connection.getMemoryStats(binding.ALL_CELLS)["free"]
        except (binding.Error, KeyError):
            return "too little"
        return format_size(kib // 1024 * 1024**2)

    def resume(self, name: str) -> None:
        """Let a paused guest go on; one that runs already is no error."""
        with self._domain(name, "resuming it") as domain:
            domain.resume()

    def wake(self, name: str) -> None:
        """Wake a guest that suspended itself to memory."""
        with self._domain(name, "waking it up") as domain:
            domain.pMWakeup()

    def shut_down(self, name: str) -> None:
        """Ask the guest to shut down, through its agent, else by ACPI; returns at once.

        That it has gone off meanwhile, or is about to, is no error: libvirt refuses to ask a guest
        that has just shut down, also where the agent's answer was lost with it.

        Without flags that is just what QEMU's driver does: the agent if its channel is there, the
        power button if not, or if the agent did not answer (qemuDomainShutdownFlags).
        """
        is_done = (GuestState.OFF, GuestState.SHUTTING_DOWN)
        with self._domain(name, "asking it to shut down") as domain, _or_in(domain, *is_done):
            domain.shutdown()

    def power_off(self, name: str) -> None:
        """Cut the power, if it is on. Only ever where the manifest allows it."""
        with self._domain(name, "cutting its power") as domain, _or_in(domain, GuestState.OFF):
            domain.destroy()

    @property
    def _connection(self) -> Connection:
        return self._connections.get()

    @contextmanager
    def _domain(self, name: str, doing: str) -> Iterator[Domain]:
        with binding.calling(f"domain {name}: {doing}", binding.NO_DOMAIN):
            yield self._connection.lookupByName(name)


@contextmanager
def _or_in(domain: Domain, *states: GuestState) -> Iterator[None]:
    """Let an error pass of a domain that is in one of these states, which is what was asked for."""
    try:
        yield
    except binding.Error:
        if read_state(domain)[0] not in states:
            raise


def _ask_caps(connection: Connection, machine: Optional[str]) -> MachineCaps:
    """Ask for the host's own emulator, architecture and best type (kvm where there is KVM)."""
    from reconciler.adapters.libvirt import capabilities  # noqa: PLC0415 - start-up time

    return capabilities.read_machine_caps(
        connection.getDomainCapabilities(None, None, machine, None)
    )


def _undefine_flags(domain: Domain, *, keeps: bool = False) -> int:
    """Return what undefine must be told to take along, or to keep; not every driver knows all."""
    xml = domain.XMLDesc(binding.XML_INACTIVE)
    flags = binding.UNDEFINE_SAVED if domain.hasManagedSaveImage() else 0
    if "<nvram" in xml or "firmware='efi'" in xml:
        flags |= binding.UNDEFINE_KEEP_NVRAM if keeps else binding.UNDEFINE_NVRAM
    if "<tpm" in xml:
        flags |= binding.UNDEFINE_KEEP_TPM if keeps else binding.UNDEFINE_TPM
    return flags
