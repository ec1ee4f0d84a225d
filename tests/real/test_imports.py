"""Disks of other hypervisors are copied into the pool: byte for byte, once, and whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from reconciler.core.plain_data import to_plain
from tests.lab.guest import Guest, boot_overlays
from tests.lab.host import LabHost
from tests.real.booting import LIMIT
from tests.real.commands import Command
from tests.real.images import run
from tests.real.worlds import Product
from tests.unit.imports.test_importer import V2V, Stage

# subformat of a VMDK, or a format → the file that is named.
IMAGES = {
    "monolithicSparse": "mono.vmdk",
    "streamOptimized": "stream.vmdk",
    "twoGbMaxExtentSparse": "split.vmdk",
    "monolithicFlat": "flat.vmdk",
    "vhdx": "disk.vhdx",
    "vdi": "disk.vdi",
    "raw": "disk.img",
}
MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: web01}}
spec:
  cpus: 1
  memory: 64MiB
  interfaces: []
  disks:
"""
SIZE = "40M"


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Iterator[Command]:
    """Return the command, on a host without anything on it."""
    yield Command(lab.uri(), tmp_path)
    product.clear()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Return a pool and an OVA, with programs of the test's own."""
    return Stage(tmp_path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with one image in each format, as VMware, Hyper-V and VirtualBox write them."""
    folder = tmp_path / "images"
    folder.mkdir()
    source = folder / "disk.img"
    run("qemu-img", "create", "-q", "-f", "raw", source, SIZE)
    run("qemu-io", "-f", "raw", "-c", "write -P 7 1M 5M", "-c", "write -P 9 30M 1M", source)
    for kind, name in IMAGES.items():
        if name.endswith(".vmdk"):
            words = ("-O", "vmdk", "-o", f"subformat={kind}", source, folder / name)
            run("qemu-img", "convert", "-f", "raw", *words)
        elif kind != "raw":
            run("qemu-img", "convert", "-f", "raw", "-O", kind, source, folder / name)
    return folder


def digest_all(folder: Path) -> Dict[str, str]:
    """Return what each file of a folder is known by."""
    return {
        path.name: f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        for path in sorted(folder.iterdir())
    }


def write(command: Command, *disks: str) -> None:
    """Write the manifest of a machine with these disks."""
    lines = "".join(f"    - {disk}\n" for disk in disks)
    command.write("web01.yaml", MACHINE.format() + lines)


def is_same(lab: LabHost, disk: str, image: Path) -> bool:
    """Whether a disk of the machine has what an image has."""
    path = lab.images / f"web01-{disk}.qcow2"
    words = ["qemu-img", "compare", "-f", "qcow2", str(path), "-F", "raw", str(image)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_images_of_every_format_are_copied_once(
    command: Command, lab: LabHost, images: Path
) -> None:
    before = digest_all(images)
    sha256 = before["stream.vmdk"].split()[0]
    disks = [
        f"{{name: d{number}, source: {{import: {{disk: {images / name}}}}}}}"
        for number, name in enumerate(IMAGES.values())
    ]
    disks[1] = disks[1].replace("vmdk}", f"vmdk, sha256: {sha256}}}").replace("}}}", "}}}")
    disks[2] = disks[2].replace("{name: d2,", "{name: d2, size: 50MiB, format: raw, bus: scsi,")
    write(command, *disks)
    plan = command("plan", "web01.yaml").stdout
    assert "import of" in plan
    assert f"{images}/mono.vmdk (vmdk, 40MiB, at most 6.3MiB copied)" in plan
    assert "by qemu-img as it is" in plan
    assert "must be off in VMware" in plan
    told = command("apply", "--yes", "web01.yaml").stdout
    assert "web01-d0.qcow2: importing: " in told
    for number, name in enumerate(IMAGES.values()):
        if number == 2:
            grown = (lab.images / "web01-d2.img").read_bytes()
            assert grown[: 40 * 2**20] == (images / "disk.img").read_bytes()
            assert len(grown) == 50 * 2**20
        else:
            assert is_same(lab, f"d{number}", images / "disk.img"), name
    assert digest_all(images) == before
    root = lab.virsh("dumpxml", "web01").stdout
    assert root.count("bus='sata'") == len(IMAGES) - 1
    shutil.rmtree(images)  # nothing looks at it ever again
    command("plan", "--detailed-exitcode", "web01.yaml")


# It starts the tests' kernel, which sees the disk on its bus.
GUEST = """\
  os: debian12
  power: running
  guestAgent: true
  lifecycle: {disruption: restart, busChange: staged}
  xml:
"""


def test_an_imported_disk_runs_on_its_bus_and_moves_to_virtio_in_steps(
    command: Command, lab: LabHost, images: Path
) -> None:
    size, source = 40 * 2**20, f"{{disk: {images}/stream.vmdk}}"
    lines = GUEST + "".join(
        f"    - {{xpath: {overlay.xpath}, fragment: '{overlay.fragment}'}}\n"
        for overlay in boot_overlays()
    )
    written = hashlib.sha256(b"\7" * 5 * 2**20).hexdigest()

    def write_on(bus: str) -> None:
        write(command, f"{{name: root, bus: {bus}, source: {{import: {source}}}}}")
        path = command.folder / "web01.yaml"
        text = path.read_text(encoding="utf-8").replace("64MiB", "256MiB")
        path.write_text(text + lines, encoding="utf-8")

    def see(bus: str) -> None:
        guest.wait_ready(LIMIT)
        disk = guest.disk(size)
        assert disk["bus"] == bus
        content = f"dd if=/dev/{disk['name']} bs=1M skip=1 count=5 | sha256sum"
        assert guest.exec("sh", "-c", content).split()[0] == written

    write_on("sata")
    command("apply", "--yes", "web01.yaml")
    guest = Guest(lab.uri(), "web01")
    see("sata")
    write_on("virtio")
    assert "step 1 of 5" in command("plan", "web01.yaml").stdout
    command.apply_all("web01.yaml", lambda: guest.wait_ready(LIMIT), LIMIT)
    see("virtio")
    assert "bus-change" not in lab.virsh("vol-list", "default").stdout


# Copies half of what it should, and hangs; the test kills who called it.
HALF = """#!/bin/sh
[ "$1" = convert ] || exec {program} "$@"
for path; do :; done
{program} resize -q "$path" +1M
{io} -f qcow2 -c "write -q -P 9 0 1M" "$path"
touch {folder}/half
exec sleep 1000
"""


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_whole(
    command: Command, lab: LabHost, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = command.folder / "bin"
    programs.mkdir()
    script = programs / "qemu-img"
    names = {"program": shutil.which("qemu-img"), "io": shutil.which("qemu-io")}
    script.write_text(HALF.format(**names, folder=command.folder), encoding="utf-8")
    script.chmod(0o755)
    write(command, f"{{name: root, source: {{import: {{disk: {images}/split.vmdk}}}}}}")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", "--connect", command.uri, "apply", "--yes", "web01.yaml"],
            cwd=command.folder, env=command.environment,
        )  # fmt: skip
        wait_until((command.folder / "half").exists)
    sleepers = wait_for_sleepers(command.folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: all(find_state(pid) in ("", "Z") for pid in sleepers))
    assert "<disk" not in lab.virsh("dumpxml", "web01").stdout
    assert "an earlier run was stopped" in command("plan", "web01.yaml").stdout
    command("apply", "--yes", "web01.yaml")
    assert is_same(lab, "root", images / "disk.img")
    command("plan", "--detailed-exitcode", "web01.yaml")


def test_what_is_refused_leaves_nothing(command: Command, lab: LabHost, images: Path) -> None:
    path = images / "disk.vhdx"
    write(command, f"{{name: root, source: {{import: {{disk: {path}, sha256: {'f' * 64}}}}}}}")
    told = command("apply", "--yes", "web01.yaml", status=1).stderr
    assert (
        f"{path}: wrong checksum: sha256 is {hashlib.sha256(path.read_bytes()).hexdigest()}" in told
    )
    assert "everything was put back" in told
    assert not (lab.images / "web01-root.qcow2").exists()
    assert "web01" not in lab.virsh("list", "--all", "--name").stdout
    write(command, f"{{name: root, pool: xfs, source: {{import: {{disk: {images}/mono.vmdk}}}}}}")
    folder = lab.folder / "xfs"
    found = os.statvfs(folder)
    run("fallocate", "-l", found.f_bavail * found.f_frsize - 2**20, folder / "filler")
    try:
        told = command("plan", "web01.yaml", status=1).stdout
        assert "the new volumes take 6MiB at once" in told
    finally:
        (folder / "filler").unlink()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def find_state(pid: int) -> str:
    """Return the state of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return ""


CODE = """
import json, os, sys
from reconciler.adapters import child_programs
from reconciler.adapters.foreign.importer import LocalImporter
from reconciler.core.imports import *
from reconciler.core.plain_data import from_plain
child_programs.KERNELS = ("/*",)
step = from_plain(ConvertMachine, json.load(open("step.json")))
LocalImporter(os.environ).convert(step, lambda *told: None)
"""


def test_a_kill_ends_what_virt_v2v_started_and_removes_its_folder(stage: Stage) -> None:
    (stage.folder / "step.json").write_text(json.dumps(to_plain(stage.step())), encoding="utf-8")
    stage.put("virt-v2v", V2V + "sleep 1000 & echo part >$out/v2v-sda; touch started; wait")
    path = f"{stage.folder / 'bin'}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", CODE], cwd=stage.folder, env=environ)
    wait_until((stage.folder / "started").exists)
    children = wait_for_sleepers(stage.folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: all(find_state(pid) in ("", "Z") for pid in children))
    wait_until(lambda: stage.left == ["web01-root.qcow2"])


def wait_for_sleepers(folder: Path) -> List[int]:
    """Return the processes that sleep in a folder, as soon as a shell has become one."""
    wait_until(lambda: bool(list_sleepers(folder)))
    return list_sleepers(folder)


def list_sleepers(folder: Path) -> List[int]:
    """Return the processes that work in a folder and sleep."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            place = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue
        if words[0] == b"sleep" and place == str(folder):
            found.append(int(pid))
    return found
