"""Write the XML of a new domain from a machine in which every choice is made.

The machine type is always named, the emulator and firmware files never: those are the host's to
choose. Devices come from the same builders as those added later.
"""

from __future__ import annotations

from typing import Collection, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.diff import Device
from reconciler.core.domain import layout
from reconciler.core.domain.build import build_device
from reconciler.core.domain.controllers import add_missing
from reconciler.core.domain.features import FEATURES, is_wanted
from reconciler.core.domain.firmware import write_firmware
from reconciler.core.domain.memory import KIB
from reconciler.core.domain.owner import set_owner
from reconciler.core.domain.places import NAMESPACES
from reconciler.core.guests import full_id, is_windows
from reconciler.core.identity import name_of
from reconciler.core.machine_types import chipset_of
from reconciler.core.model import Cpus, Machine, Memory
from reconciler.core.owner import Owner
from reconciler.core.world import MachineCaps
from reconciler.core.xmltree import (
    Element,
    indent,
    make,
    make_namespaced,
    make_text,
    parse,
    serialise,
)

# q35 has no free slot of its own for a device that is plugged in later; virt-install leaves 14.
SPARE_ROOT_PORTS = 14

_TIMERS: Tuple[Tuple[str, Mapping[str, str]], ...] = (
    ("rtc", {"tickpolicy": "catchup"}),
    ("pit", {"tickpolicy": "delay"}),
    ("hpet", {"present": "no"}),
)
_HYPERV: Tuple[Tuple[str, Mapping[str, str]], ...] = (
    ("relaxed", {"state": "on"}),
    ("vapic", {"state": "on"}),
    ("spinlocks", {"state": "on", "retries": "8191"}),
)
_LIFECYCLE: Tuple[Tuple[str, str], ...] = (
    ("on_poweroff", "destroy"),
    ("on_reboot", "restart"),
    ("on_crash", "destroy"),
)


def create_domain(machine: Machine, caps: MachineCaps, owner: Owner) -> str:
    """Return the definition of a machine that `complete_machine` has completed."""
    enlightened = is_windows(machine.os) and caps.domain_type == "kvm"
    root = make(
        "domain",
        {"type": caps.domain_type},
        *_head(machine),
        _os(machine, caps),
        _features(enlightened=enlightened),
        *_cpu(machine.cpus or Cpus()),
        _clock(windows=is_windows(machine.os), enlightened=enlightened),
        *(make_text(tag, action) for tag, action in _LIFECYCLE),
        _power_management(),
        make("devices", None, *_devices(machine, caps)),
    )
    indent(root, 0)
    write_firmware(root, machine.firmware or "bios")
    add_missing(root)
    return set_owner(serialise(root), owner)


def without_disks(xml: str, names: Collection[str]) -> str:
    """Return a definition without the disks of these names."""
    root = parse(xml)
    for disk in root.findall("devices/disk"):
        alias = disk.find("alias")
        if alias is not None and name_of(alias.get("name")) in names:
            layout.remove(disk)
    return serialise(root)


def set_uuid(xml: str, uuid: str) -> str:
    """Return a definition with that UUID, if it has none of its own."""
    root = parse(xml)
    name = root.find("name")
    if name is None or root.find("uuid") is not None:
        return xml
    layout.insert_after(name, make_text("uuid", uuid))
    return serialise(root)


def _head(machine: Machine) -> Iterator[Element]:
    yield make_text("name", machine.name)
    if machine.uuid:
        yield make_text("uuid", machine.uuid)
    yield from _osinfo(machine.os)
    memory = machine.memory or Memory()
    yield make_text("memory", -(-(memory.maximum or 0) // KIB), {"unit": "KiB"})
    yield make_text("currentMemory", -(-(memory.size or 0) // KIB), {"unit": "KiB"})
    yield _vcpu(machine.cpus or Cpus())


def _osinfo(os: Optional[str]) -> List[Element]:
    """Say for other tools which system this is, where its full id is certain."""
    identifier = full_id(os)
    if identifier is None:
        return []
    uri = NAMESPACES["libosinfo"]
    outer = make_namespaced(f"{{{uri}}}libosinfo", {"libosinfo": uri})
    inner = make_namespaced(f"{{{uri}}}os", {"libosinfo": uri})
    inner.set("id", identifier)
    outer.append(inner)
    return [make("metadata", None, outer)]


def _vcpu(cpus: Cpus) -> Element:
    count, most = cpus.count or 1, cpus.maximum or cpus.count or 1
    return make_text(
        "vcpu", most, {"placement": "static", "current": count if count != most else None}
    )


def _os(machine: Machine, caps: MachineCaps) -> Element:
    kind = make_text("type", "hvm", {"arch": caps.arch, "machine": caps.machine})
    return make("os", None, kind, *_boot_kinds(machine))


def _drives(machine: Machine) -> List[Device]:
    return [*(machine.disks or ()), *(machine.cdroms or ())]


def _boot_kinds(machine: Machine) -> Iterator[Element]:
    """Boot from disk, then from CD-ROM, unless devices have numbers of their own."""
    devices = [*_drives(machine), *(machine.interfaces or ())]
    if any(one.boot is not None for one in devices):
        return
    yield make("boot", {"dev": "hd"})
    if machine.cdroms:
        yield make("boot", {"dev": "cdrom"})


def _features(*, enlightened: bool) -> Element:
    features = make("features", None, make("acpi"), make("apic"))
    if enlightened:
        rows = (make(tag, attributes) for tag, attributes in _HYPERV)
        features.append(make("hyperv", {"mode": "custom"}, *rows))
    features.append(make("vmport", {"state": "off"}))
    return features


def _cpu(cpus: Cpus) -> Iterator[Element]:
    cpu = make("cpu", {"mode": cpus.mode})
    if cpus.model:
        cpu.append(make_text("model", cpus.model))
    given = (cpus.sockets, cpus.cores, cpus.threads)
    if any(one is not None for one in given):
        cpu.append(_topology(cpus))
    if len(cpu) or cpu.attrib:
        yield cpu


def _topology(cpus: Cpus) -> Element:
    """Multiply what is given out to the maximum: by sockets, or cores, or threads."""
    factors = {"sockets": cpus.sockets, "cores": cpus.cores, "threads": cpus.threads}
    rest = cpus.maximum or cpus.count or 1
    for value in factors.values():
        rest //= value or 1
    for name, value in factors.items():
        if value is None:
            factors[name], rest = max(rest, 1), 1
    return make("topology", factors)


def _clock(*, windows: bool, enlightened: bool) -> Element:
    timers = [make("timer", {"name": name, **attributes}) for name, attributes in _TIMERS]
    if enlightened:
        timers.append(make("timer", {"name": "hypervclock", "present": "yes"}))
    return make("clock", {"offset": "localtime" if windows else "utc"}, *timers)


def _power_management() -> Element:
    off = {"enabled": "no"}
    return make("pm", None, make("suspend-to-mem", off), make("suspend-to-disk", off))


def _devices(machine: Machine, caps: MachineCaps) -> Iterator[Element]:
    for drive in _drives(machine):
        yield build_device(drive)
    yield from _controllers(caps)
    for interface in machine.interfaces or ():
        yield build_device(interface)
    yield from _feature(machine, "console")
    yield from _feature(machine, "guest_agent")
    yield make("input", {"type": "tablet", "bus": "usb"})
    for field in ("tpm", "graphics", "video"):
        yield from _feature(machine, field)
    yield make("memballoon", {"model": "virtio"})
    yield from _feature(machine, "rng")


def _feature(machine: Machine, field: str) -> List[Element]:
    value = getattr(machine, field)
    return list(FEATURES[field].make(value)) if is_wanted(field, value) else []


def _controllers(caps: MachineCaps) -> Iterator[Element]:
    yield make("controller", {"type": "usb", "model": "qemu-xhci", "ports": 15})
    if chipset_of(caps.machine) == "q35":
        yield make("controller", {"type": "pci", "model": "pcie-root"})
        for _ in range(SPARE_ROOT_PORTS):
            yield make("controller", {"type": "pci", "model": "pcie-root-port"})
