"""A machine as VMware has it: a small Linux with a boot loader, in an OVA or beside a VMX.

What boots is the tests' own kernel and initramfs, by extlinux. Around them are the files in which
virt-v2v looks for a Debian: its release, its packages, its kernel and modules, GRUB's configuration.
Programs that virt-v2v runs in it (`dpkg`, `update-initramfs`) are scripts that answer as they would.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

from tests.lab.cloud_image import BOOT_CODE, LOADER, LOADER_MODULE, START
from tests.lab.guest_image import CACHE, COMMAND_LINE, build_guest

SIZE = 160  # MiB; virt-v2v wants 50 MB free
NAME = "vm006"
# In which virt-v2v looks for the virtio of a kernel, and for its architecture.
MODULES = ("virtio_blk", "virtio_net", "virtio_pci", "virtio_scsi", "virtio_balloon", "virtio_rng")
PLACES = ("sbin/", "usr/sbin/", "usr/bin/")
GRUB = """\
set timeout=0
menuentry 'Debian' {{
  linux /boot/vmlinuz-{kernel} root=/dev/sda1 ro
  initrd /boot/initrd.img-{kernel}
}}
"""
STATUS = """\
Package: linux-image-{kernel}
Status: install ok installed
Architecture: amd64
Version: {version}
Description: kernel

"""
LIST = """\
#!/bin/sh
# As dpkg --listfiles and -L answer for the kernel.
echo /boot/vmlinuz-{kernel}
echo /boot/config-{kernel}
echo /boot/initrd.img-{kernel}
echo /lib/modules/{kernel}
find /lib/modules/{kernel} -name '*.ko'
"""
VMX = """\
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "19"
displayName = "{name}"
guestOS = "debian12-64"
memsize = "128"
numvcpus = "1"
scsi0.present = "TRUE"
scsi0.virtualDev = "lsilogic"
{disks}ethernet0.present = "TRUE"
ethernet0.virtualDev = "e1000"
ethernet0.networkName = "VM Network"
ethernet0.address = "00:50:56:01:02:03"
"""
OVF = """\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
 xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
 xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References><File ovf:href="{disk}" ovf:id="file1" ovf:size="{size}"/></References>
  <DiskSection><Info>Disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1" ovf:fileRef="file1"
     ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A machine</Info>
    <Name>{name}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian12_64Guest"><Info>Debian</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Hardware</Info>
      <System><vssd:ElementName>Hardware</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType></System>
      <Item><rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits><rasd:ElementName>1 CPU</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>128 MB</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>128</rasd:VirtualQuantity></Item>
      <Item><rasd:ElementName>SCSI 0</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>Disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>Card</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType></Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"""


@dataclass(frozen=True)
class VmwareGuest:
    """The disk of the machine, as VMware exports it, and what it is of bytes."""

    disk: Path
    capacity: int

    def write_vmx(self, folder: Path, *disks: str) -> Path:
        """Write a VMX with its disk beside it; `disks` are further lines."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "disk1.vmdk").write_bytes(self.disk.read_bytes())
        lines = ['scsi0:0.present = "TRUE"', 'scsi0:0.fileName = "disk1.vmdk"', *disks]
        text = VMX.format(name=NAME, disks="".join(f"{line}\n" for line in lines))
        path = folder / f"{NAME}.vmx"
        path.write_text(text, encoding="utf-8")
        return path

    def write_ova(self, path: Path) -> Path:
        """Write an OVA with checksums, as VMware exports it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        disk = self.disk.read_bytes()
        write_ova(path, {f"{NAME}-disk1.vmdk": disk}, self.capacity)
        return path


def write_ova(path: Path, disks: Mapping[str, bytes], capacity: int) -> None:
    """Write an OVA with the first of these disks, and checksums of all."""
    name = next(iter(disks))
    ovf = OVF.format(name=NAME, disk=name, size=len(disks[name]), capacity=capacity).encode()
    files = {f"{NAME}.ovf": ovf, **disks}
    sums = "".join(
        f"SHA256({file})= {hashlib.sha256(data).hexdigest()}\n" for file, data in files.items()
    )
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for file, data in {**files, f"{NAME}.mf": sums.encode()}.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def build_vmware_guest(folder: Path) -> VmwareGuest:
    """Return the machine, built in that folder. Needs root, for the boot loader."""
    guest, parts = build_guest(), CACHE / "kernel"
    root, raw, disk = folder / "root", folder / "disk.raw", folder / "disk1.vmdk"
    kernel = next(parts.glob("lib/modules/*")).name
    _fill(root, parts, kernel)
    (root / f"boot/vmlinuz-{kernel}").write_bytes(guest.bzimage.read_bytes())
    (root / f"boot/initrd.img-{kernel}").write_bytes(guest.initrd.read_bytes())
    loaded = {"vmlinuz": guest.bzimage, "initrd.img": guest.initrd}
    _write_disk(root, raw, folder, loaded)
    words = ("-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(disk))
    _run("qemu-img", "convert", "-f", "raw", *words)
    return VmwareGuest(disk, SIZE * 2**20)


def _fill(root: Path, parts: Path, kernel: str) -> None:
    files = {
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\nNAME="Debian"\nPRETTY_NAME="Debian 12"\n',
        "etc/debian_version": "12.5\n",
        "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n",
        "etc/hostname": f"{NAME}\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
        "etc/modprobe.d/empty.conf": "",
        "etc/initramfs-tools/modules": "# modules\n",
        "etc/default/grub": 'GRUB_CMDLINE_LINUX=""\n',
        "boot/grub/grub.cfg": GRUB.format(kernel=kernel),
        f"boot/config-{kernel}": "CONFIG_VIRTIO=m\n",
        "boot/extlinux/extlinux.conf": LOADER.format(COMMAND_LINE),
        "var/lib/dpkg/status": STATUS.format(kernel=kernel, version="6.1"),
    }
    for name in ("sbin", "usr/bin", "usr/sbin", "usr/lib", "var/log", "tmp", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    busybox = root / "bin/busybox"
    busybox.parent.mkdir()
    busybox.write_bytes((parts / "programs/busybox").read_bytes())
    busybox.chmod(0o755)
    for name in ("sh", "find", "echo", "cat", "ls", "uname", "rm", "cp", "mv", "ln", "mkdir"):
        (root / "bin" / name).symlink_to("busybox")
    for name, script in {
        "usr/bin/dpkg": LIST.format(kernel=kernel),
        "usr/sbin/update-initramfs": "#!/bin/sh\necho virtio >/var/lib/initramfs-updated\n",
        "usr/sbin/update-grub": "#!/bin/sh\nexit 0\n",
        **{
            f"{name}grub{digit}-mkconfig": "#!/bin/sh\nexit 0\n"
            for name in PLACES
            for digit in ("", 2)
        },
    }.items():
        (root / name).write_text(script, encoding="utf-8")
        (root / name).chmod(0o755)
    modules = root / f"lib/modules/{kernel}"
    for module in (path for name in MODULES for path in parts.glob(f"lib/modules/*/**/{name}.ko*")):
        target = modules / module.relative_to(parts / "lib/modules" / kernel)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(module.read_bytes())


def _write_disk(root: Path, raw: Path, folder: Path, loaded: Mapping[str, Path]) -> None:
    """Write a disk with a boot loader, and the files that it loads.

    mkfs leaves holes for zeros, which the boot loader does not read.
    """
    with raw.open("wb") as file:
        file.write(Path(BOOT_CODE).read_bytes())
        file.truncate(SIZE * 2**20)
    _run("sfdisk", "-q", str(raw), text=f"label: dos\nstart={START}, type=83, bootable\n")
    (root / "boot/extlinux/ldlinux.c32").write_bytes(Path(LOADER_MODULE).read_bytes())
    offset = START * 512
    features = ("-O", "^64bit,^metadata_csum", "-E", f"offset={offset}", "-m", "0", "-b", "4096")
    size = f"{SIZE - offset // 2**20}M"
    _run("mkfs.ext4", "-q", "-F", "-L", "root", *features, "-d", str(root), str(raw), size)
    mount = folder / "mount"
    mount.mkdir()
    _run("mount", "-o", f"loop,offset={offset}", str(raw), str(mount))
    try:
        for name, path in loaded.items():
            (mount / "boot" / name).write_bytes(path.read_bytes())
        _run("extlinux", "--install", str(mount / "boot/extlinux"))
    finally:
        _run("umount", str(mount))


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
