"""A staged bus change from and to other buses than sata and virtio: what moves, and what stays."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Sequence, Tuple

import pytest

from reconciler.core.machine import Cdrom, Disk, Disruption
from reconciler.core.manifest import BusChange, Lifecycle, MachineManifest
from reconciler.core.plan import ActionKind
from reconciler.core.xmltree import Element, parse
from reconciler.kinds.machine.domain.bus_change import find_own
from tests.lab.guest import Guest, boot_overlays
from tests.real import test_staged_bus_change as staged
from tests.real.booting import LIMIT, Bench
from tests.real.scenarios import BASE
from tests.real.worlds import MIB, Product, manifest_of

NAME = BASE.name
MEDIA = 4096  # bytes of one.iso
LIFECYCLE = Lifecycle(Disruption.RESTART, bus_change=BusChange("staged"))
pytestmark = pytest.mark.dated


def manifest_on(chipset: str, system: str, other: str, media: str) -> MachineManifest:
    """Return a machine with a system disk and another on these buses, and a CD-ROM on sata.

    The other disk comes first, and the system disk is the one that it boots from.
    """
    disks = (
        Disk("data", other, 32 * MIB, serial="DATA01"),
        Disk("root", system, 64 * MIB, serial="ROOT01", boot=1),
    )
    machine = replace(
        BASE,
        machine=chipset,
        guest_agent=True,
        disks=disks,
        cdroms=(Cdrom("install", "sata", f"{media}/one.iso"),),
        overlays=boot_overlays(),
    )
    return manifest_of(machine, LIFECYCLE)


def walk(product: Product, guest: Guest, moved: MachineManifest) -> None:
    """Apply until nothing is left to do; the guest gets the helper disk while it runs."""
    boot_id = guest.boot_id()
    staged.apply(product, moved)
    assert find_own(product.live_xml(NAME)) is not None
    assert guest.boot_id() == boot_id

    def is_over() -> bool:
        guest.wait_ready(LIMIT)
        if staged.plan(product, moved).action is ActionKind.NONE:
            return True
        staged.apply(product, moved)
        return False

    staged.wait(is_over, "nothing is left to do")
    guest.wait_ready(LIMIT)
    assert guest.boot_id() != boot_id
    assert staged.find_mark(product) is None


def find_boot(xml: str) -> Sequence[Tuple[str, str]]:
    """Return serial and boot number of each device that the guest may boot from."""
    disks = parse(xml).iterfind("devices/disk[boot]")
    return [(disk.findtext("serial") or "", _find(disk, "boot", "order")) for disk in disks]


def find_controllers(xml: str) -> List[Tuple[str, str]]:
    """Return kind and index of the controllers that have disks."""
    found = parse(xml).iterfind("devices/controller")
    places = ((element.get("type", ""), element.get("index", "")) for element in found)
    return sorted(place for place in places if place[0] in ("ide", "sata", "scsi"))


def _find(element: Element, tag: str, attribute: str) -> str:
    child = element.find(tag)
    return "" if child is None else child.get(attribute, "")


def the_guest_has(guest: Guest, bus: str) -> None:
    """Assert that the guest sees both disks on the bus, and reads its CD-ROM."""
    assert [guest.disk(size * MIB)["bus"] for size in (64, 32)] == [bus, bus]
    assert guest.media_size() == MEDIA


def test_disks_move_to_scsi_and_from_there_to_virtio(
    bench: Bench, product: Product, media: str
) -> None:
    guest = bench.boot(manifest_on("q35", "sata", "sata", media))
    scsi, virtio = (manifest_on("q35", bus, bus, media) for bus in ("scsi", "virtio"))
    walk(product, guest, scsi)
    the_guest_has(guest, "scsi")
    for xml in (product.xml(NAME), product.live_xml(NAME)):
        assert staged.buses(xml) == ("scsi", "scsi", "sata")
        assert find_boot(xml) == [("ROOT01", "1")]
        assert find_controllers(xml) == [("sata", "0"), ("scsi", "0")]
    walk(product, guest, virtio)
    the_guest_has(guest, "virtio")
    for xml in (product.xml(NAME), product.live_xml(NAME)):
        assert staged.buses(xml) == ("virtio", "virtio", "sata")
        assert find_boot(xml) == [("ROOT01", "1")]
    assert find_controllers(product.xml(NAME)) == [("sata", "0")]
    assert product.volumes() == {f"{NAME}-data.qcow2", f"{NAME}-root.qcow2"}


def test_a_guest_of_the_older_chipset_moves_from_ide_and_sata_and_keeps_its_cdrom(
    bench: Bench, product: Product, media: str
) -> None:
    guest = bench.boot(manifest_on("pc", "ide", "sata", media))
    walk(product, guest, manifest_on("pc", "virtio", "virtio", media))
    the_guest_has(guest, "virtio")
    for xml in (product.xml(NAME), product.live_xml(NAME)):
        assert staged.buses(xml) == ("virtio", "virtio", "sata")
        assert find_boot(xml) == [("ROOT01", "1")]
        assert find_controllers(xml) == [("ide", "0"), ("sata", "0")]
    assert product.volumes() == {f"{NAME}-data.qcow2", f"{NAME}-root.qcow2"}
