"""A manifest out of a domain that exists: only what creating it anew would not give by itself.

A default is left out if the completed machine is the same without it. Where the host cannot say
what it offers, nothing is left out. What validation refuses is taken out as well. Pure.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

from reconciler.core.field_table import MACHINE, TABLES, in_order
from reconciler.core.frozen import regex
from reconciler.core.guests import short_id
from reconciler.core.machine import Cpus, Machine, Memory, Power
from reconciler.core.manifest import Place
from reconciler.core.units import format_size
from reconciler.core.world import MachineCaps, Reading, World
from reconciler.core.xmltree import Element, parse
from reconciler.errors import Problem
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.domain.create import complete_machine
from reconciler.kinds.machine.domain.xml_places import NAMESPACES
from reconciler.kinds.machine.export_devices import (
    DeviceSpec,
    export_cdroms,
    export_disks,
    export_interfaces,
    given,
)

Spec = Dict[str, Any]
Path = Tuple[Union[str, int], ...]

# Fields that have a default. What a machine is (its size, its image, its state) has none, and a
# MAC address is how a device without an alias is found again.
_DEFAULTED = {
    prefix.rstrip("[]."): tuple(field.key for field in table if field.default is not None)
    for prefix, table in TABLES.items()
}
_NOWHERE = Place("", 0, 0)


def leave_out_defaults(manifest: Spec, around: World) -> Spec:
    """Return the manifest without the fields that change nothing."""
    try:
        whole = _complete(manifest, around)
    except ValueError:  # it has a value that no manifest can give, and validation says which
        return manifest
    if whole is None:
        return _shorten(manifest)
    for path in tuple(_candidates(manifest["spec"])):
        less = without(manifest, path)
        if _complete(less, around) == whole:
            manifest = less
    return _shorten(manifest)


def without(manifest: Spec, path: Path) -> Spec:
    """Return a copy that lacks what stands at a path below `spec`."""
    copy = deepcopy(manifest)
    parent: Any = copy["spec"]
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return copy


def _candidates(spec: Spec) -> Iterator[Path]:
    yield from ((key,) for key in _DEFAULTED[""] if key in spec)
    if "model" not in spec["cpus"]:
        yield from (("cpus", key) for key in _DEFAULTED["cpus"] if key in spec["cpus"])
    for kind in ("disks", "cdroms", "interfaces"):
        for index, device in enumerate(spec.get(kind, ())):
            yield from ((kind, index, key) for key in _DEFAULTED[kind] if key in device)


def _complete(manifest: Spec, around: World) -> Optional[Machine]:
    """Return the machine that this would make here, as far as that can be told."""
    machine = build_machine(manifest, _NOWHERE).machine
    caps = around.machines.get(machine.machine or "")
    if not isinstance(caps, MachineCaps):
        return None
    return complete_machine(machine, caps, around.networks)


def _shorten(manifest: Spec) -> Spec:
    """Write processors of which only the number is left as a number."""
    cpus = manifest["spec"]["cpus"]
    if set(cpus) == {"count"}:
        manifest["spec"]["cpus"] = cpus["count"]
    return manifest


API_VERSION = "virt-reconciler/v1"
# What libvirt writes down as the CPU of a domain of which nobody said one (qemuDomainDefaultCPU).
_LIBVIRTS_CPU = {"mode": "custom", "match": "exact", "check": "none"}
_LIBVIRTS_MODEL = "qemu64"
_FEATURES = in_order(Machine, (field for field in MACHINE if field.feature))


def export_machine(
    reading: Reading, sizes: Mapping[str, int], around: World, *, power: bool = False
) -> DeviceSpec:
    """Return the manifest of a domain; `power` asks for whether it runs.

    `sizes` maps a `size_key` to bytes, where known; `around` is the host as far as what is a
    default there depends on it, and what there is: machine types, networks, pools.
    """
    machine, root = reading.persistent, parse(reading.view.persistent_xml)
    manifest: DeviceSpec = {
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
                **{field.key: getattr(machine, field.name) for field in _FEATURES},
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


def _topology(cpus: Cpus) -> DeviceSpec:
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


_LISTS = ("disks", "cdroms", "interfaces")
# Without one of these a device is not recognised any more, and a list is complete or not there.
_IDENTITY = frozenset({"name", "target", "mac", "network", "bridge"})
_STEP = regex(r"([^.\[\]]+)|\[(\d+)\]")
_ELSEWHERE = regex(r":\d+:\d+$")  # where in the other manifest says nothing to a reader


class Lessened(NamedTuple):
    """A manifest without what was refused, and the remark about it."""

    manifest: Spec
    remark: str


def take_out(manifest: Spec, problem: Problem, machine: Machine) -> Optional[Lessened]:
    """Return the manifest without what the problem is about; None if it cannot be without."""
    where = _parse(problem.path)
    if where[:1] != ("spec",) or len(where) == 1:
        return None
    path = _find_part(where[1:])
    why = _ELSEWHERE.sub("", problem.message)
    less = without(manifest, path)
    if path[-1] == "source":
        less["spec"][path[0]][path[1]]["target"] = (machine.disks or ())[int(path[1])].target
    return Lessened(less, f"{_show(path, manifest)} left out, and not changed: {why}")


def _parse(text: str) -> Path:
    return tuple(name or int(index) for name, index in _STEP.findall(text))


def _find_part(path: Path) -> Path:
    """Return what has to go with the refused field."""
    if path[0] not in _LISTS:
        return path[:1]
    is_device = len(path) > 2  # noqa: PLR2004 - list, index, field
    return path[:1] if not is_device or path[2] in _IDENTITY else path[:3]


def _show(path: Path, manifest: Spec) -> str:
    kind, *rest = path
    if not rest:
        return f"{kind}:"
    return f"{kind}[{manifest['spec'][kind][rest[0]]['name']}].{rest[1]}:"
