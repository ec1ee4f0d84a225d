"""Write the XML of a new domain; what the manifest leaves open is completed first. Pure."""

from __future__ import annotations

from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.cloud_init import SEED_DRIVE
from reconciler.core.field_table import CDROM, CPUS, DISK, FEATURES, INTERFACE, MACHINE, NONE
from reconciler.core.fields import Field, NewGuest
from reconciler.core.frozen import replace
from reconciler.core.guests import full_id, is_windows, needs_tpm
from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory, chipset_of
from reconciler.core.names import Owner, derive_mac, name_of
from reconciler.core.plan import Value
from reconciler.core.secret_refs import write_secret
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
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain import layout
from reconciler.kinds.machine.domain.buses import PREFIXES, add_missing, letters
from reconciler.kinds.machine.domain.devices import build_device, default_cache
from reconciler.kinds.machine.domain.features import (
    is_wanted,
    make_feature,
    set_credentials,
    set_ignition,
    set_password,
    write_firmware,
)
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.domain.processors import KIB
from reconciler.kinds.machine.domain.soundness import is_offered
from reconciler.kinds.machine.domain.xml_places import NAMESPACES
from reconciler.kinds.machine.match import Device

DEFAULT_NETWORK = "default"


def complete_machine(machine: Machine, caps: MachineCaps, networks: Mapping[str, bool]) -> Machine:
    """Return the machine with every choice made; images and sizes must be known by then."""
    new = _describe(machine, caps)
    disks, cdroms = _place(machine, new, caps)
    chosen = _choose_all(MACHINE, machine, new, caps)
    if machine.video is None and chosen["graphics"] == NONE:
        chosen["video"] = NONE
    return replace(
        machine,
        **{**chosen, "machine": caps.machine},
        cpus=_cpus(machine.cpus or Cpus(), new, caps),
        memory=_memory(machine),
        disks=disks,
        cdroms=cdroms,
        interfaces=_interfaces(machine, new, caps, networks),
    )


def _describe(machine: Machine, caps: MachineCaps) -> NewGuest:
    return NewGuest(
        is_windows=is_windows(machine.os),
        needs_tpm=needs_tpm(machine.os),
        chipset=chipset_of(caps.machine),
        accelerator=caps.domain_type,
    )


def _choose_all(
    table: Sequence[Field], given: Any, new: NewGuest, caps: MachineCaps
) -> Dict[str, Any]:
    """Return the values of a part of the machine that have defaults."""
    return {
        field.name: _choose(field, getattr(given, field.name), new, caps)
        for field in table
        if field.default is not None
    }


def _choose(field: Field, given: Value, new: NewGuest, caps: MachineCaps) -> Value:
    """Return what is given, else the first choice that the host offers, else the last."""
    choices = field.default(new) if field.default and given is None else ()
    if not choices:
        return given
    return next((choice for choice in choices if is_offered(field, choice, caps)), choices[-1])


def _cpus(given: Cpus, new: NewGuest, caps: MachineCaps) -> Cpus:
    count = given.count or given.maximum or 1
    mode = given.mode or ("custom" if given.model else None)
    given = replace(given, count=count, maximum=max(given.maximum or 0, count), mode=mode)
    return replace(given, **_choose_all(CPUS, given, new, caps))


def _memory(machine: Machine) -> Memory:
    given = machine.memory or Memory()
    size = given.size or given.maximum
    if size is None:
        raise TerminalError("memory: required to create a machine")
    return Memory(size, max(given.maximum or 0, size))


def _interfaces(
    machine: Machine, new: NewGuest, caps: MachineCaps, networks: Mapping[str, bool]
) -> Tuple[Interface, ...]:
    given = machine.interfaces
    if given is None:
        plain = Interface(DEFAULT_NETWORK, network=DEFAULT_NETWORK)
        given = (plain,) if DEFAULT_NETWORK in networks else ()
    return tuple(
        replace(
            interface,
            mac=interface.mac or derive_mac(machine.name, interface.name),
            **_choose_all(INTERFACE, interface, new, caps),
        )
        for interface in given
    )


def _place(
    machine: Machine, new: NewGuest, caps: MachineCaps
) -> Tuple[Tuple[Disk, ...], Tuple[Cdrom, ...]]:
    """Give every drive a bus and a target, disks first, in the manifest's order."""
    taken: Dict[str, int] = {}
    names: List[str] = [disk.target for disk in machine.disks or () if disk.target]
    disks = []
    for disk in machine.disks or ():
        chosen = replace(disk, **_choose_all(DISK, disk, new, caps))
        target = disk.target or _target(str(chosen.bus), taken, names)
        disks.append(replace(chosen, target=target, cache=default_cache(chosen)))
    cdroms = []
    for cdrom in machine.cdroms or ():
        drive = replace(cdrom, **_choose_all(CDROM, cdrom, new, caps))
        target = cdrom.target or _target(str(drive.bus), taken, names)
        cdroms.append(replace(drive, target=target, media=cdrom.media or ""))
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
    if machine.graphics_password is not None:
        set_password(root, write_secret(machine.graphics_password))
    if machine.credentials is not None:
        set_credentials(root, machine.credentials)
    return set_owner(serialise(root), owner)


def without_volumes(xml: str, names: Collection[str]) -> str:
    """Return a definition without the disks and the seed of these names."""
    root = parse(xml)
    for disk in root.findall("devices/disk"):
        alias = disk.find("alias")
        if alias is not None and name_of(alias.get("name")) in names:
            layout.remove(disk)
    if SEED_DRIVE in names:
        set_ignition(root, None)
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
    if any(device.boot is not None for device in devices):
        return
    yield make("boot", {"dev": "hd"})
    if any(cdrom.name != SEED_DRIVE for cdrom in machine.cdroms or ()):
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
    if any(factor is not None for factor in given):
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


def _devices(machine: Machine, caps: MachineCaps) -> List[Element]:
    """Return all devices in libvirt's order."""
    devices = [build_device(device) for device in (*_drives(machine), *(machine.interfaces or ()))]
    devices += _controllers(caps)
    devices.append(make("input", {"type": "tablet", "bus": "usb"}))
    devices.append(make("memballoon", {"model": "virtio"}))
    for field in FEATURES:
        value = getattr(machine, field)
        if is_wanted(field, value):
            devices += make_feature(field, value)
    return sorted(devices, key=layout.rank)


def _controllers(caps: MachineCaps) -> Iterator[Element]:
    yield make("controller", {"type": "usb", "model": "qemu-xhci", "ports": 15})
    if chipset_of(caps.machine) == "q35":
        yield make("controller", {"type": "pci", "model": "pcie-root"})
        for _ in range(SPARE_ROOT_PORTS):
            yield make("controller", {"type": "pci", "model": "pcie-root-port"})
