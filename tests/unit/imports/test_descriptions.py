"""What VMX and OVF say of a machine, and what is refused of them."""

from __future__ import annotations

import pytest

from reconciler.core.foreign_machines import name_system, parse_vmx, read_ovf, read_vmx
from reconciler.core.imports import ForeignCard
from reconciler.errors import TerminalError
from tests.lab.vmware_guest import OVF

VMX = """\
#!/usr/bin/vmware
.encoding = "UTF-8"
config.version = "8"
displayName = "vm006 |22old|22"
guestOS = "windows9srv-64"
memsize = "4096"
numvcpus = "4"
cpuid.coresPerSocket = "2"
firmware = "efi"
uefi.secureBoot.enabled = "TRUE"
vtpm.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.fileName = "vm006-data.vmdk"
scsi0:1.fileName = "vm006-logs.vmdk"
scsi0:0.fileName = "vm006.vmdk"
scsi0:2.present = "FALSE"
scsi0:2.fileName = "gone.vmdk"
sata0:1.deviceType = "cdrom-image"
sata0:1.fileName = "/iso/windows.iso"
ethernet0.present = "TRUE"
ethernet0.virtualDev = "e1000e"
ethernet0.connectionType = "nat"
ethernet0.generatedAddress = "00:0C:29:01:02:03"
ethernet1.present = "FALSE"
pciPassthru0.present = "TRUE"
"""


def ovf(**values: object) -> str:
    """Return an OVF."""
    return OVF.format(
        **{"name": "vm006", "disk": "vm006-disk1.vmdk", "size": 1, "capacity": 2**20, **values}
    )


def test_a_vmx_is_read() -> None:
    machine = read_vmx(VMX)
    assert machine.name == 'vm006 "old"'
    assert (machine.os, machine.firmware, machine.tpm) == ("win2k16", "uefi-secure", True)
    assert (machine.cpus, machine.cores, machine.memory) == (4, 2, 4 * 2**30)
    assert machine.disks == ("vm006.vmdk", "vm006-logs.vmdk", "vm006-data.vmdk")
    assert machine.cards == (ForeignCard("e1000e", "00:0c:29:01:02:03", "nat"),)
    assert machine.remarks == ("a PCI device of the host was passed through; it is left out",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('scsi0:0.fileName = "../other/disk.vmdk"', "is not beside it"),
        ('scsi0:0.fileName = "/etc/shadow"', "is not beside it"),
        ('scsi0:0.fileName = "C:\\disk.vmdk"', "is not beside it"),
        ('scsi0:0.fileName = ""', "is not beside it"),
        ('encryption.keySafe = "vmware:key/list"', "is encrypted"),
        ('checkpoint.vmState = "vm006.vmss"', "is suspended"),
        ("no setting", "line 4 is not"),
    ],
)
def test_a_vmx_that_is_not_imported_says_why(line: str, reason: str) -> None:
    text = f'config.version = "8"\nguestOS = "other"\nmemsize = "512"\n{line}\n'
    with pytest.raises(TerminalError, match=reason):
        read_vmx(text)


def test_another_file_is_no_vmx() -> None:
    with pytest.raises(TerminalError, match="neither guestOS nor config"):
        read_vmx('name = "value"\n')
    with pytest.raises(TerminalError, match="line 1 is not"):
        parse_vmx("KDMV\0\0")


def test_an_ovf_is_read() -> None:
    machine = read_ovf(ovf())
    assert (machine.name, machine.os, machine.firmware) == ("vm006", "debian12", "bios")
    assert (machine.cpus, machine.memory) == (1, 128 * 2**20)
    assert machine.disks == ("vm006-disk1.vmdk",)
    assert machine.cards == (ForeignCard("vmxnet3", "", "VM Network"),)


def test_an_ovf_says_its_firmware_and_system() -> None:
    text = ovf().replace("debian12_64Guest", "windows2019srvNext_64Guest")
    config = '<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>'
    text = text.replace("</VirtualHardwareSection>", f"{config}</VirtualHardwareSection>")
    machine = read_ovf(text)
    assert (machine.os, machine.firmware) == ("win2k22", "uefi")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("vm006-disk1.vmdk", "../../etc/shadow", "is not beside it"),
        ("vm006-disk1.vmdk", "/etc/shadow", "is not beside it"),
        ("vm006-disk1.vmdk", "http://example.com/disk.vmdk", "is not beside it"),
        ('ovf:id="file1"', 'ovf:id="file1" ovf:compression="gzip"', "is packed or in pieces"),
        ('ovf:id="file1"', 'ovf:id="file1" ovf:chunkSize="100"', "is packed or in pieces"),
        ('ovf:fileRef="file1"', 'ovf:fileRef="file2"', "of which it names no file"),
        ("VirtualSystem ", "VirtualSystems ", "not well-formed"),
        ("envelope/1", "envelope/9", "not an OVF envelope"),
        ("<References>", "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><References>", "DOCTYPE"),
    ],
)  # fmt: skip
def test_an_ovf_that_is_not_imported_says_why(old: str, new: str, reason: str) -> None:
    with pytest.raises(TerminalError, match=reason):
        read_ovf(ovf().replace(old, new))


@pytest.mark.parametrize(
    ("vmware", "os"),
    [
        ("windows9srv-64", "win2k16"),
        ("windows9Server64Guest", "win2k16"),
        ("windows2019srv_64Guest", "win2k19"),
        ("windows7Server64Guest", "win2k8r2"),
        ("windows8srv-64", "win2k12r2"),
        ("windows9_64Guest", "win10"),
        ("windows11-64", "win11"),
        ("rhel8_64Guest", "rhel8-unknown"),
        ("ubuntu-64", ""),
        ("otherlinux-64", ""),
    ],
)
def test_names_of_systems(vmware: str, os: str) -> None:
    assert name_system(vmware) == os
