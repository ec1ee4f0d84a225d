"""What a machine reads like, on domains of other tools and on single elements."""

from __future__ import annotations

import pytest

from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine

from .samples import GIB, foreign


def read(inner: str, root: str = "<domain type='kvm'>") -> Machine:
    """Read a domain of which only a part is written."""
    return read_machine(parse(f"{root}<name>vm</name>{inner}</domain>"))


def test_an_exotic_domain_reads_completely() -> None:
    machine = read_machine(parse(foreign("exotic")))
    assert machine.uuid == "11111111-2222-4333-8444-000000000005"
    assert machine.machine == "pc-q35-6.2"
    assert machine.firmware == "uefi-secure"
    assert machine.cpus == Cpus(2, 4, 1, 4, 1, "custom", "EPYC", unpluggable=1)
    assert machine.memory == Memory(2 * GIB, 4 * GIB, balloon=False)
    assert machine.disks == (
        Disk(
            "vdb",
            bus="virtio",
            format="qcow2",
            source="/var/lib/libvirt/images/ex.qcow2",
            cache="none",
            io="native",
            discard="unmap",
            serial="EX-0001",
            boot=2,
            readonly=False,
            shareable=False,
            target="vdb",
        ),
        Disk(
            "vdc",
            "virtio",
            None,
            "raw",
            "rbd:pool/image",
            readonly=False,
            shareable=False,
            target="vdc",
        ),
        Disk(
            "sda",
            "scsi",
            None,
            "raw",
            "/dev/disk/by-id/lun",
            readonly=False,
            shareable=False,
            target="sda",
        ),
        Disk(
            "sdb",
            "scsi",
            format="raw",
            source="/dev/vg/lv",
            cache="none",
            serial="SCSI-SERIAL-THAT-IS-LONGER-THAN-20",
            readonly=False,
            shareable=False,
            target="sdb",
        ),
    )
    assert machine.cdroms == (Cdrom("sdc", "sata", "default/x.iso", 1, target="sdc"),)
    assert machine.interfaces == (
        Interface(
            "52:54:00:aa:00:05",
            bridge="br0",
            model="virtio",
            mac="52:54:00:aa:00:05",
            link="down",
            boot=3,
        ),
        Interface("52:54:00:aa:00:06", "lab", model="e1000", mac="52:54:00:aa:00:06", link="up"),
        Interface(
            "52:54:00:aa:00:07",
            model="virtio",
            mac="52:54:00:aa:00:07",
            link="up",
            uplink="macvtap on eth0",
        ),
    )
    assert (machine.guest_agent, machine.console, machine.rng, machine.tpm) == (False,) * 4
    assert (machine.graphics, machine.video) == ("none", "none")
    assert (machine.power, machine.autostart, machine.os) == (None, None, None)


def test_a_floppy_is_neither_disk_nor_cdrom() -> None:
    machine = read_machine(parse(foreign("windows-pc")))
    assert [one.name for one in machine.disks or ()] == ["hda", "hdc"]
    assert [cdrom.name for cdrom in machine.cdroms or ()] == ["hdb"]


MEMORY_CASES = {
    "<memory>1024</memory>": (2**20, None),
    "<memory unit='GiB'>2</memory><currentMemory unit='M'>512</currentMemory>": (2**31, 2**29),
    "<memory unit='bytes'>1048576</memory>": (2**20, None),
    "<memory unit='GB'>1</memory>": (10**9, None),
    "<memory unit='TiB'>1</memory>": (2**40, None),
}


@pytest.mark.parametrize("inner", MEMORY_CASES)
def test_memory_is_bytes_whatever_the_unit(inner: str) -> None:
    memory = read(inner).memory
    assert memory is not None
    maximum, size = MEMORY_CASES[inner]
    assert memory.maximum == maximum
    assert memory.size == (maximum if size is None else size)


FIRMWARE_CASES = {
    "nothing": ("<os><type>hvm</type></os>", "bios"),
    "seabios by name": ("<os firmware='bios'><type>hvm</type></os>", "bios"),
    "symbolic": ("<os firmware='efi'><type>hvm</type></os>", "uefi"),
    "symbolic, secure boot on": (
        "<os firmware='efi'><firmware><feature enabled='yes' name='secure-boot'/></firmware></os>",
        "uefi-secure",
    ),
    "symbolic, secure boot off": (
        "<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware></os>",
        "uefi",
    ),
    "resolved, as libvirt 9.2 and newer": (
        "<os firmware='efi'><firmware><feature enabled='no' name='enrolled-keys'/>"
        "<feature enabled='yes' name='secure-boot'/></firmware>"
        "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/edk2/ovmf/x.fd</loader></os>",
        "uefi-secure",
    ),
    "resolved, secure loader, secure boot off": (
        "<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware>"
        "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/edk2/ovmf/x.fd</loader></os>",
        "uefi",
    ),
    "keys enrolled and nothing else, as libvirt 8.6": (
        "<os firmware='efi'><firmware><feature enabled='yes' name='enrolled-keys'/></firmware></os>",
        "uefi-secure",
    ),
    "resolved without a name, as libvirt 9.2": (
        "<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"
        "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/n/vm_VARS.fd</nvram></os>",
        "uefi",
    ),
    "another flash for another processor": (
        "<os><loader readonly='yes' type='pflash'>/usr/share/AAVMF/AAVMF_CODE.fd</loader></os>",
        "uefi",
    ),
    "in one file": ("<os><loader>/usr/share/qemu-efi-aarch64/QEMU_EFI.fd</loader></os>", "uefi"),
    "a loader by path": (
        "<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader></os>",
        "uefi",
    ),
    "a secure loader by path": (
        "<os><loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/C.fd</loader></os>",
        "uefi-secure",
    ),
    "a BIOS by path": ("<os><loader type='rom'>/usr/share/seabios/bios.bin</loader></os>", "bios"),
}


@pytest.mark.parametrize("case", FIRMWARE_CASES)
def test_firmware_asked_for_and_resolved_mean_the_same(case: str) -> None:
    inner, firmware = FIRMWARE_CASES[case]
    assert read(inner).firmware == firmware


def disk(inner: str, device: str = "disk") -> Machine:
    """Read a domain with one disk."""
    return read(
        f"<devices><disk device='{device}'>{inner}<target dev='vda' bus='virtio'/></disk></devices>"
    )


SOURCE_CASES = {
    "<source file='/a/b'/>": "/a/b",
    "<source dev='/dev/x'/>": "/dev/x",
    "<source pool='p' volume='v'/>": "p/v",
    "<source protocol='nbd' name='n'><host name='h'/></source>": "nbd:n",
    "<source startupPolicy='optional'/>": None,
    "": None,
}


@pytest.mark.parametrize("inner", SOURCE_CASES)
def test_a_source_is_a_path_or_says_where_it_is(inner: str) -> None:
    disks = disk(inner).disks
    assert disks is not None
    assert disks[0].source == SOURCE_CASES[inner]
    cdroms = disk(inner, "cdrom").cdroms
    assert cdroms is not None
    assert cdroms[0].media == (SOURCE_CASES[inner] or "")


ALIAS_CASES = {
    "ua-root": ("root", "root"),
    "virtio-disk0": ("vda", None),
    "ua-": ("vda", ""),
}


@pytest.mark.parametrize("alias", ALIAS_CASES)
def test_only_a_user_alias_is_a_name(alias: str) -> None:
    disks = disk(f"<alias name='{alias}'/>").disks
    assert disks is not None
    assert (disks[0].name, disks[0].alias) == ALIAS_CASES[alias]


def test_a_domain_of_almost_nothing_reads() -> None:
    machine = read("")
    assert machine.cpus == Cpus(1, unpluggable=0)
    assert (machine.disks, machine.cdroms, machine.interfaces) == ((), (), ())


def test_live_vcpus_and_link_are_read() -> None:
    machine = read(
        "<vcpu current='2'>4</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/>"
        "<vcpu id='1' enabled='yes' hotpluggable='yes'/></vcpus>",
        "<domain type='kvm' id='3'>",
    )
    assert machine.cpus == Cpus(2, 4, unpluggable=1)
