"""A disk of an adopted machine moves to another bus: taken by libvirt and QEMU, on pc and q35."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import pytest

from reconciler.core.machine import Disk, Machine, Power
from reconciler.core.plan import Effect
from reconciler.core.world import GuestState
from reconciler.core.xmltree import Element, parse
from tests.lab.host import LabHost
from tests.real.worlds import Product, manifest_of

ADDRESS = "<address type='drive' controller='{}' bus='0' target='0' unit='{}'/>"
ON_PCI = "<address type='pci' domain='0x0000' bus='0x00' slot='{}' function='0x0'/>"
# What stands in the definition for a disk on that bus: its target, its address, its controller.
PLACES = {
    "sata": ("sda", ADDRESS.format(1, 0), "<controller type='sata' index='1'/>"),
    "scsi": ("sda", ADDRESS.format(0, 3), "<controller type='scsi' index='0' model='virtio-scsi'/>"),
    "ide": ("hda", ADDRESS.format(0, 0), "<controller type='ide' index='0'/>"),
    "virtio": ("vda", ON_PCI.format("0x1a"), ""),
}  # fmt: skip
PREFIXES = {"sata": "sd", "scsi": "sd", "virtio": "vd", "usb": "sd", "ide": "hd"}
MOVES = (
    ("q35", "sata", "virtio"), ("q35", "scsi", "virtio"), ("q35", "virtio", "sata"),
    ("q35", "virtio", "scsi"), ("q35", "sata", "usb"),
    ("pc", "ide", "virtio"), ("pc", "sata", "virtio"), ("pc", "virtio", "ide"),
    ("pc", "scsi", "virtio"), ("pc", "ide", "sata"),
)  # fmt: skip


@dataclass(frozen=True)
class Foreign:
    """A machine that somebody defined by hand, with a second disk beside the one that moves."""

    product: Product
    lab: LabHost

    def define(self, chipset: str, bus: str) -> Path:
        """Define it, and return the image of the disk that moves."""
        for name in ("one.qcow2", "two.qcow2"):
            self.lab.virsh("vol-create-as", "default", name, "1G", "--format", "qcow2")
        target, address, controller = PLACES[bus]
        image = self.lab.images / "one.qcow2"
        kind = self.product.host.domains.read_caps("").domain_type
        self.product.host.domains.define(f"""<domain type='{kind}'><name>vm</name>
<memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='{chipset}'>hvm</type></os>
<devices>{controller}
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
<source file='{image}'/><target dev='{target}' bus='{bus}'/><serial>KEPT</serial>
<boot order='2'/>{address}</disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{self.lab.images / "two.qcow2"}'/><target dev='sdz' bus='usb'/><boot order='1'/></disk>
</devices></domain>""")
        return image

    def move(self, image: Path, bus: str, os: Optional[str] = None) -> Machine:
        """Return the manifest's machine, which manages one field of one disk."""
        moved = Disk("root", bus, source=str(image))
        other = Disk("other", source=str(self.lab.images / "two.qcow2"))
        return Machine("vm", os=os, disks=(moved, other))

    def stored(self) -> Element:
        """Return the definition."""
        return parse(self.product.xml("vm"))


@pytest.fixture
def foreign(product: Product, lab: LabHost) -> Foreign:
    """Return a bench for such a machine."""
    return Foreign(product, lab)


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
@pytest.mark.parametrize("move", MOVES, ids="-".join)
def test_a_disk_moves_with_all_that_belongs_to_it(
    foreign: Foreign, move: tuple[str, str, str], running: bool
) -> None:
    chipset, before, after = move
    machine = foreign.move(foreign.define(chipset, before), after)
    product, domains = foreign.product, foreign.product.host.domains
    if running:
        domains.start("vm")
    manifest = manifest_of(machine)
    [action] = product.plan(manifest, adopt_all=True).actions
    changes = {change.path: change.effect for change in action.changes}
    assert changes["disks[root].bus"] is (Effect.NEXT_BOOT if running else Effect.OFFLINE)
    for outcome in product.apply(manifest, adopt_all=True):
        assert outcome.error is None, outcome.error
    [action] = product.plan(manifest).actions
    assert (action.changes, action.pending) == ((), ("disks[root].bus",) if running else ())
    the_definition_is_sound(foreign.stored(), before, after)
    if running:
        domains.power_off("vm")
    domains.start("vm")  # QEMU takes it too
    assert domains.read_domain("vm").state is GuestState.RUNNING
    assert product.plan(manifest).is_empty


def the_definition_is_sound(stored: Element, before: str, after: str) -> None:
    """Assert a new target, a fitting address, the serial and boot order kept, no idle controller."""
    [disk] = [
        element
        for element in stored.iterfind("devices/disk")
        if element.findtext("serial") == "KEPT"
    ]
    target, address = disk.find("target"), disk.find("address")
    boot, driver = disk.find("boot"), disk.find("driver")
    assert target is not None and boot is not None and driver is not None  # noqa: PT018
    assert (target.get("bus"), str(target.get("dev"))[:2]) == (after, PREFIXES[after])
    kind = {"virtio": "pci", "usb": "usb"}.get(after, "drive")
    assert address is not None
    assert address.get("type") == kind
    assert (boot.get("order"), driver.get("cache")) == ("2", "none")
    controllers = {
        (element.get("type"), element.get("index"))
        for element in stored.iterfind("devices/controller")
    }
    assert {"scsi": ("scsi", "0"), "sata": ("sata", "1")}.get(before) not in controllers


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_a_windows_guest_is_not_moved_unprepared(foreign: Foreign, running: bool) -> None:
    machine = foreign.move(foreign.define("q35", "sata"), "virtio", "win2k16")
    if running:
        foreign.product.host.domains.start("vm")
    manifest = manifest_of(machine)
    kept = manifest_of(replace(machine, power=Power.RUNNING if running else Power.STOPPED))
    for one in (manifest, kept):
        [action] = foreign.product.plan(one, adopt_all=True).actions
        [change] = [each for each in action.changes if each.path == "disks[root].bus"]
        assert change.effect is Effect.WITHHELD
        assert "the guest must have bound the new driver first" in change.reason
    for outcome in foreign.product.apply(manifest, adopt_all=True):
        assert outcome.error is None
    target = foreign.stored().find("devices/disk/target")
    assert target is not None
    assert target.get("bus") == "sata"
