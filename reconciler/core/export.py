"""A manifest out of a domain that exists: only what creating it anew would not give by itself.

Pure. A plan of the exported manifest is empty: each device keeps the name by which it is found
again, and a list that could not be exported as a whole is left out, because a list that is given
is complete for what it names.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional, Tuple

from reconciler.core.export_devices import (
    Spec,
    export_cdrom,
    export_disk,
    export_interfaces,
    given,
    word,
)
from reconciler.core.guests import is_windows, needs_tpm
from reconciler.core.model import Cpus, Machine, Memory
from reconciler.core.units import format_size
from reconciler.core.world import Reading

API_VERSION = "virt-reconciler/v1"
DEFAULT_CPU_MODES = frozenset({"host-passthrough", "maximum"})


def export_machine(reading: Reading, sizes: Mapping[str, int]) -> Spec:
    """Return the manifest of a domain; `sizes` maps a `size_key` to bytes, where known."""
    machine = reading.persistent
    spec: Spec = {
        "os": _os(reading),
        "power": "running" if reading.is_running else None,
        "autostart": True if reading.view.autostart else None,
        "machine": machine.machine,
        "firmware": None if machine.firmware == "bios" else machine.firmware,
        "cpus": _cpus(machine.cpus or Cpus()),
        "memory": _memory(machine.memory or Memory()),
        "disks": [export_disk(one, sizes) for one in machine.disks or ()] or None,
        "cdroms": [export_cdrom(one) for one in machine.cdroms or ()] or None,
        "interfaces": export_interfaces(machine),
    }
    spec.update(_extras(machine, _os(reading)))
    return {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachine",
        "metadata": {"name": machine.name},
        "spec": given(spec),
    }


def _os(reading: Reading) -> Optional[str]:
    return reading.owner.os if reading.owner else None


def _extras(machine: Machine, os: Optional[str]) -> Spec:
    """Return the devices that differ from what a new machine of that system gets."""
    windows = is_windows(os)
    found: Tuple[Tuple[str, Any, Any], ...] = (
        ("guestAgent", machine.guest_agent, True),
        ("console", machine.console, True),
        ("graphics", word("graphics", machine.graphics), "vnc"),
        ("video", word("video", machine.video), "vga" if windows else "virtio"),
        ("rng", machine.rng, not windows),
        ("tpm", machine.tpm, needs_tpm(os)),
    )
    return {key: value for key, value, default in found if value not in (None, default)}


def _cpus(cpus: Cpus) -> Any:
    more = given(
        {
            "maximum": cpus.maximum if cpus.maximum != cpus.count else None,
            **(_topology(cpus) if has_plain_topology(cpus) else {}),
            "mode": None if cpus.mode in DEFAULT_CPU_MODES else cpus.mode,
            "model": cpus.model if cpus.mode == "custom" else None,
        }
    )
    return {"count": cpus.count, **more} if more else cpus.count


def _topology(cpus: Cpus) -> Spec:
    return {"sockets": cpus.sockets, "cores": cpus.cores, "threads": cpus.threads}


def has_plain_topology(cpus: Cpus) -> bool:
    """Whether sockets, cores and threads say it all (there are no dies or clusters, say)."""
    product = (cpus.sockets or 1) * (cpus.cores or 1) * (cpus.threads or 1)
    return cpus.sockets is None or product == (cpus.maximum or cpus.count)


def _memory(memory: Memory) -> Any:
    size = format_size(memory.size or memory.maximum or 0)
    if memory.maximum in (None, memory.size):
        return size
    return {"size": size, "maximum": format_size(memory.maximum or 0)}
