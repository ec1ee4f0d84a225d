"""A manifest out of a domain that exists: only what creating it anew would not give by itself.

Pure. A plan of the exported manifest is empty: each device keeps the name by which it is found
again, and a list that could not be exported as a whole is left out, because a list that is given
is complete for what it names.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from reconciler.core.domain.places import NAMESPACES
from reconciler.core.export_defaults import leave_out_defaults
from reconciler.core.export_devices import (
    Spec,
    export_cdroms,
    export_disks,
    export_interfaces,
    given,
)
from reconciler.core.guests import short_id
from reconciler.core.model import Cpus, Machine, Memory, Power
from reconciler.core.units import format_size
from reconciler.core.world import Reading, World
from reconciler.core.xmltree import Element, parse

API_VERSION = "virt-reconciler/v1"
# What libvirt writes down as the CPU of a domain of which nobody said one (qemuDomainDefaultCPU).
_LIBVIRTS_CPU = {"mode": "custom", "match": "exact", "check": "none"}
_LIBVIRTS_MODEL = "qemu64"


def export_machine(
    reading: Reading, sizes: Mapping[str, int], around: World, *, power: bool = False
) -> Spec:
    """Return the manifest of a domain; `power` asks for whether it runs.

    `sizes` maps a `size_key` to bytes, where known; `around` is the host as far as what is a
    default there depends on it, and what there is: machine types, networks, pools.
    """
    machine, root = reading.persistent, parse(reading.view.persistent_xml)
    manifest: Spec = {
        "apiVersion": API_VERSION,
        "kind": "VirtualMachine",
        "metadata": {"name": machine.name},
        "spec": given(
            {
                "os": _os(reading, root),
                "power": _power(reading) if power else None,
                "autostart": True if reading.view.autostart else None,
                "machine": machine.machine,
                "firmware": machine.firmware,
                "cpus": _cpus(machine.cpus or Cpus(), chosen=not is_libvirts_cpu(root)),
                "memory": _memory(machine.memory or Memory()),
                "disks": export_disks(reading, sizes, around),
                "cdroms": export_cdroms(machine, around),
                "interfaces": export_interfaces(machine),
                **_extras(machine),
            }
        ),
    }
    return leave_out_defaults(manifest, around)


def _power(reading: Reading) -> Optional[str]:
    """Return running or stopped; None of a guest in a state that no manifest asks for."""
    power = reading.persistent.power
    return str(power.value) if power in (Power.RUNNING, Power.STOPPED) else None


def _os(reading: Reading, root: Element) -> Optional[str]:
    """Return the system by our mark, else by what other tools wrote down, if that is certain."""
    if reading.owner and reading.owner.os:
        return reading.owner.os
    return short_id(find_osinfo(root) or "")


def find_osinfo(root: Element) -> Optional[str]:
    """Return libosinfo's full id of the system, as virt-install and Cockpit write it down."""
    uri = NAMESPACES["libosinfo"]
    found = root.find(f"metadata/{{{uri}}}libosinfo/{{{uri}}}os")
    return None if found is None else found.get("id")


def _extras(machine: Machine) -> Spec:
    return {
        "guestAgent": machine.guest_agent,
        "console": machine.console,
        "graphics": machine.graphics,
        "video": machine.video,
        "rng": machine.rng,
        "tpm": machine.tpm,
    }


def is_libvirts_cpu(root: Element) -> bool:
    """Whether the CPU is the one that libvirt itself filled in."""
    cpu = root.find("cpu")
    if cpu is None or any(cpu.get(name) != value for name, value in _LIBVIRTS_CPU.items()):
        return False
    return cpu.findtext("model") == _LIBVIRTS_MODEL and cpu.find("feature") is None


def _cpus(cpus: Cpus, *, chosen: bool) -> Any:
    return given(
        {
            "count": cpus.count,
            "maximum": cpus.maximum if cpus.maximum != cpus.count else None,
            **(_topology(cpus) if has_plain_topology(cpus) else {}),
            "mode": cpus.mode if chosen else None,
            "model": cpus.model if chosen and cpus.mode == "custom" else None,
        }
    )


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
