"""Domain XML that tests of the command line look at."""

from __future__ import annotations

from reconciler.core.world import PoolView, VolumeView, World
from tests.unit.domain.samples import PC, Q35

_DATA = VolumeView("fast", "data.qcow2", "/fast/data.qcow2", "qcow2", 2**30)
# What export looks at besides the domains: what is a default here, and which volumes there are.
AROUND = World(
    "kvm01",
    "qemu:///system",
    networks={"default": True},
    pools={"fast": PoolView("fast", "dir", "/fast", {_DATA.name: _DATA})},
    machines={"": Q35, Q35.machine: Q35, PC.machine: PC},
)

STORED = """\
<domain type='kvm'>
  <name>web01</name>
  <uuid>6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a10</uuid>
  <memory unit='KiB'>2097152</memory>
  <currentMemory unit='KiB'>2097152</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='/var/lib/libvirt/images/web01.qcow2'/>
      <target dev='sda' bus='sata'/>
      <alias name='ua-root'/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:aa:bb:cc'/>
      <source network='default'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'/>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <graphics type='vnc' port='-1'/>
    <video>
      <model type='virtio'/>
    </video>
    <memballoon model='virtio'/>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
  </devices>
</domain>
"""

LIVE = STORED.replace("<domain type='kvm'>", "<domain type='kvm' id='7'>")

ODD = """\
<domain type='kvm'>
  <name>odd one</name>
  <uuid>6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a11</uuid>
  <memory unit='KiB'>8388608</memory>
  <currentMemory unit='KiB'>4194304</currentMemory>
  <vcpu placement='static' current='2'>8</vcpu>
  <cputune><shares>512</shares></cputune>
  <os firmware='efi'>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <cpu mode='host-model'>
    <topology sockets='1' dies='1' cores='4' threads='2'/>
  </cpu>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' io='native'/>
      <source file='/srv/images/a disk.raw'/>
      <target dev='vda' bus='virtio'/>
      <serial>no</serial>
      <boot order='1'/>
    </disk>
    <disk type='volume' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source pool='fast' volume='data.qcow2'/>
      <target dev='vdb' bus='virtio'/>
      <readonly/>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='vmdk'/>
      <source protocol='rbd' name='pool/image'/>
      <target dev='sda' bus='scsi'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <source file='/iso/rocky.iso'/>
      <target dev='sdb' bus='sata'/>
      <readonly/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='sdc' bus='sata'/>
      <readonly/>
    </disk>
    <disk type='file' device='floppy'>
      <target dev='fda' bus='fdc'/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:aa:bb:01'/>
      <source network='default'/>
      <model type='e1000e'/>
      <link state='down'/>
    </interface>
    <interface type='bridge'>
      <mac address='52:54:00:aa:bb:02'/>
      <source bridge='br0.100'/>
      <model type='virtio'/>
    </interface>
    <video>
      <model type='ramfb'/>
    </video>
    <hostdev mode='subsystem' type='pci'/>
    <hostdev mode='subsystem' type='pci'/>
    <watchdog model='i6300esb'/>
    <tpm model='tpm-crb'><backend type='emulator'/></tpm>
  </devices>
</domain>
"""
