"""Taking a domain over is whole or nothing: what another tool named, doubled, renamed or copied.

By the command line, on real libvirt; what is looked at is libvirt's definition, and that the guest
starts afterwards.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import yaml

from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.adapters.manifests.reader import load_manifests
from tests.lab.host import LabHost
from tests.real.faults import Fault, FaultyHost, fail
from tests.real.foreign.commanding import Commanding
from tests.real.worlds import Product

MARK = re.compile(r"\n *<vr:manifest .*?</vr:manifest>", re.DOTALL)
METADATA = re.compile(r"\n *<metadata>\s*</metadata>")
MAC, OTHER = "52:54:00:00:07:01", "52:54:00:00:07:02"
ROOT = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='@IMAGES@/a.qcow2'/><target dev='vda' bus='virtio'/>{}</disk>"
)
DATA = ROOT.replace("a.qcow2", "b.qcow2").replace("vda", "vdb")
DRIVE = (
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
    "<source file='@IMAGES@/tools.iso'/><target dev='sda' bus='sata'/><readonly/>{}</disk>"
)
CARD = (
    f"<interface type='network'><mac address='{MAC}'/><source network='other'/>"
    "<model type='virtio'/>{}</interface>"
)


def alias(name: str) -> str:
    return f"<alias name='ua-{name}'/>"


@dataclass(frozen=True)
class Hand:
    """Domains made by hand, and manifests for them."""

    lab: LabHost
    product: Product
    command: Commanding
    folder: Path

    def make_images(self) -> None:
        """Make two images and a medium."""
        for name in ("a.qcow2", "b.qcow2"):
            self.lab.virsh("vol-create-as", "default", name, "16M", "--format", "qcow2")
        (self.lab.images / "tools.iso").write_bytes(b"CD" * 4096)
        self.lab.virsh("pool-refresh", "default")

    def define(self, *devices: str, name: str = "vm", **more: str) -> str:
        """Define a domain with these devices; return its definition as libvirt has it."""
        body = "".join(devices).replace("@IMAGES@", str(self.lab.images))
        path = self.folder / f"{name}.xml"
        path.write_text(
            f"<domain type='qemu'><name>{name}</name>{more.get('head', '')}"
            "<memory unit='MiB'>64</memory><vcpu>1</vcpu>"
            f"<os{more.get('firmware', '')}><type arch='x86_64' machine='q35'>hvm</type>"
            f"{more.get('loader', '')}</os><features><acpi/><smm state='on'/></features>"
            f"<devices>{body}</devices></domain>",
            encoding="utf-8",
        )
        self.lab.virsh("define", str(path))
        return self.product.xml(name)

    def write(self, spec: Dict[str, Any], name: str = "vm") -> str:
        """Write a manifest and return its path."""
        text = json.dumps(spec).replace("@IMAGES@", str(self.lab.images))
        path = self.folder / f"{name}.yaml"
        document = {
            "apiVersion": "virt-reconciler/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": name},
            "spec": json.loads(text),
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return str(path)

    def is_settled(self, path: str) -> bool:
        """Whether nothing is left to do, which a plan says by its exit status."""
        return "No changes" in self.command("plan", "--detailed-exitcode", path)

    def volumes(self) -> List[str]:
        """Return the names of the files in the pool."""
        return sorted(one.name for one in self.lab.images.iterdir())


@pytest.fixture
def hand(product: Product, lab: LabHost, lab_host: LibvirtHost, tmp_path: Path) -> Iterator[Hand]:
    """Return a host with two images and a medium."""
    hand = Hand(lab, product, Commanding(lab_host, tmp_path / "state"), tmp_path)
    hand.make_images()
    yield hand
    for name in product.host.domains.list_domains():
        for snapshot in lab.virsh("snapshot-list", "--name", name).stdout.split():
            lab.virsh("snapshot-delete", name, snapshot, "--metadata")


def unmarked(xml: str) -> str:
    """Return the definition without what an adoption writes."""
    return METADATA.sub("", MARK.sub("", xml))


def test_domain_is_marked_although_a_removal_has_to_wait_for_the_next_apply(hand: Hand) -> None:
    hand.define(ROOT.format(""), DATA.format(""))
    spec = {
        "memory": "65MiB",
        "disks": [{"name": "root", "source": {"path": "@IMAGES@/a.qcow2"}}],
    }
    path = hand.write(spec)
    said = hand.command("apply", "--adopt", "--yes", path)
    assert "vm: adopted, 1 change applied, 1 withheld" in said
    assert "1 adopted, 0 deleted, 0 failed." in said
    adopted = hand.product.xml("vm")
    assert MARK.search(adopted)
    assert "b.qcow2" in adopted
    assert "vm: 1 change applied" in hand.command("apply", "--yes", path)
    assert "b.qcow2" not in hand.product.xml("vm")
    assert hand.is_settled(path)


FOREIGN = {
    "by image, medium and MAC": {
        "disks": [{"name": "root", "source": {"path": "@IMAGES@/a.qcow2"}}],
        "cdroms": [{"name": "tools", "media": "@IMAGES@/tools.iso"}],
        "interfaces": [{"name": "lan", "network": "other", "mac": MAC}],
    },
    "by volume, target and MAC": {
        "disks": [{"name": "root", "source": {"volume": "a.qcow2"}, "size": "16MiB"}],
        "cdroms": [{"name": "tools", "target": "sda"}],
        "interfaces": [{"name": "lan", "network": "other", "mac": MAC.upper()}],
    },
    "by target alone": {
        "disks": [{"name": "root", "target": "vda", "size": "16MiB"}],
        "cdroms": [{"name": "tools", "target": "sda", "media": "@IMAGES@/tools.iso"}],
    },
}
ALIASES = {
    "none": ("", "", ""),
    "short": tuple(map(alias, ("system", "cd", "mgmt"))),
    "long": tuple(alias(f"{one}-of-a-claim-with-a-rather-long-name-0123456789") for one in "abc"),
}


@pytest.mark.parametrize("spec", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("aliases", ALIASES.values(), ids=ALIASES)
def test_device_is_found_whatever_alias_it_has_and_nothing_but_the_mark_is_written(
    hand: Hand, spec: Dict[str, Any], aliases: Any
) -> None:
    shapes = zip((ROOT, DRIVE, CARD), aliases)
    before = hand.define(*(shape.format(one) for shape, one in shapes))
    path = hand.write(spec)
    hand.command("apply", "--adopt", "--yes", path)
    assert unmarked(hand.product.xml("vm")) == unmarked(before)
    assert hand.is_settled(path)
    hand.lab.virsh("start", "vm")
    assert hand.is_settled(path)
    exported = yaml.safe_load(hand.command("export", "vm"))
    said = hand.command("plan", hand.write(exported["spec"]))
    assert "vm: 1 change\n" in said
    assert "the manifest changed, but no field of the domain does" in said


DOUBLES: Dict[str, Dict[str, Any]] = {
    "a MAC": {
        "interfaces": [
            {"name": "mgmt", "network": "other", "mac": OTHER},
            {"name": "second", "bridge": "br0", "mac": OTHER.replace("02", "03")},
        ]
    },
    "an image, by the field xml": {
        "xml": [
            {
                "xpath": "/domain/devices/disk[target/@dev='vda']",
                "fragment": "<source file='@IMAGES@/b.qcow2'/>",
            }
        ]
    },
}
REASONS = {
    "a MAC": (
        f"interfaces[mgmt]: the domain's interface {MAC} has the alias ua-mgmt, but the MAC "
        f"address that the manifest gives, {OTHER}, is that of interface {OTHER}"
    ),
    "an image, by the field xml": "would be on two devices",
}


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
@pytest.mark.parametrize("what", DOUBLES)
def test_no_definition_gets_an_image_or_a_mac_twice_and_nothing_is_changed(
    hand: Hand, what: str, running: bool
) -> None:
    second = CARD.replace(MAC, OTHER).format("")
    hand.define(ROOT.format(alias("system")), DATA.format(""), CARD.format(alias("mgmt")), second)
    if running:
        hand.lab.virsh("start", "vm")
    before = hand.product.xml("vm")
    said = hand.command("apply", "--adopt", "--yes", hand.write(DOUBLES[what]), status=1)
    assert REASONS[what] in said
    assert hand.product.xml("vm") == before


SHARED = "<memoryBacking><access mode='shared'/></memoryBacking>"  # libvirt 11: for vhostuser
OTHERS = (
    "<interface type='direct'><mac address='52:54:00:00:01:01'/><source dev='eno1' mode='bridge'/>"
    "<model type='virtio'/></interface>",
    "<interface type='user'><mac address='52:54:00:00:01:02'/><model type='virtio'/></interface>",
    "<interface type='hostdev' managed='yes'><mac address='52:54:00:00:01:03'/><source><address "
    "type='pci' domain='0' bus='0x3e' slot='0x10' function='0'/></source></interface>",
    "<interface type='vhostuser'><mac address='52:54:00:00:01:04'/><source type='unix' "
    "path='/run/ovs.sock' mode='client'/><model type='virtio'/></interface>",
    "<interface type='ethernet'><mac address='52:54:00:00:01:05'/><target dev='tap9'/></interface>",
)


def test_cards_that_a_manifest_cannot_make_are_exported_adopted_and_left_alone(hand: Hand) -> None:
    before = hand.define(CARD.format(""), *OTHERS, head=SHARED)
    text = hand.command("export", "vm")
    exported = yaml.safe_load(text)["spec"]
    assert [set(one) for one in exported["interfaces"][1:]] == [{"name", "mac"}] * len(OTHERS)
    assert "# interface 52:54:00:00:01:01: macvtap on eno1; named only" in text
    path = hand.write(exported)
    hand.command("adopt", "vm", "-f", path)
    assert hand.is_settled(path)
    assert unmarked(hand.product.xml("vm")) == unmarked(before)

    less = {**exported, "interfaces": exported["interfaces"][:-1], "memory": "65MiB"}
    less["interfaces"][2:] = []
    said = hand.command("plan", hand.write(less))
    assert "SR-IOV function on 0000:3e:10.0 52:54:00:00:01:03 → (none)" in said
    hand.command("apply", "--yes", hand.write(less))
    assert re.findall(r"<mac address='([^']*)'", hand.product.xml("vm")) == [
        MAC,
        "52:54:00:00:01:01",
    ]


MACHINE = {"cpus": 1, "memory": "64MiB", "power": "stopped", "interfaces": []}
OWN = {**MACHINE, "disks": [{"name": "root", "size": "16MiB"}]}


def test_running_card_of_another_kind_is_plugged_over_at_the_next_boot(hand: Hand) -> None:
    hand.define(
        f"<interface type='user'><mac address='{MAC}'/><model type='virtio'/>"
        "<ip family='ipv4' address='172.17.2.0' prefix='24'/></interface>"
    )
    hand.lab.virsh("start", "vm")
    card = {"name": "lan", "mac": MAC}
    hand.command("apply", "--adopt", "--yes", hand.write({"interfaces": [card]}))
    path = hand.write({"interfaces": [{**card, "network": "default"}]})
    assert "next-boot  interfaces[lan].network: default" in hand.command("plan", path)
    hand.command("apply", "--yes", path)
    assert "<interface type='user'>" in hand.product.live_xml("vm")
    assert "<source network='default'/>" in hand.product.xml("vm")
    assert hand.is_settled(path)


def test_renamed_machine_is_not_made_again_and_is_adopted_with_its_own_disks(hand: Hand) -> None:
    hand.command("apply", "--yes", hand.write(OWN, "old"))
    hand.lab.virsh("domrename", "old", "new")
    there = hand.volumes()
    said = hand.command("plan", "--detailed-exitcode", hand.write(OWN, "old"), status=1)
    assert "domain new has the mark of old: it was renamed" in said
    assert "virsh domrename new old" in said
    hand.command("apply", "--yes", hand.write(OWN, "old"), status=1)
    assert "has the mark of old" in hand.command("status")

    hand.lab.virsh("domrename", "new", "old")
    assert hand.is_settled(hand.write(OWN, "old"))

    hand.lab.virsh("domrename", "old", "new")
    path = hand.write(OWN, "new")
    hand.command("adopt", "new", "-f", path)
    assert hand.is_settled(path)
    assert hand.volumes() == there
    assert "<vr:made path=" in hand.product.xml("new")
    # Its old name is free for another machine, and no record of the former one is in the way.
    said = hand.command("plan", hand.write(OWN, "old"), status=1)
    assert "old-root.qcow2' exists already in pool 'default', and is used by domain new" in said
    other = hand.write({**OWN, "disks": [{"name": "other", "size": "16MiB"}]}, "old")
    hand.command("apply", "--yes", other)
    assert hand.is_settled(other)
    assert hand.is_settled(path)


def test_copy_of_a_machine_is_nobodys_and_inherits_nothing(hand: Hand) -> None:
    hand.command("apply", "--yes", hand.write(OWN, "old"))
    text = hand.product.xml("old").replace("<name>old<", "<name>copy<")
    text = re.sub(r"\n *<uuid>.*?</uuid>", "", text)
    copy = hand.folder / "copy.xml"
    copy.write_text(text.replace("old-root.qcow2'", "b.qcow2'"), encoding="utf-8")
    hand.lab.virsh("define", str(copy))
    assert hand.is_settled(hand.write(OWN, "old"))
    assert "copy" not in hand.command("status")

    hand.lab.virsh("undefine", "old")
    hand.lab.virsh("vol-delete", "old-root.qcow2", "default")
    said = hand.command("plan", hand.write({**OWN, "memory": "65MiB"}, "old"))
    assert "has the mark" not in said
    path = hand.write({**MACHINE, "disks": [{"name": "root", "target": "vda"}]}, "copy")
    hand.command("adopt", "copy", "-f", path)
    assert "<vr:made" not in hand.product.xml("copy")
    assert hand.is_settled(path)


FLASH = (
    "<loader readonly='yes'{} type='pflash'>/usr/share/OVMF/OVMF_CODE_4M{}.fd</loader>"
    "<nvram template='/usr/share/OVMF/OVMF_VARS_4M{}.fd'/>"
)
FIRMWARE = {
    "left to libvirt": (" firmware='efi'", "", "uefi"),
    "without Secure Boot": (
        " firmware='efi'",
        "<firmware><feature enabled='no' name='secure-boot'/></firmware>",
        "uefi",
    ),
    "with Secure Boot": (
        " firmware='efi'",
        "<firmware><feature enabled='yes' name='enrolled-keys'/>"
        "<feature enabled='yes' name='secure-boot'/></firmware>",
        "uefi-secure",
    ),
    "by path": ("", FLASH.format("", "", ""), "uefi"),
    "by path with Secure Boot": ("", FLASH.format(" secure='yes'", ".ms", ".ms"), "uefi-secure"),
}


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
@pytest.mark.parametrize("what", FIRMWARE)
def test_guest_with_uefi_is_exported_and_adopted_as_it_is(
    hand: Hand, what: str, running: bool
) -> None:
    firmware, loader, wanted = FIRMWARE[what]
    before = hand.define(ROOT.format(""), firmware=firmware, loader=loader)
    if running:
        hand.lab.virsh("start", "vm")
        before = hand.product.xml("vm")
    exported = yaml.safe_load(hand.command("export", "vm"))["spec"]
    # A newer libvirt decides when it is defined what an older one leaves to each start.
    assert exported["firmware"] in {wanted, "uefi-secure" if not loader else wanted}
    path = hand.write(exported)
    hand.command("adopt", "vm", "-f", path)
    assert hand.is_settled(path)
    assert unmarked(hand.product.xml("vm")) == unmarked(before)
    assert "restart required" not in hand.command("plan", path)
    if not running:
        hand.lab.virsh("start", "vm")
        assert hand.is_settled(path)


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_domain_that_is_not_ours_in_the_end_is_as_it_was_wherever_the_adoption_failed(
    hand: Hand, running: bool
) -> None:
    # A guest without a system does not let a new disk go again.
    logs = [] if running else [{"name": "logs", "size": "16MiB"}]
    path = hand.write(
        {
            "memory": "65MiB",
            "disks": [{"name": "root", "target": "vda", "size": "20MiB"}, *logs],
            "cdroms": [{"name": "tools", "target": "sda", "media": "none"}],
        }
    )
    manifest = load_manifests([path]).desired.machines[0]
    at, ends = 0, []
    while True:
        before = hand.define(ROOT.format(alias("system")), DRIVE.format(""))
        if running:
            hand.lab.virsh("start", "vm")
        run = hand.product.live_xml("vm") if running else ""
        faulty = FaultyHost.around(hand.product.host, Fault(at, fail))
        [outcome] = hand.product.apply(manifest, host=faulty, adopt_all=True)
        if outcome.error is None:
            break
        is_ours = MARK.search(hand.product.xml("vm")) is not None
        ends.append(is_ours)
        assert is_ours or hand.product.xml("vm") == before, outcome.error
        assert is_ours or not running or hand.product.live_xml("vm") == run, outcome.error
        assert is_ours == bool(outcome.kept), outcome
        assert is_ours == ("the domain is adopted" in outcome.error)
        assert "logs" not in hand.product.xml("vm")
        hand.product.clear()
        hand.make_images()
        at += 1
    assert not ends[0]
    assert ends[-1]  # the image was grown, and does not shrink


def test_disk_on_a_snapshot_is_exported_by_the_image_below_which_lasts(hand: Hand) -> None:
    hand.define(ROOT.format(""))
    hand.lab.virsh("snapshot-create-as", "vm", "before")
    hand.lab.virsh(
        "snapshot-create-as", "vm", "nightly", "--disk-only", "--diskspec", "vda,snapshot=external"
    )
    assert "a.nightly" in hand.product.xml("vm")
    text = hand.command("export", "vm")
    assert "# disk vda: on external snapshot 'nightly' (" in text
    assert "# internal snapshots are not changed: before\n" in text
    exported = yaml.safe_load(text)["spec"]
    assert exported["disks"][0]["source"] == {"volume": "a.qcow2", "pool": "default"}
    path = hand.write(exported)
    hand.command("adopt", "vm", "-f", path)
    assert hand.is_settled(path)
    assert "a.nightly" in hand.product.xml("vm")
    hand.lab.virsh("start", "vm")
    assert hand.is_settled(path)
    hand.lab.virsh("blockcommit", "vm", "vda", "--active", "--pivot", "--wait")
    assert "a.nightly" not in hand.product.xml("vm")
    assert hand.is_settled(path)
