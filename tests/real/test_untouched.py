"""Whatever a domain holds: what a manifest's change is not about stays, byte for byte."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Counter as Counts
from typing import FrozenSet, Iterable, Mapping

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lxml import etree

from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.names import MARK_NAMESPACE
from reconciler.core.xmltree import parse
from tests.lab.host import LabHost
from tests.real.worlds import GIB, MIB, Product, manifest_of

# What other tools and hands put into a domain. At the root, and below <devices>.
ROOT = (
    "<title>the accounts</title>", "<description>ask Ann &amp; Bob</description>",
    "<metadata><a:note xmlns:a='urn:a' b='1'>text<a:inner/></a:note></metadata>",
    "<iothreads>2</iothreads>",
    "<cputune><shares>512</shares><vcpupin vcpu='0' cpuset='0'/></cputune>",
    "<blkiotune><weight>500</weight></blkiotune>",
    "<memtune><hard_limit unit='KiB'>4194304</hard_limit></memtune>",
    "<memoryBacking><nosharepages/></memoryBacking>",
    "<sysinfo type='smbios'><bios><entry name='vendor'>us</entry></bios></sysinfo>",
    "<features><acpi/><apic/><pae/><vmport state='off'/></features>",
    "<cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model><feature policy='disable' name='svm'/></cpu>",
    "<clock offset='variable' adjustment='3600' basis='utc'><timer name='rtc' tickpolicy='catchup'/></clock>",
    "<on_crash>preserve</on_crash>", "<pm><suspend-to-mem enabled='no'/></pm>",
    "<seclabel type='none'/>",
)  # fmt: skip
DEVICES = (
    "<watchdog model='i6300esb' action='pause'/>", "<panic model='isa'/>",
    "<sound model='ich9'/>", "<input type='tablet' bus='usb'/>",
    "<channel type='unix'><target type='virtio' name='org.example.one'/></channel>",
    "<serial type='null'><target port='0'/></serial>",
    "<parallel type='null'><target port='0'/></parallel>",
    "<redirdev bus='usb' type='tcp'><source mode='connect' host='localhost' service='4000'/></redirdev>",
    "<filesystem type='mount' accessmode='mapped'><source dir='/srv'/><target dir='srv'/></filesystem>",
    "<controller type='scsi' index='3' model='lsilogic'/>", "<controller type='ccid' index='0'/>",
    "<memballoon model='virtio' autodeflate='on'><stats period='9'/></memballoon>",
    "<rng model='virtio'><rate bytes='1024' period='2000'/><backend model='random'>/dev/random</backend></rng>",
    "<graphics type='vnc' port='-1' listen='127.0.0.1' passwd='secret'/>",
    "<vsock model='virtio'><cid auto='yes'/></vsock>",
    "<shmem name='s'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>",
)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One change by a manifest, and the tags of the elements that it is about."""

    machine: Machine
    about: FrozenSet[str]


DISK = Disk("root", "virtio", GIB)
EDITS: Mapping[str, Edit] = {
    "memory": Edit(Machine("vm", memory=Memory(192 * MIB)), frozenset({"memory", "currentMemory"})),
    "cpus": Edit(Machine("vm", cpus=Cpus(2)), frozenset({"vcpu"})),
    "disk": Edit(Machine("vm", disks=(DISK,)), frozenset({"disk"})),
    "scsi disk": Edit(Machine("vm", disks=(replace(DISK, bus="scsi"),)), frozenset({"disk"})),
    "drive": Edit(Machine("vm", cdroms=(Cdrom("cd", "sata"),)), frozenset({"disk"})),
    "interface": Edit(
        Machine("vm", interfaces=(Interface("lan", "default", model="virtio"),)),
        frozenset({"interface"}),
    ),
    "agent": Edit(Machine("vm", guest_agent=True), frozenset()),
}


def domain(root: Iterable[str], devices: Iterable[str], kind: str) -> str:
    """Return a definition."""
    return f"""<domain type='{kind}'><name>vm</name><memory unit='MiB'>128</memory>
<vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
{"".join(root)}<devices>{"".join(devices)}</devices></domain>"""


def pieces(xml: str, about: FrozenSet[str]) -> Counts[str]:
    """Return root's, devices' and metadata's elements as text, but ours and what the edit is about."""
    root = parse(xml)
    children = [one for one in root if one.tag not in ("devices", "metadata")]
    children += [*root.iterfind("devices/*"), *root.iterfind("metadata/*")]
    kept = [
        child
        for child in children
        if child.tag not in about and MARK_NAMESPACE not in str(child.tag)
    ]
    return Counter(etree.tostring(one, with_tail=False, encoding="unicode") for one in kept)


@pytest.mark.parametrize("case", EDITS)
@settings(
    max_examples=25, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    root=st.lists(st.sampled_from(ROOT), unique=True, max_size=8),
    devices=st.lists(st.sampled_from(DEVICES), unique=True, max_size=8),
)
def test_what_the_change_is_not_about_stays(
    product: Product, lab: LabHost, case: str, root: list[str], devices: list[str]
) -> None:
    product.clear()
    edit = EDITS[case]
    kind = product.host.domains.read_caps("").domain_type
    path = lab.folder / "untouched.xml"
    path.write_text(domain(root, devices, kind), encoding="utf-8")
    lab.virsh("define", str(path))
    before = pieces(product.xml("vm"), edit.about)
    for outcome in product.apply(manifest_of(edit.machine), adopt_all=True):
        assert outcome.error is None, outcome.error
    gone = before - pieces(product.xml("vm"), edit.about)
    assert gone == Counter()
    assert product.plan(manifest_of(edit.machine)).is_empty
