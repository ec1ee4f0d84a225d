"""Hold a machine against what the host offers for its machine type, before anything is done.

Each refusal names the field, what is not on offer, and what is. A field that is not said is not
checked, so a part of a machine can be checked too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Iterable, Iterator, Optional, Tuple

from reconciler.core.domain.build import default_cache
from reconciler.core.domain.bus import SERIAL_LIMITS
from reconciler.core.domain.sound import find_unsound
from reconciler.core.machine_types import chipset_of
from reconciler.core.model import Cpus, Disk, Machine
from reconciler.core.world import MachineCaps

Check = Callable[[Machine, MachineCaps], Iterator[str]]


def check_offer(machine: Machine, caps: MachineCaps) -> Tuple[str, ...]:
    """Return why this host cannot run the machine; empty if it can."""
    return tuple(refusal for check in _CHECKS for refusal in check(machine, caps))


def _check_disks(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    for disk in machine.disks or ():
        yield from _offered(f"disks[{disk.name}].bus", disk.bus, caps.disk_buses, caps)
        yield from _check_serial(disk)
        yield from find_unsound(replace(disk, cache=disk.cache or default_cache(disk)))


def _check_serial(disk: Disk) -> Iterator[str]:
    limit = SERIAL_LIMITS.get(disk.bus or "")
    if limit is not None and disk.serial is not None and len(disk.serial.encode()) > limit:
        yield (
            f"disks[{disk.name}].serial: {disk.serial!r} is longer than the {limit} characters "
            f"that a guest sees on bus {disk.bus}"
        )


def _check_cdroms(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    for cdrom in machine.cdroms or ():
        yield from _offered(f"cdroms[{cdrom.name}].bus", cdrom.bus, caps.cdrom_buses, caps)


def _check_firmware(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    if machine.firmware in (None, "bios"):
        return
    yield from _offered("firmware", machine.firmware, caps.firmware | {"bios"}, caps)
    if machine.firmware == "uefi-secure" and chipset_of(caps.machine) != "q35":
        yield f"firmware: uefi-secure needs machine q35, this is {caps.machine}"


def _check_cpus(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    cpus = machine.cpus or Cpus()
    most = max(cpus.maximum or 0, cpus.count or 0)
    if most > caps.vcpu_max:
        field = "cpus.maximum" if (cpus.maximum or 0) == most else "cpus.count"
        yield f"{field}: {most} is more than the {caps.vcpu_max} that {caps.machine} can have"
    yield from _check_topology(cpus, most)
    yield from _offered("cpus.mode", cpus.mode, caps.cpu_modes, caps)


def _check_topology(cpus: Cpus, most: int) -> Iterator[str]:
    given = [one for one in (cpus.sockets, cpus.cores, cpus.threads) if one is not None]
    product = 1
    for one in given:
        product *= one
    complete = len(given) == len(("sockets", "cores", "threads"))
    if most and given and (product != most if complete else most % product):
        yield (
            f"cpus: sockets x cores x threads must make {most}, the most processors that the "
            f"machine can have; what is given makes {product}"
        )


def _check_displays(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    yield from _offered("graphics", machine.graphics, caps.graphics | {"none"}, caps)
    yield from _offered("video", machine.video, caps.video | {"none"}, caps)


def _check_switches(machine: Machine, caps: MachineCaps) -> Iterator[str]:
    for name, wanted, there in (("tpm", machine.tpm, caps.tpm), ("rng", machine.rng, caps.rng)):
        if wanted and not there:
            yield f"{name}: not on offer for {caps.machine} on this host"


def _offered(
    path: str, wanted: Optional[str], offered: Iterable[str], caps: MachineCaps
) -> Iterator[str]:
    there = sorted(offered)
    if wanted is not None and wanted not in there:
        yield f"{path}: {wanted} is not on offer for {caps.machine}; on offer: {', '.join(there)}"


_CHECKS: Tuple[Check, ...] = (
    _check_disks,
    _check_cdroms,
    _check_firmware,
    _check_cpus,
    _check_displays,
    _check_switches,
)
