"""Machines, hosts and foreign domains that the tests of domain XML share. No test is here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Callable, Mapping, Tuple

from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.names import Owner
from reconciler.core.secret_refs import SecretRef, SecretSource
from reconciler.core.world import MachineCaps
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.create import complete_machine, create_domain
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import Difference, align, compare

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
GIB = 2**30
NETWORKS = {"default": True}

Q35 = MachineCaps(
    machine="pc-q35-7.2",
    domain_type="kvm",
    arch="x86_64",
    vcpu_max=288,
    disk_buses=frozenset({"virtio", "scsi", "sata", "usb"}),
    cdrom_buses=frozenset({"scsi", "sata", "usb"}),
    firmware=frozenset({"bios", "uefi", "uefi-secure"}),
    cpu_modes=frozenset({"host-passthrough", "host-model", "maximum", "custom"}),
    graphics=frozenset({"vnc", "spice"}),
    video=frozenset({"virtio", "vga", "bochs", "qxl", "cirrus"}),
    tpm=True,
)
PC = replace(
    Q35,
    machine="pc-i440fx-7.2",
    disk_buses=Q35.disk_buses | {"ide"},
    cdrom_buses=Q35.cdrom_buses | {"ide"},
)
TCG = replace(Q35, domain_type="qemu")
# Rocky 9: no SPICE, other machine names, KVM only.
ROCKY = replace(
    Q35,
    machine="pc-q35-rhel9.6.0",
    graphics=frozenset({"vnc"}),
    video=frozenset({"virtio", "vga", "bochs"}),
)

IMAGES = "/var/lib/libvirt/images"
ROOT = Disk("root", source=f"{IMAGES}/vm-root.qcow2", format="qcow2")
DATA = Disk("data", source=f"{IMAGES}/vm-data.img", format="raw", bus="scsi", cache="none")
LAN = Interface("lan", network="default")
SMALL = Machine("vm", cpus=Cpus(2), memory=Memory(2 * GIB), disks=(ROOT,), interfaces=(LAN,))

# What is created: name → machine and host.
CREATED: Mapping[str, Tuple[Machine, MachineCaps]] = {
    "nothing-said": (Machine("vm", cpus=Cpus(1), memory=Memory(GIB)), Q35),
    "linux": (replace(SMALL, os="debian12"), Q35),
    "linux-pc": (replace(SMALL, os="debian12", cdroms=(Cdrom("seed"),)), PC),
    "linux-tcg": (replace(SMALL, os="rocky9"), TCG),
    "linux-uefi": (replace(SMALL, os="rocky9", firmware="uefi"), Q35),
    "windows": (
        replace(SMALL, os="win2k16", cdroms=(Cdrom("drivers", media=f"{IMAGES}/v.iso"),)),
        Q35,
    ),
    "windows-pc": (replace(SMALL, os="win2k8r2"), PC),
    "windows-tcg": (replace(SMALL, os="win2k16"), TCG),
    "windows-secure": (replace(SMALL, os="win11", firmware="uefi-secure"), Q35),
    "everything": (
        Machine(
            "vm",
            uuid="11111111-2222-4333-8444-555555555555",
            os="debian12",
            firmware="bios",
            cpus=Cpus(2, maximum=8, cores=2, mode="custom", model="EPYC"),
            memory=Memory(GIB, 4 * GIB),
            disks=(
                replace(ROOT, boot=2, io="native", discard="unmap", serial="root-1"),
                replace(DATA, readonly=True),
                Disk("block", source="/dev/vg/lv", format="raw", bus="sata", shareable=True),
                Disk("pooled", source="default/x.qcow2", format="qcow2", bus="usb"),
            ),
            cdroms=(Cdrom("install", bus="sata", media=f"{IMAGES}/i.iso", boot=1), Cdrom("empty")),
            interfaces=(
                replace(LAN, mac="52:54:00:00:00:01", boot=3),
                Interface("wan", bridge="br0", model="e1000e", link="down"),
            ),
            guest_agent=False,
            console=False,
            graphics="spice",
            graphics_password=SecretRef(SecretSource.FILE, "/etc/secrets/vm"),
            video="qxl",
            rng=False,
            tpm=True,
            credentials='{"login.issue": "a\\nb", "vmm.notify": "a,b = <c>"}',
        ),
        Q35,
    ),
    "headless": (replace(SMALL, graphics="none", console=True), Q35),
}
# What this development host's libvirt cannot define: machine types of RHEL.
CREATED_FOR_ROCKY: Mapping[str, Tuple[Machine, MachineCaps]] = {
    "rocky": (replace(SMALL, os="rocky9"), ROCKY),
}

OWNER = Owner("vm", "sha-1", '{"cpus": 2}', "debian12")


def create(machine: Machine, caps: MachineCaps) -> str:
    """Return the XML that a new machine gets on that host."""
    owner = replace(OWNER, name=machine.name, os=machine.os)
    return create_domain(complete_machine(machine, caps, NETWORKS), caps, owner)


def foreign(name: str) -> str:
    """Return a domain of another tool, as libvirt wrote it."""
    return (GOLDEN / "foreign" / f"{name}.xml").read_text(encoding="utf-8")


FOREIGN = tuple(sorted(path.stem for path in (GOLDEN / "foreign").glob("*.xml")))

Wanted = Callable[[Machine], Machine]


def _disks(**fields: object) -> Wanted:
    return lambda found: Machine(
        found.name,
        disks=tuple(replace(disk, **fields) for disk in found.disks or ()),  # type: ignore[arg-type]
    )


def _first_disk(**fields: object) -> Wanted:
    return (
        lambda found: Machine(
            found.name,
            disks=(
                replace((found.disks or ())[0], **fields),  # type: ignore[arg-type]
                *(found.disks or ())[1:],
            ),
        )
    )


def _cdroms(**fields: object) -> Wanted:
    return lambda found: Machine(
        found.name,
        cdroms=tuple(replace(cdrom, **fields) for cdrom in found.cdroms or ()),  # type: ignore[arg-type]
    )


def _interfaces(**fields: object) -> Wanted:
    return (
        lambda found: Machine(
            found.name,
            interfaces=tuple(
                replace(interface, **fields)  # type: ignore[arg-type]
                for interface in (found.interfaces or ())[:1]
            )
            + (found.interfaces or ())[1:],
        )
    )


def _plus_disk(*added: Disk) -> Wanted:
    return lambda found: Machine(found.name, disks=(*(found.disks or ()), *added))


def _plus_cdrom(*added: Cdrom) -> Wanted:
    return lambda found: Machine(found.name, cdroms=(*(found.cdroms or ()), *added))


def _plus_interface(*added: Interface) -> Wanted:
    return lambda found: Machine(found.name, interfaces=(*(found.interfaces or ()), *added))


def _only(**fields: object) -> Wanted:
    return lambda found: Machine(found.name, **fields)  # type: ignore[arg-type]


# What is edited: name → foreign domain, and what is wanted of it, given what it is.
EDITED: Mapping[str, Tuple[str, Wanted]] = {
    "q35-virtio-to-scsi": ("linux-q35", _disks(bus="scsi")),
    "q35-virtio-to-sata": ("linux-q35", _disks(bus="sata")),
    "q35-sata-to-virtio": ("windows-q35", _disks(bus="virtio")),
    "q35-sata-to-usb": ("windows-q35", _disks(bus="usb")),
    "pc-ide-to-virtio": ("windows-pc", _disks(bus="virtio")),
    "pc-ide-to-scsi": ("windows-pc", _disks(bus="scsi")),
    "pc-virtio-to-ide": ("linux-pc", _disks(bus="ide")),
    "pc-cdrom-to-scsi": ("linux-pc", _cdroms(bus="scsi")),
    "exotic-virtio-to-usb": ("exotic", _first_disk(bus="usb")),
    "disk-added": (
        "linux-q35",
        _plus_disk(
            Disk("new", "virtio", format="qcow2", source="/i/n.qcow2", cache="none", boot=1)
        ),
    ),
    "disks-added-on-scsi": (
        "windows-pc",
        _plus_disk(
            Disk("one", "scsi", format="raw", source="/i/1.img", serial="S1"),
            Disk("two", "scsi", format="raw", source="/dev/vg/two", readonly=True),
        ),
    ),
    "disk-removed": ("windows-pc", lambda found: Machine("x", disks=(found.disks or ())[:1])),
    "disk-boots": ("exotic", _first_disk(boot=1)),
    "disk-elsewhere": (
        "linux-pc",
        _disks(source="/dev/vg/lv", format="raw", io="native", cache="none"),
    ),
    "disk-off-the-network": (
        "exotic",
        lambda found: Machine(
            "x",
            disks=tuple(
                replace(disk, source="/i/local.img") if disk.name == "vdc" else disk
                for disk in found.disks or ()
            ),
        ),
    ),
    "disk-made-readonly": ("linux-q35", _disks(readonly=True, cache="writeback", serial="R0")),
    "cdroms-removed-q35": ("linux-q35", _only(cdroms=())),
    "cdroms-removed-pc": ("windows-pc", _only(cdroms=())),
    "cdroms-removed-exotic": ("exotic", _only(cdroms=())),
    "cdrom-ejected": ("linux-pc", _cdroms(media="")),
    "cdrom-changed": ("exotic", _cdroms(media="/i/other.iso")),
    "cdrom-added": ("linux-q35", _plus_cdrom(Cdrom("two", "sata", "/i/2.iso"), Cdrom("three"))),
    "nic-to-bridge": ("linux-q35", _interfaces(network=None, bridge="br0", link="down")),
    "nic-to-network": (
        "exotic",
        lambda found: Machine(
            "x",
            interfaces=tuple(
                replace(interface, network="default", mac=f"52:54:00:00:01:0{number}")
                if interface.bridge is None
                else interface
                for number, interface in enumerate(found.interfaces or ())
            ),
        ),
    ),
    "nic-model": ("exotic", _interfaces(model="e1000")),
    "nic-added": (
        "linux-pc",
        _plus_interface(
            Interface("lan", network="default", model="virtio", mac="52:54:00:00:00:09"),
            Interface("wan", bridge="br0", mac="52:54:00:00:00:0a", link="down"),
        ),
    ),
    "nics-removed": ("linux-q35", _only(interfaces=())),
    "cpus-more": ("linux-q35", _only(cpus=Cpus(8))),
    "cpus-fewer": ("linux-q35", _only(cpus=Cpus(2))),
    "cpus-exotic-online": ("exotic", _only(cpus=Cpus(4))),
    "cpus-topology": ("linux-pc", _only(cpus=Cpus(8, maximum=8, sockets=2, cores=2, threads=2))),
    "cpu-mode": ("exotic", _only(cpus=Cpus(mode="host-passthrough"))),
    "cpu-model": ("linux-q35", _only(cpus=Cpus(mode="custom", model="qemu64"))),
    "memory-more": ("linux-q35", _only(memory=Memory(8 * GIB))),
    "memory-less": ("linux-q35", _only(memory=Memory(GIB))),
    "memory-maximum": ("linux-q35", _only(memory=Memory(GIB, 2 * GIB))),
    "memory-exotic-balloon": ("exotic", _only(memory=Memory(3 * GIB))),
    "firmware-uefi": ("linux-q35", _only(firmware="uefi")),
    "firmware-secure": ("windows-q35", _only(firmware="uefi-secure")),
    "firmware-bios": ("exotic", _only(firmware="bios")),
    "machine-type": ("linux-q35", _only(machine="pc-q35-7.1")),
    "switched-off": (
        "linux-q35",
        _only(guest_agent=False, console=False, graphics="none", video="none", rng=False),
    ),
    "switched-on": (
        "exotic",
        _only(guest_agent=True, console=True, graphics="vnc", video="virtio", rng=True, tpm=True),
    ),
    "credentials-new": ("linux-q35", _only(credentials='{"firstboot.timezone": "UTC"}')),
    "credentials-beside": ("exotic", _only(credentials='{"firstboot.timezone": "UTC"}')),
    "spice-to-vnc": ("windows-q35", _only(graphics="vnc", video="vga")),
}


def differences(xml: str, wanted: Wanted) -> Tuple[Difference, ...]:
    """Return what must change in a domain to be as wanted."""
    found = read_machine(parse(xml))
    desired = wanted(found)
    return compare(desired, align(desired, found))
