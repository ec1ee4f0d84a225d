"""One feature of libvirt each, in a small domain around it. No test is here.

What stands at the root, among the devices, in place of the plain disk or the plain interface, or
in `<os>`; `machine` is a type.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Dict

MAC = "52:54:00:fe:00:01"  # bytes 3 to 5 become each domain's own
DISK = "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='@IMAGES@/@NAME@.qcow2'/><target dev='vda' bus='virtio'/></disk>"
INTERFACE = f"<interface type='network'><mac address='{MAC}'/><source network='default'/><model type='virtio'/></interface>"


@dataclass(frozen=True)
class Feature:
    """Where the domain differs from the plain one."""

    root: str = ""
    devices: str = ""
    disk: str = DISK
    interface: str = INTERFACE
    os: str = ""
    machine: str = "q35"
    memory: str = "<memory unit='MiB'>512</memory>"
    vcpu: str = "<vcpu>2</vcpu>"
    attributes: str = ""

    def xml(self, name: str) -> str:
        """Return the definition."""
        kind = f"<type arch='x86_64' machine='{self.machine}'>hvm</type>"
        os = self.os.replace("@TYPE@", kind) or f"<os>{kind}</os>"
        text = f"""<domain type='qemu'{self.attributes}><name>{name}</name>{self.memory}{self.vcpu}
{os}{self.root}<devices>{self.disk}{self.interface}{self.devices}</devices></domain>"""
        # No two domains of a host have an address or an image together.
        own = ":".join(f"{byte:02x}" for byte in hashlib.sha256(name.encode()).digest()[:3])
        text = text.replace(MAC[:14], f"{MAC[:5]}:{own}")
        return text.replace("@NAME@", name).replace("'/srv/", f"'/srv/{name}/")


def disk(body: str, **more: str) -> Feature:
    """Return a domain with another disk."""
    return Feature(disk=body, **more)


def nic(kind: str, body: str = "", **more: str) -> Feature:
    """Return a domain with another interface."""
    text = (
        f"<interface type='{kind}'><mac address='{MAC}'/>{body}<model type='virtio'/></interface>"
    )
    return Feature(interface=text, **more)


def second(body: str, **more: str) -> Feature:
    """Return a domain with a second disk."""
    return Feature(disk=DISK + body, **more)


RBD = "<source protocol='rbd' name='pool/image'><host name='ceph1.example.org' port='6789'/><host name='ceph2.example.org' port='6789'/></source>"
NUMA = "<numa><cell id='0' cpus='0' memory='256' unit='MiB'/><cell id='1' cpus='1' memory='256' unit='MiB' memAccess='shared'/></numa>"
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
ACPI = "<features><acpi/></features>"
QEMU = " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
SMBIOS = "<sysinfo type='smbios'><bios><entry name='vendor'>LENOVO</entry></bios><system><entry name='manufacturer'>Fedora</entry><entry name='serial'>0001</entry></system><oemStrings><entry>myappname:some arbitrary data</entry></oemStrings></sysinfo>"

FEATURES: Dict[str, Feature] = {
    # machines and firmware
    "plain": Feature(),
    "pc": Feature(machine="pc"),
    "pc-i440fx-6.2": Feature(machine="pc-i440fx-6.2"),
    "pc-q35-5.2": Feature(machine="pc-q35-5.2"),
    "microvm-like": Feature(
        machine="q35",
        root="<features><acpi/></features>",
        devices="<controller type='usb' model='none'/><memballoon model='none'/>",
    ),
    "pflash": Feature(
        root=ACPI,
        os="<os>@TYPE@<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram template='/usr/share/OVMF/OVMF_VARS.fd'>@IMAGES@/pflash_VARS.fd</nvram></os>",
    ),
    "pflash-secure": Feature(
        os="<os>@TYPE@<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader><nvram>@IMAGES@/secure_VARS.fd</nvram></os>",
        root="<features><acpi/><smm state='on'><tseg unit='MiB'>48</tseg></smm></features>",
    ),
    "efi": Feature(root=ACPI, os="<os firmware='efi'>@TYPE@</os>"),
    "efi-no-secure-boot": Feature(
        root=ACPI,
        os="<os firmware='efi'>@TYPE@<firmware><feature enabled='no' name='secure-boot'/></firmware></os>",
    ),
    "rom": Feature(os="<os>@TYPE@<loader type='rom'>/usr/share/seabios/bios.bin</loader></os>"),
    "kernel": Feature(
        os="<os>@TYPE@<kernel>/boot/vmlinuz</kernel><initrd>/boot/initrd.img</initrd><cmdline>console=ttyS0 root=/dev/vda</cmdline></os>"
    ),
    "boot-by-kind": Feature(
        os="<os>@TYPE@<boot dev='network'/><boot dev='hd'/><bootmenu enable='yes' timeout='3000'/><bios useserial='yes' rebootTimeout='0'/></os>",
        devices="<serial type='pty'/>",
    ),
    "boot-by-device": Feature(
        disk=DISK.replace("</disk>", "<boot order='2'/></disk>"),
        interface=INTERFACE.replace("</interface>", "<boot order='1'/></interface>"),
    ),
    "sysinfo": Feature(root=SMBIOS, os="<os>@TYPE@<smbios mode='sysinfo'/></os>"),
    # who and what it is
    "title": Feature(
        root="<title>the accounts</title><description>ask Ann &amp; Bob\nbefore noon</description><genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>"
    ),
    "metadata": Feature(
        root="<metadata><!-- kept by hand --><a:note xmlns:a='urn:a' b='1'>text<a:inner/></a:note><x xmlns='urn:default'><y z='&quot;'/></x></metadata>"
    ),
    "resource": Feature(root="<resource><partition>/machine/production</partition></resource>"),
    "seclabel-none": Feature(root="<seclabel type='none'/>"),
    "seclabel-dac": Feature(
        root="<seclabel type='static' model='dac' relabel='yes'><label>107:107</label></seclabel>"
    ),
    "qemu-commandline": Feature(
        attributes=QEMU,
        root="<qemu:commandline><qemu:arg value='-set'/><qemu:arg value='device.virtio-disk0.x=1'/><qemu:env name='X' value='1'/></qemu:commandline>",
    ),
    "comments": Feature(
        root="<!-- one --><features><!-- two --><acpi/></features>",
        devices="<!-- three --><watchdog model='i6300esb' action='reset'><!-- four --></watchdog>",
    ),
    # processors and memory
    "numa": Feature(
        root=f"<cpu mode='host-model'>{NUMA}</cpu><numatune><memory mode='strict' nodeset='0'/><memnode cellid='0' mode='preferred' nodeset='0'/></numatune>"
    ),
    "hugepages": Feature(
        root="<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages><locked/><nosharepages/></memoryBacking>"
    ),
    "memfd": Feature(root=SHARED),
    "memory-slots": Feature(
        memory="<maxMemory slots='16' unit='GiB'>4</maxMemory><memory unit='MiB'>768</memory>",
        root="<cpu><numa><cell id='0' cpus='0-1' memory='512' unit='MiB'/></numa></cpu>",
        devices="<memory model='dimm'><target><size unit='MiB'>256</size><node>0</node></target></memory>",
    ),
    "balloon-lower": Feature(
        memory="<memory unit='MiB'>1024</memory><currentMemory unit='MiB'>512</currentMemory>"
    ),
    "odd-memory": Feature(memory="<memory unit='b'>536872000</memory>"),
    "memtune": Feature(
        root="<memtune><hard_limit unit='GiB'>2</hard_limit><swap_hard_limit unit='GiB'>3</swap_hard_limit></memtune>"
    ),
    "blkiotune": Feature(
        root="<blkiotune><weight>800</weight><device><path>/dev/sda</path><read_bytes_sec>10485760</read_bytes_sec></device></blkiotune>"
    ),
    "cputune": Feature(
        vcpu="<vcpu placement='static' cpuset='0-1' current='2'>4</vcpu>",
        root="<cputune><shares>2048</shares><period>100000</period><quota>-1</quota><vcpupin vcpu='0' cpuset='0'/><emulatorpin cpuset='1'/></cputune>",
    ),
    "vcpus-list": Feature(
        vcpu="<vcpu current='2'>3</vcpu><vcpus><vcpu id='0' enabled='yes' hotpluggable='no' order='1'/><vcpu id='1' enabled='yes' hotpluggable='yes' order='2'/><vcpu id='2' enabled='no' hotpluggable='yes'/></vcpus>"
    ),
    "iothreads": Feature(
        root="<iothreads>2</iothreads><cputune><iothreadpin iothread='1' cpuset='0'/></cputune>",
        disk=DISK.replace("type='qcow2'", "type='qcow2' iothread='1' queues='2'"),
    ),
    "cpu-topology": Feature(
        vcpu="<vcpu>8</vcpu>",
        root="<cpu mode='host-passthrough' check='none' migratable='off'><topology sockets='2' dies='1' cores='2' threads='2'/><cache mode='passthrough'/><feature policy='disable' name='svm'/></cpu>",
    ),
    "cpu-dies": Feature(
        vcpu="<vcpu>8</vcpu>",
        root="<cpu mode='maximum'><topology sockets='1' dies='2' cores='2' threads='2'/></cpu>",
    ),
    "cpu-custom": Feature(
        root="<cpu mode='custom' match='exact' check='partial'><model fallback='allow'>Skylake-Server-IBRS</model><vendor>Intel</vendor><feature policy='require' name='pcid'/></cpu>"
    ),
    "hyperv": Feature(
        root="<features><acpi/><apic eoi='on'/><hyperv mode='custom'><relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='4096'/><vpindex state='on'/><vendor_id state='on' value='KVM Hv'/></hyperv><kvm><hidden state='on'/></kvm><pmu state='off'/><vmport state='off'/><ioapic driver='kvm'/><vmcoreinfo state='on'/></features>"
    ),
    "timers": Feature(
        root="<clock offset='timezone' timezone='Europe/Paris'><timer name='rtc' track='guest' tickpolicy='catchup'><catchup threshold='123' slew='120' limit='10000'/></timer><timer name='hpet' present='no'/><timer name='kvmclock' present='no'/></clock>"
    ),
    "power": Feature(
        root="<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>preserve</on_crash><on_lockfailure>pause</on_lockfailure><pm><suspend-to-mem enabled='yes'/></pm>"
    ),
    "perf": Feature(root="<perf><event name='cpu_cycles' enabled='yes'/></perf>"),
    # devices of the host
    "hostdev-usb": Feature(
        devices="<hostdev mode='subsystem' type='usb'><source startupPolicy='optional'><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>"
    ),
    "hostdev-pci": Feature(
        devices="<hostdev mode='subsystem' type='pci' managed='yes'><driver name='vfio'/><source><address domain='0' bus='0x3d' slot='0' function='0'/></source><rom bar='off'/></hostdev>"
    ),
    "hostdev-scsi": Feature(
        devices="<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/></source><readonly/></hostdev>"
    ),
    "hostdev-mdev": Feature(
        devices="<hostdev mode='subsystem' type='mdev' model='vfio-pci' display='off'><source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source></hostdev>"
    ),
    "nic-hostdev": Feature(
        interface=f"<interface type='hostdev' managed='yes'><mac address='{MAC}'/><source><address type='pci' domain='0' bus='0x3e' slot='0x10' function='0'/></source><vlan><tag id='42'/></vlan></interface>"
    ),
    "iommu": Feature(
        root="<features><acpi/><ioapic driver='qemu'/></features>",
        devices="<iommu model='intel'><driver intremap='on' caching_mode='on' iotlb='on'/></iommu>",
    ),
    # small devices
    "channels": Feature(
        devices="<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel><channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel><channel type='unix'><source mode='bind' path='/run/own.sock'/><target type='virtio' name='org.example.own'/></channel><graphics type='spice' autoport='yes'/>"
    ),
    "filesystem-9p": Feature(
        devices="<filesystem type='mount' accessmode='mapped'><source dir='/srv'/><target dir='srv'/><readonly/></filesystem>"
    ),
    "filesystem-virtiofs": Feature(
        root=SHARED,
        devices="<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' queue='1024'/><binary path='/usr/libexec/virtiofsd' xattr='on'><cache mode='always'/></binary><source dir='/srv'/><target dir='srv'/></filesystem>",
    ),
    "watchdog": Feature(
        devices="<watchdog model='ib700' action='poweroff'/>",
        machine="pc",  # libvirt 11 knows that q35 has no ISA for it
    ),
    "panic": Feature(
        devices="<panic model='isa'><address type='isa' iobase='0x505'/></panic>", machine="pc"
    ),
    "vsock": Feature(devices="<vsock model='virtio'><cid auto='no' address='3'/></vsock>"),
    "tpm-emulated": Feature(
        devices="<tpm model='tpm-crb'><backend type='emulator' version='2.0' persistent_state='yes'/></tpm>"
    ),
    "tpm-passthrough": Feature(
        devices="<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>"
    ),
    "sound": Feature(
        devices="<sound model='ich9'><codec type='micro'/><audio id='1'/></sound><audio id='1' type='none'/>"
    ),
    "video-heads": Feature(
        devices="<video><model type='qxl' ram='65536' vram='65536' vgamem='16384' heads='2' primary='yes'><acceleration accel3d='no'/></model></video><video><model type='qxl'/></video>"
    ),
    "video-none": Feature(devices="<video><model type='none'/></video>"),
    "video-ramfb": Feature(devices="<video><model type='ramfb'/></video><graphics type='vnc'/>"),
    "graphics": Feature(
        devices="<graphics type='vnc' port='5950' passwd='secret' keymap='de'><listen type='network' network='default'/></graphics><graphics type='spice' port='5951' autoport='no'><listen type='address' address='0.0.0.0'/><channel name='main' mode='insecure'/></graphics>"
    ),
    "graphics-egl": Feature(
        devices="<graphics type='egl-headless'/><graphics type='vnc' socket='/run/vnc.sock'/><video><model type='virtio'><acceleration accel3d='yes'/></model></video>"
    ),
    "graphics-sdl": Feature(devices="<graphics type='sdl' display=':0'/>"),
    "serials": Feature(
        devices="<serial type='tcp'><source mode='bind' host='127.0.0.1' service='2445'/><protocol type='telnet'/></serial><serial type='file'><source path='/tmp/serial.log' append='on'/></serial><serial type='pty'/>"
    ),
    "console-virtio": Feature(
        devices="<console type='pty'><target type='virtio' port='0'/></console>"
    ),
    "serial-usb": Feature(
        devices="<serial type='null'><target type='usb-serial' port='0'/></serial>"
    ),
    "parallel": Feature(devices="<parallel type='null'/>"),
    "smartcard": Feature(
        devices="<smartcard mode='passthrough' type='spicevmc'/><graphics type='spice'/>"
    ),
    "redirdev": Feature(
        devices="<redirdev bus='usb' type='tcp'><source mode='connect' host='localhost' service='4000'/></redirdev><redirfilter><usbdev class='0x08' allow='yes'/><usbdev allow='no'/></redirfilter>"
    ),
    "inputs": Feature(
        devices="<input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/><input type='passthrough' bus='virtio'><source evdev='/dev/input/event1'/></input>"
    ),
    "hub": Feature(devices="<hub type='usb'/>"),
    "balloon-none": Feature(devices="<memballoon model='none'/>"),
    "balloon-stats": Feature(
        devices="<memballoon model='virtio' autodeflate='on' freePageReporting='on'><stats period='10'/></memballoon>"
    ),
    "rng-egd": Feature(
        devices="<rng model='virtio'><rate bytes='1024' period='2000'/><backend model='egd' type='tcp'><source mode='connect' host='localhost' service='8000'/></backend></rng>"
    ),
    "shmem": Feature(
        devices="<shmem name='shm'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"
    ),
    "nvdimm": Feature(
        memory="<maxMemory slots='4' unit='GiB'>8</maxMemory><memory unit='MiB'>768</memory>",
        root="<cpu><numa><cell id='0' cpus='0-1' memory='512' unit='MiB'/></numa></cpu>",
        devices="<memory model='nvdimm' access='shared'><source><path>/tmp/nvdimm</path></source><target><size unit='MiB'>256</size><node>0</node><label><size unit='KiB'>128</size></label></target></memory>",
    ),
    "controllers": Feature(
        devices="<controller type='scsi' index='0' model='lsilogic'/><controller type='scsi' index='1' model='virtio-scsi'><driver queues='4' iothread='1'/></controller><controller type='usb' model='nec-xhci'/><controller type='ccid'/>",
        root="<iothreads>1</iothreads>",
    ),
    "usb-none": Feature(devices="<controller type='usb' model='none'/>"),
    "lease": Feature(
        devices="<lease><lockspace>somearea</lockspace><key>somekey</key><target path='/some/lease/path' offset='1024'/></lease>"
    ),
    "crypto-aliases": Feature(
        devices="<watchdog model='i6300esb' action='none'><alias name='ua-theirs'/></watchdog>",
        disk=DISK.replace("</disk>", "<alias name='ua-from-another-tool'/></disk>"),
    ),
    # disks
    "disk-rbd": disk(
        f"<disk type='network' device='disk'><driver name='qemu' type='raw' cache='writeback'/><auth username='admin'><secret type='ceph' usage='ceph_a'/></auth>{RBD}<target dev='vda' bus='virtio'/></disk>"
    ),
    "disk-nbd": disk(
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='export'><host name='nbd.example.org' port='10809'/></source><target dev='vda' bus='virtio'/></disk>"
    ),
    "disk-nbd-unnamed": second(
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd'><host transport='unix' socket='/run/nbd.sock'/></source><target dev='vdb' bus='virtio'/></disk>"
    ),
    "disk-iscsi": disk(
        "<disk type='network' device='lun'><driver name='qemu' type='raw'/><source protocol='iscsi' name='iqn.2013-07.com.example:iscsi/2'><host name='example.com' port='3260'/></source><target dev='sda' bus='scsi'/></disk>"
    ),
    "disk-https": second(
        "<disk type='network' device='cdrom'><driver name='qemu' type='raw'/><source protocol='https' name='iso/a.iso'><host name='example.org' port='443'/></source><target dev='sda' bus='sata'/><readonly/></disk>"
    ),
    "disk-block": disk(
        "<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none' io='native' discard='unmap'/><source dev='/dev/vg0/one'/><target dev='vda' bus='virtio'/></disk>"
    ),
    "disk-volume": disk(
        "<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='default' volume='@NAME@.qcow2'/><target dev='vda' bus='virtio'/></disk>"
    ),
    "disk-volume-absent": disk(
        "<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='gone' volume='unit:0:0:1' mode='host'/><target dev='vda' bus='virtio'/></disk>"
    ),
    "disk-dir": second(
        "<disk type='dir' device='floppy'><driver name='qemu' type='fat'/><source dir='/srv/floppy'/><target dev='fda' bus='fdc'/><readonly/></disk>"
    ),
    "disk-fat-dir": second(
        "<disk type='dir' device='disk'><driver name='qemu' type='fat'/><source dir='/srv/fat'/><target dev='vdb' bus='virtio'/><readonly/></disk>"
    ),
    "disk-nvme": second(
        "<disk type='nvme' device='disk'><driver name='qemu' type='raw'/><source type='pci' managed='yes' namespace='1'><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source><target dev='vdb' bus='virtio'/></disk>"
    ),
    "disk-vhostuser": second(
        "<disk type='vhostuser' device='disk'><driver name='qemu' type='raw'/><source type='unix' path='/run/vhost-blk.sock'/><target dev='vdb' bus='virtio'/></disk>",
        root=SHARED,
    ),
    "disk-lun": disk(
        "<disk type='block' device='lun' rawio='no'><driver name='qemu' type='raw'/><source dev='/dev/disk/by-id/wwn-1'><reservations managed='yes'/></source><target dev='sda' bus='scsi'/></disk>"
    ),
    "disk-vmdk": disk(
        "<disk type='file' device='disk'><driver name='qemu' type='vmdk'/><source file='/srv/a.vmdk'/><target dev='hda' bus='ide'/></disk>",
        machine="pc",
    ),
    "disk-iotune": Feature(
        disk=DISK.replace(
            "</disk>",
            "<iotune><total_bytes_sec>10000000</total_bytes_sec><read_iops_sec>400000</read_iops_sec></iotune><geometry cyls='16383' heads='16' secs='63'/><blockio logical_block_size='512' physical_block_size='4096'/><serial>WD-WMAP9A966149</serial></disk>",
        )
    ),
    "disk-encrypted": Feature(
        disk=DISK.replace(
            "/@NAME@.qcow2'/>",
            "/@NAME@.qcow2'><encryption format='luks'><secret type='passphrase' uuid='f52a81b2-424e-490c-823d-6bd4235bc572'/></encryption></source>",
        )
    ),
    "disk-chain": Feature(
        disk=DISK.replace(
            "<target",
            "<backingStore type='file'><format type='qcow2'/><source file='/images/base.qcow2'/><backingStore/></backingStore><target",
        )
    ),
    "disk-transient": Feature(
        disk=DISK.replace("</disk>", "<transient shareBacking='yes'/></disk>")
    ),
    "disk-shared": disk(
        "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' error_policy='stop'/><source file='/srv/shared.img'/><target dev='sda' bus='scsi'/><shareable/><wwn>5000c500a0b1c2d3</wwn></disk>"
    ),
    "disk-readonly": second(
        "<disk type='file' device='disk'><driver name='qemu' type='raw' io='threads' detect_zeroes='unmap' discard='unmap'/><source file='/srv/ro.img' startupPolicy='optional'/><target dev='vdz' bus='virtio'/><readonly/></disk>"
    ),
    "disk-no-driver": disk(
        "<disk type='file'><source file='/srv/plain.img'/><target dev='hda'/></disk>", machine="pc"
    ),
    "disk-usb": second(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/stick.img'/><target dev='sda' bus='usb' removable='on'/></disk>"
    ),
    "disk-sd": second(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/card.img'/><target dev='sdb' bus='scsi' rotation_rate='1'/><vendor>ACME</vendor><product>FAST</product></disk>"
    ),
    "disk-slices": Feature(
        disk=DISK.replace("qcow2'/>", "raw'/>", 1).replace(
            "@NAME@.qcow2'/>",
            "@NAME@.qcow2'><slices><slice type='storage' offset='0' size='1048576'/></slices></source>",
        )
    ),
    "disk-odd-names": disk(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/ein Ümlaut &amp; &lt;more&gt;.qcow2'/><target dev='vda' bus='virtio'/><serial>has spaces + more</serial></disk>"
    ),
    "disk-throttle": Feature(
        disk=DISK.replace(
            "</disk>",
            "<iotune><total_iops_sec>100</total_iops_sec><group_name>limits</group_name></iotune></disk>",
        )
    ),
    "disk-same-file": second(DISK.replace("vda", "vdb").replace("</disk>", "<readonly/></disk>")),
    "disk-vendor-empty": disk(
        "<disk type='file' device='disk' snapshot='external' model='virtio-transitional'><driver name='qemu' type='qcow2' rerror_policy='report' event_idx='on' ioeventfd='on'/><source file='/srv/t.qcow2'/><target dev='vda' bus='virtio'/></disk>"
    ),
    "no-devices": Feature(disk="", interface=""),
    "cdrom": second(
        "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='/srv/one.iso' startupPolicy='requisite'/><target dev='hdc' bus='ide'/><readonly/></disk>",
        machine="pc",
    ),
    "cdrom-empty": second(
        "<disk type='file' device='cdrom'><target dev='sda' bus='sata' tray='open'/><readonly/></disk>"
    ),
    "cdrom-block": second(
        "<disk type='block' device='cdrom'><driver name='qemu' type='raw'/><source dev='/dev/sr0'/><target dev='sda' bus='sata'/><readonly/></disk>"
    ),
    "cdrom-volume": second(
        "<disk type='volume' device='cdrom'><driver name='qemu' type='raw'/><source pool='default' volume='@NAME@.qcow2'/><target dev='sda' bus='sata'/><readonly/></disk>"
    ),
    "cdroms": second(
        "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk><disk type='file' device='cdrom'><source file='/srv/one.iso'/><target dev='sdb' bus='usb'/><readonly/></disk><disk type='file' device='floppy'><source file='/srv/floppy.img'/><target dev='fda' bus='fdc'/></disk>"
    ),
    "many-disks": second(
        "".join(
            f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/srv/{one}.img'/><target dev='vd{one}' bus='virtio'/></disk>"
            for one in "bcdefghij"
        )
    ),
    # interfaces
    "nic-bridge": nic(
        "bridge",
        "<source bridge='br0'/><virtualport type='openvswitch'><parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport><vlan trunk='yes'><tag id='42'/><tag id='123' nativeMode='untagged'/></vlan>",
    ),
    "nic-portgroup": nic("network", "<source network='default' portgroup='engineering'/>"),
    "nic-direct": nic("direct", "<source dev='eth0' mode='bridge'/>"),
    "nic-passthrough": nic(
        "direct",
        "<source dev='eth0' mode='passthrough'/><virtualport type='802.1Qbh'><parameters profileid='finance'/></virtualport>",
    ),
    "nic-user": nic("user", "<ip family='ipv4' address='172.17.2.0' prefix='24'/>"),
    "nic-ethernet": nic("ethernet", "<script path='/etc/qemu-ifup-mynet'/><target dev='tap7'/>"),
    "nic-udp": nic(
        "udp",
        "<source address='127.0.0.1' port='11115'><local address='127.0.0.1' port='11116'/></source>",
    ),
    "nic-server": nic("server", "<source address='192.168.0.1' port='5558'/>"),
    "nic-mcast": nic("mcast", "<source address='230.0.0.1' port='5558'/>"),
    "nic-vhostuser": nic(
        "vhostuser", "<source type='unix' path='/run/vhost1.sock' mode='server'/>", root=SHARED
    ),
    "nic-tuned": nic(
        "network",
        "<source network='default'/><target dev='mytap'/><bandwidth><inbound average='1000' peak='5000' floor='200' burst='1024'/><outbound average='128'/></bandwidth><mtu size='1450'/><coalesce><rx><frames max='7'/></rx></coalesce><filterref filter='clean-traffic'><parameter name='IP' value='10.0.0.1'/></filterref><port isolated='yes'/><tune><sndbuf>1600</sndbuf></tune><driver name='vhost' txmode='iothread' ioeventfd='on' event_idx='off' queues='5' rx_queue_size='256'><host csum='off' gso='off'/></driver><link state='down'/><rom file='/etc/fake/boot.bin'/>",
    ),
    "nic-teaming": Feature(
        interface=INTERFACE.replace(
            "</interface>", "<teaming type='persistent'/><alias name='ua-backup0'/></interface>"
        )
        + "<interface type='hostdev' managed='yes'><mac address='52:54:00:fe:00:02'/><source><address type='pci' domain='0' bus='0x3e' slot='0x10' function='0'/></source><teaming type='transient' persistent='ua-backup0'/></interface>"
    ),
    "nics-alike": Feature(
        interface=INTERFACE
        + INTERFACE.replace("00:01", "00:02")
        + INTERFACE.replace("00:01", "00:03").replace("virtio", "e1000e")
    ),
    "nics-mixed": Feature(
        interface=INTERFACE
        + "<interface type='user'><mac address='52:54:00:fe:00:04'/></interface><interface type='bridge'><mac address='52:54:00:fe:00:05'/><source bridge='br0'/></interface>"
    ),
    "nic-no-model": Feature(
        interface="<interface type='network'><source network='default'/></interface>"
    ),
    "nic-transitional": Feature(
        interface=INTERFACE.replace("type='virtio'", "type='virtio-non-transitional'")
    ),
    "nic-same-mac": Feature(
        interface=INTERFACE
        + "<interface type='bridge'><mac address='52:54:00:fe:00:01'/><source bridge='br0'/><model type='virtio'/></interface>"
    ),
    "nic-alias-odd": Feature(
        interface=INTERFACE.replace("</interface>", "<alias name='ua-vda'/></interface>")
    ),
    "no-interface": Feature(interface=""),
    "only-comments-in-metadata": Feature(root="<metadata><!-- nothing --></metadata>"),
}
