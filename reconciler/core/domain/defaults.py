"""Fill in what a good virt-install would choose for a new machine of that operating system.

Only what nobody said is filled in, only with what the host offers, and only at creation: none of
it is managed afterwards. How it is written is `create`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.domain.build import default_cache
from reconciler.core.domain.targets import PREFIXES, letters
from reconciler.core.guests import is_windows, needs_tpm
from reconciler.core.identity import derive_mac
from reconciler.core.machine_types import chipset_of
from reconciler.core.model import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.world import MachineCaps
from reconciler.errors import TerminalError

DEFAULT_NETWORK = "default"

# First on offer wins. Windows has drivers for the plain cards only.
_VIDEO: Mapping[bool, Tuple[str, ...]] = {
    False: ("virtio", "vga", "bochs", "qxl", "cirrus"),
    True: ("vga", "bochs", "qxl", "cirrus"),
}
_GRAPHICS = ("vnc", "spice")
_CPU_MODES: Mapping[str, Tuple[str, ...]] = {
    "kvm": ("host-passthrough", "host-model", "maximum"),
    "qemu": ("maximum", "host-model"),
}
# Every system has drivers for the buses that the chipset brings along.
_CHIPSET_BUSES: Mapping[str, Tuple[str, ...]] = {
    "pc": ("ide", "sata", "scsi", "usb"),
    "q35": ("sata", "scsi", "usb"),
}
_OTHER_BUSES = ("scsi", "sata", "usb")
_FAST_BUSES = ("virtio", "scsi")
_WINDOWS_NICS: Mapping[str, str] = {"q35": "e1000e"}


def complete_machine(machine: Machine, caps: MachineCaps, networks: Mapping[str, bool]) -> Machine:
    """Return the machine with every choice made; images and sizes must be known by then."""
    disks, cdroms = _place(machine, caps)
    graphics = machine.graphics or _first(_GRAPHICS, caps.graphics) or "none"
    return replace(
        machine,
        machine=caps.machine,
        firmware=machine.firmware or "bios",
        cpus=_cpus(machine.cpus, caps),
        memory=_memory(machine),
        disks=disks,
        cdroms=cdroms,
        interfaces=_interfaces(machine, caps, networks),
        guest_agent=machine.guest_agent is not False,
        console=machine.console is not False,
        graphics=graphics,
        video=machine.video or _video(machine, caps, graphics),
        rng=_rng(machine, caps),
        tpm=needs_tpm(machine.os) and caps.tpm if machine.tpm is None else machine.tpm,
    )


def _cpus(cpus: Optional[Cpus], caps: MachineCaps) -> Cpus:
    given = cpus or Cpus()
    count = given.count or given.maximum or 1
    mode = given.mode or ("custom" if given.model else None)
    return replace(
        given,
        count=count,
        maximum=max(given.maximum or 0, count),
        mode=mode or _first(_CPU_MODES.get(caps.domain_type, ()), caps.cpu_modes),
    )


def _memory(machine: Machine) -> Memory:
    given = machine.memory or Memory()
    size = given.size or given.maximum
    if size is None:
        raise TerminalError("memory: required to create a machine")
    return Memory(size, max(given.maximum or 0, size))


def _video(machine: Machine, caps: MachineCaps, graphics: str) -> str:
    if graphics == "none":
        return "none"
    return _first(_VIDEO[is_windows(machine.os)], caps.video) or "none"


def _rng(machine: Machine, caps: MachineCaps) -> bool:
    return caps.rng and not is_windows(machine.os) if machine.rng is None else machine.rng


def _interfaces(
    machine: Machine, caps: MachineCaps, networks: Mapping[str, bool]
) -> Tuple[Interface, ...]:
    given = machine.interfaces
    if given is None:
        one = Interface(DEFAULT_NETWORK, network=DEFAULT_NETWORK)
        given = (one,) if DEFAULT_NETWORK in networks else ()
    return tuple(
        replace(
            one,
            model=one.model or _nic(machine, caps),
            mac=one.mac or derive_mac(machine.name, one.name),
        )
        for one in given
    )


def _nic(machine: Machine, caps: MachineCaps) -> str:
    if not is_windows(machine.os):
        return "virtio"
    return _WINDOWS_NICS.get(chipset_of(caps.machine), "e1000")


def _place(machine: Machine, caps: MachineCaps) -> Tuple[Tuple[Disk, ...], Tuple[Cdrom, ...]]:
    """Give every drive a bus and a target, disks first, in the manifest's order."""
    taken: Dict[str, int] = {}
    names: List[str] = [one.target for one in machine.disks or () if one.target]
    plain = _CHIPSET_BUSES.get(chipset_of(caps.machine), _OTHER_BUSES)
    best = plain if is_windows(machine.os) else (*_FAST_BUSES, *plain)
    disks = []
    for disk in machine.disks or ():
        bus = disk.bus or _first(best, caps.disk_buses) or "virtio"
        target = disk.target or _target(bus, taken, names)
        placed = replace(disk, bus=bus, target=target, discard=disk.discard or "unmap")
        disks.append(replace(placed, cache=default_cache(placed)))
    cdroms = []
    for cdrom in machine.cdroms or ():
        bus = cdrom.bus or _first(plain, caps.cdrom_buses) or "sata"
        target = cdrom.target or _target(bus, taken, names)
        cdroms.append(replace(cdrom, bus=bus, target=target, media=cdrom.media or ""))
    return tuple(disks), tuple(cdroms)


def _target(bus: str, taken: Dict[str, int], names: Sequence[str]) -> str:
    """Return the next target of the bus; names that the manifest gave are passed over."""
    prefix = PREFIXES.get(bus, "sd")
    while True:
        index = taken.get(prefix, 0)
        taken[prefix] = index + 1
        name = f"{prefix}{letters(index)}"
        if name not in names:
            return name


def _first(wanted: Sequence[str], offered: FrozenSet[str]) -> Optional[str]:
    return next((one for one in wanted if one in offered), None)
