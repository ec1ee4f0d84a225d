"""Clones of a machine: while it is off, while it runs, and when something happens meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, List, Tuple, cast

import libvirt
import libvirt_qemu
import pytest

from reconciler.core.machine import Disk
from tests.lab.guest import Guest
from tests.lab.host import LabHost
from tests.real.booting import Bench
from tests.real.commands import Command
from tests.real.scenarios import BASE
from tests.real.worlds import MIB, Product

# It has no system: it runs, and its disks are as they were filled.
SOURCE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: web01}
spec:
  cpus: 1
  memory: 64MiB
  interfaces: []
  disks:
    - {name: root, bus: virtio, size: 1GiB}
    - {name: data, bus: virtio, size: 8MiB, format: raw}
    - {name: rest, bus: virtio, size: 8MiB}
"""
CLONE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: web02}
spec:
  cpus: 1
  memory: 64MiB
  interfaces: []
  disks:
    - {name: root, bus: virtio, size: 1100MiB, source: {clone: {machine: web01}}}
    - {name: logs, bus: virtio, source: {clone: {machine: web01, disk: data}}}
"""
ATTEMPTS = 5
LONG = 900 * MIB  # so much that the copy is slowed down before it is done


@dataclass(frozen=True)
class Cloning:
    """The host with `web01`, whose disks are filled, and the command."""

    lab: LabHost
    command: Command

    def make_source(self) -> None:
        """Create `web01`, which is off, and fill its disks."""
        self.command("apply", "--yes", str(self.command.write("web01.yaml", SOURCE)))
        self.command.write("web02.yaml", CLONE)
        self.fill("root.qcow2", 16 * MIB)
        self.fill("data.img", 4 * MIB)

    def fill(self, name: str, size: int) -> None:
        """Write into a disk of `web01`, which is off."""
        kind = "raw" if name.endswith("img") else "qcow2"
        words = ["qemu-io", "-f", kind, "-c", f"write -P 7 0 {size}"]
        path = str(self.lab.images / f"web01-{name}")
        subprocess.run([*words, path], check=True, capture_output=True)

    def fill_densely(self, name: str, size: int) -> None:
        """Write compressed data into a qcow2 disk of `web01`, which takes long to read."""
        self.fill(name, size)
        path, packed = self.lab.images / f"web01-{name}", self.command.folder / name
        convert = ["qemu-img", "convert", "-c", "-O", "qcow2", str(path), str(packed)]
        subprocess.run(convert, check=True)
        path.write_bytes(packed.read_bytes())
        packed.unlink()

    @property
    def domain(self) -> libvirt.virDomain:
        """The machine that is cloned."""
        return libvirt.open(self.lab.uri()).lookupByName("web01")

    def ask(self, command: str) -> List[object]:
        """Return what QEMU answers."""
        text = json.dumps({"execute": command})
        answer = libvirt_qemu.qemuMonitorCommand(self.domain, text, 0)
        return cast("List[object]", json.loads(answer)["return"])

    def look(self) -> Tuple[str, str, List[str]]:
        """Return all of the source that a copy could leave something in."""
        nodes = [cast("dict[str, str]", node) for node in self.ask("query-named-block-nodes")]
        return (
            self.domain.XMLDesc(),
            self.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
            sorted(f"{node['file']} {node.get('dirty-bitmaps')}" for node in nodes),
        )

    def apply(self, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Apply the clone."""
        return self.command("apply", "--yes", "web02.yaml", status=status)

    def compare(self) -> None:
        """Assert that the clone's disks have what the source's have."""
        for mine, own in (("root.qcow2", "root.qcow2"), ("logs.img", "data.img")):
            paths = [str(self.lab.images / name) for name in (f"web02-{mine}", f"web01-{own}")]
            done = subprocess.run(
                ["qemu-img", "compare", "-U", *paths], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        self.command("plan", "--detailed-exitcode", "web02.yaml")

    def start_slowly(self) -> subprocess.Popen[str]:
        """Begin to apply, and return once the disks are being copied."""
        for _ in range(ATTEMPTS):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.real.slow_copy", self.lab.uri(), "web02.yaml"],
                cwd=self.command.folder, env=self.command.environment, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            lines = []
            for line in cast("IO[str]", process.stdout):
                lines.append(line)
                if "copying" in line:
                    return process
            _, err = process.communicate()
            assert process.returncode == 0, "".join(lines) + err
            self.lab.virsh("undefine", "web02")  # it was done before it could be slowed down
            for name in ("web02-root.qcow2", "web02-logs.img"):
                self.lab.virsh("vol-delete", name, "default")
        raise AssertionError("the copy is done before it can be slowed down")


@pytest.fixture
def cloning(product: Product, lab: LabHost, tmp_path: Path) -> Cloning:
    cloning = Cloning(lab, Command(lab.uri(), tmp_path))
    cloning.make_source()
    return cloning


def test_a_machine_is_cloned_while_it_is_off(cloning: Cloning) -> None:
    plan = cloning.command("plan", "web02.yaml").stdout
    assert "full clone of machine web01, disk root," in plan
    cloning.apply()
    cloning.compare()


def test_a_running_machine_is_cloned_and_nothing_stays_in_it(cloning: Cloning) -> None:
    cloning.lab.virsh("start", "web01")
    before = cloning.look()
    plan = cloning.command("plan", "web02.yaml").stdout
    assert "copy of machine web01, disk root, (1GiB)" in plan
    assert "copied while web01 runs: crash-consistent" in plan
    cloning.apply()
    assert cloning.look() == before
    assert cloning.ask("query-block-jobs") == []
    cloning.compare()


def test_a_kill_in_the_middle_leaves_nothing_once_it_is_applied_again(cloning: Cloning) -> None:
    cloning.fill_densely("root.qcow2", LONG)
    cloning.lab.virsh("start", "web01")
    before = cloning.look()
    process = cloning.start_slowly()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cloning.ask("query-block-jobs") != []
    cloning.apply()
    assert cloning.look() == before
    cloning.compare()


@pytest.mark.parametrize("end", ["shutdown", "interrupt"])
def test_what_ends_in_the_middle_is_not_taken_for_a_copy(cloning: Cloning, end: str) -> None:
    cloning.fill_densely("root.qcow2", LONG)
    cloning.lab.virsh("start", "web01")
    before = cloning.look()
    process = cloning.start_slowly()
    if end == "shutdown":
        cloning.lab.virsh("destroy", "web01")
        _, err = process.communicate()
        assert process.returncode == 1
        assert "web01 was shut down while its disks were copied" in err + _
    else:
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert cloning.look() == before
    assert not (cloning.lab.images / "web02-root.qcow2").exists()
    cloning.apply()
    cloning.compare()


def test_a_guest_is_frozen_by_its_agent_for_the_moment_of_the_copy(
    bench: Bench, lab: LabHost, tmp_path: Path
) -> None:
    guest = bench.boot(bench.manifest(replace(BASE, disks=(Disk("root", "virtio", 64 * MIB),))))
    text = CLONE.replace("{machine: web01}", "{machine: guest, freeze: true}")
    command = Command(lab.uri(), tmp_path)
    command.write("web02.yaml", text[: text.index("    - {name: logs")])
    assert "file systems frozen for the copy" in command("plan", "web02.yaml").stdout
    command("apply", "--yes", "web02.yaml")
    assert guest.ask("guest-fsfreeze-status") == "thawed"
    assert Guest(lab.uri(), "guest").ask("guest-ping") == {}


def test_a_guest_without_an_agent_is_not_taken_for_frozen(cloning: Cloning) -> None:
    cloning.lab.virsh("start", "web01")
    before = cloning.look()
    cloning.command.write("web02.yaml", CLONE.replace("web01}", "web01, freeze: true}"))
    assert "does not freeze the file systems" in cloning.apply(status=1).stderr
    assert cloning.look() == before
    assert not (cloning.lab.images / "web02-root.qcow2").exists()


def test_a_machine_and_its_clone_are_created_by_one_apply(
    product: Product, lab: LabHost, tmp_path: Path
) -> None:
    command = Command(lab.uri(), tmp_path)
    command.write("aa02.yaml", CLONE)  # read first, and done last
    command.write("web01.yaml", SOURCE)
    said = command("apply", "--yes", ".").stdout
    assert said.index("web01: created\n") < said.index("web02: created\n")
    made = {name.partition(".")[0] for name in product.volumes()}
    assert {"web02-root", "web02-logs"} <= made
    command("plan", "--detailed-exitcode", ".")
