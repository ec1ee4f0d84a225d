"""Machines from one template share nothing but its content: not an address, a UUID or a firmware's memory."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Iterator, List

import pytest

from reconciler.core.machine import Machine
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.worlds import MIB, Product

TEMPLATE = """apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: gold}
spec: {volume: gold.qcow2, os: rocky9, generalized: cloud image, linkedClones: true}
"""
MACHINE = """---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  power: running
  machine: q35
  firmware: uefi
  cpus: 1
  memory: 128MiB
  disks: [{{name: root, size: 1GiB, source: {{template: gold, clone: {clone}}}}}]
  interfaces: [{{name: lan, network: default}}]
"""
CLONES = {"one": "full", "two": "full", "three": "linked"}
PATTERN = f"-P 85 0 {8 * MIB}"


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Iterator[Command]:
    """Return the command beside three running machines of one template."""
    gold = lab.images / "gold.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", gold, "512M"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -q {PATTERN}", gold], check=True)
    lab.virsh("pool-refresh", "default")
    command = Command(lab.uri(), tmp_path)
    machines = (MACHINE.format(name=name, clone=clone) for name, clone in CLONES.items())
    command.write("all.yaml", TEMPLATE + "".join(machines))
    yield command
    product.clear()


def digest(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def live(product: Product) -> List[Machine]:
    """Return the running machines."""
    return [read_machine(parse(product.live_xml(name))) for name in CLONES]


def test_each_has_its_own_addresses_and_firmware_memory(
    command: Command, product: Product, lab: LabHost
) -> None:
    gold = digest(lab.images / "gold.qcow2")
    command("apply", "--yes", "all.yaml")
    machines = live(product)
    assert len({machine.uuid for machine in machines}) == len(CLONES)
    assert len({each.mac for machine in machines for each in machine.interfaces or ()}) == len(
        CLONES
    )
    kept = [parse(product.live_xml(name)).findtext("os/nvram") or "" for name in CLONES]
    assert len(set(kept)) == len(CLONES)
    for path in kept:  # as the host sees it
        there = lab.folder / "lib" / Path(path).relative_to("/var/lib/libvirt")
        assert there.stat().st_size > 0
    assert digest(lab.images / "gold.qcow2") == gold
    # What libvirt wrote down of the firmware when it started them is no change.
    assert command("plan", "--detailed-exitcode", "all.yaml").stdout.endswith(
        "Plan: 0 to create, 0 to change (0 next-boot, 0 restart), 0 to delete (0 volumes), "
        "3 unchanged, 0 withheld.\n"
    )


def test_each_has_the_content_of_the_template_and_room_to_grow(
    command: Command, product: Product, lab: LabHost
) -> None:
    command.write(
        "all.yaml", (command.folder / "all.yaml").read_text().replace("running", "stopped")
    )
    command("apply", "--yes", "all.yaml")
    for name in CLONES:
        image = lab.images / f"{name}-root.qcow2"
        for check in (f"read -q {PATTERN}", f"read -q -P 0 {512 * MIB} {8 * MIB}"):
            read = ["qemu-io", "-r", "-f", "qcow2", "-c", check, str(image)]
            done = subprocess.run(read, capture_output=True, text=True, check=True)
            assert "Pattern verification failed" not in done.stdout
    assert set(product.volumes()) == {"gold.qcow2", *(f"{name}-root.qcow2" for name in CLONES)}
