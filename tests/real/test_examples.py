"""The examples on a real host, as a user would type it: from nothing to an empty plan, and drift."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from reconciler.core.machine import Machine
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.worlds import MIB, Product

EXAMPLES = Path(__file__).parents[2] / "manifests" / "examples"
IMAGES = {"rocky9-base.qcow2": "10G", "win2016-base.qcow2": "60G"}
NO_CHANGES = "No changes: the host matches the manifests."
LAST_LINE = (
    "Plan: 0 to create, 0 to change (0 next-boot, 0 restart), 0 to delete (0 volumes), "
    "4 unchanged, 0 withheld."
)


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Iterator[Command]:
    """Return the command beside a copy of the examples, on a host with their templates."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    for name, size in IMAGES.items():
        path = lab.images / name
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, size], check=True)
        write = f"write -q -P 85 0 {8 * MIB}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", write, path], check=True)
    lab.virsh("pool-refresh", "default")
    # The images hold no system, and an appliance would look for one in each test.
    yield Command(lab.uri(), tmp_path, has_programs=False)
    product.clear()


def machine(xml: str) -> Machine:
    """Read one."""
    return read_machine(parse(xml))


def is_as_wanted(command: Command) -> None:
    """Assert that nothing is left to do."""
    text = command("plan", "--detailed-exitcode", "examples").stdout
    assert NO_CHANGES in text
    assert text.splitlines()[-1] == LAST_LINE


def test_from_an_empty_host_to_an_empty_plan(command: Command, product: Product) -> None:
    assert "Plan: 4 to create, " in command("plan", "examples").stdout
    done = command("apply", "--yes", "examples").stdout
    assert "Applied: 4 created, 0 changed, 0 adopted, 0 deleted, 0 failed." in done
    is_as_wanted(command)
    the_field_notes_machine_is_right(product)
    the_others_are_right(product)


def the_field_notes_machine_is_right(product: Product) -> None:
    """Assert a full clone, grown, on virtio, and no CD-ROM drive in either configuration."""
    for xml in (product.xml("vm006-win2016"), product.live_xml("vm006-win2016")):
        found = machine(xml)
        assert found.cdroms == ()
        assert "device='cdrom'" not in xml
        [disk] = found.disks or ()
        assert (disk.bus, disk.format) == ("virtio", "qcow2")
    volume = product.host.storage.read_pool("default").volumes["vm006-win2016-root.qcow2"]
    assert (volume.backing, volume.capacity) == (None, 60 * 1024**3)


def the_others_are_right(product: Product) -> None:
    """Assert MACs of their own, UEFI, and a clone that is linked where it may be."""
    database, web = machine(product.xml("db01")), machine(product.xml("web01"))
    assert [disk.bus for disk in database.disks or ()] == ["virtio", "scsi"]
    assert (
        len({interface.mac for each in (database, web) for interface in each.interfaces or ()}) == 3
    )
    assert "firmware='efi'" in product.xml("uefi01")
    volumes = product.host.storage.read_pool("default").volumes
    assert (volumes["db01-root.qcow2"].backing or "").endswith("rocky9-base.qcow2")


def test_what_was_changed_by_hand_is_shown_and_repaired(command: Command, lab: LabHost) -> None:
    command("apply", "--yes", "examples")
    attach = ("attach-disk", "vm006-win2016", "", "sdb", "--type", "cdrom", "--targetbus", "sata")
    lab.virsh(*attach, "--config")
    lab.virsh("autostart", "--disable", "web01")
    lab.virsh("destroy", "web01")
    lab.virsh("detach-disk", "db01", "sda", "--live", "--config")
    shown = command("plan", "--detailed-exitcode", "examples", status=2).stdout
    for words in (
        "- live     cdroms[sdb]: sata empty → (none)",
        "~ offline  autostart: false → true",
        "~ offline  power: stopped → running",
        "+ live     disks[data]: scsi 20GiB, its own volume default/db01-data.qcow2",
        "0 to create, 3 to change (0 next-boot, 0 restart)",
    ):
        assert words in shown
    command("apply", "--yes", "examples")
    is_as_wanted(command)


def test_an_examples_machine_is_exported_forgotten_and_adopted(
    command: Command, lab: LabHost, product: Product
) -> None:
    command("apply", "--yes", "examples")
    live = product.live_xml("db01")
    lab.virsh("metadata", "db01", "urn:virt-reconciler:domain:1", "--remove", "--live", "--config")
    command.write("db01.yaml", command("export", "db01").stdout)
    foreign = command("apply", "--yes", "db01.yaml", status=4).stdout
    assert "> db01: not managed yet: adopt it with `adopt` or `apply --adopt`" in foreign
    command("adopt", "db01", "-f", "db01.yaml")
    assert NO_CHANGES in command("plan", "--detailed-exitcode", "db01.yaml").stdout
    assert "db01" in command("status").stdout
    assert machine(product.live_xml("db01")) == machine(live)
