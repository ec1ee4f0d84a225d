"""qemu-img and virt-v2v beside stand-ins that fail, hang, write what they are told."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from reconciler.adapters import child_programs
from reconciler.adapters.foreign.importer import LocalImporter
from reconciler.core.frozen import replace
from reconciler.core.imports import ConvertMachine, ForeignSource, ImportedDisk, VerifyImport
from reconciler.errors import FullError, MissingError, TerminalError, TransientError
from tests.lab.vmware_guest import write_ova
from tests.unit.imports.test_files import DISK, MIB, make_image, make_stream

Told = List[Tuple[str, int, int]]
XML = "<?xml version='1.0'?><domain><devices><disk device='disk'><target bus='{}'/></disk></devices></domain>"
# As virt-v2v 2 writes its messages, and its disks.
V2V = """
[ "$1" = --version ] && { echo "virt-v2v 2.2.0"; exit; }
[ $# = 1 ] && { printf 'virt-v2v\\ninput:ova\\ninput:vmx\\n'; exit; }
while [ $# -gt 0 ]; do [ "$1" = -os ] && out=$2; shift; done
echo '{ "message": "Inspecting the source", "timestamp": "now", "type": "message" }'
echo "$VIRT_V2V_TMPDIR $VIRTIO_WIN" >>seen
"""


class Stage:
    """A folder with programs of its own, a pool, and an OVA."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pool = folder, folder / "pool"
        self.pool.mkdir()
        (folder / "bin").mkdir()
        self.ova = folder / "vm006.ova"
        write_ova(self.ova, {DISK: make_stream(folder)}, MIB)
        self.told: Told = []
        environ = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        self.importer = LocalImporter(environ)

    def put(self, name: str, text: str) -> None:
        """Put a script in the place of a program."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\ncd {self.folder}\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def tell(self, what: str, done: int, total: int) -> None:
        """Note what is told."""
        self.told.append((what, done, total))

    def inspect(self) -> ForeignSource:
        """Return what is in the OVA."""
        return self.importer.inspect(f"ova::{self.ova}")

    def target(self, image_format: str = "qcow2") -> ImportedDisk:
        """Return the volume, as libvirt has made it."""
        path = make_image(self.pool / "web01-root.qcow2", image_format)
        [image] = self.inspect().images
        return ImportedDisk(
            disk="root", pool="default", name=path.name, path=str(path),
            format=image_format, image=image,
        )  # fmt: skip

    def step(self, **values: Any) -> ConvertMachine:
        """Return the conversion of the OVA."""
        step = ConvertMachine(
            machine="web01",
            kind="ova",
            stamp=self.inspect().stamp,
            sizes=(MIB,),
            targets=((0, self.target()),),
            falls_back=False,
            folder=str(self.pool),
            stem=".virt-reconciler-import-web01@",
        )
        return replace(step, **values)

    def is_copied(self) -> bool:
        """Whether the volume has what the OVA's disk has."""
        words = ["-f", "raw", "-F", "qcow2", "raw.img", "pool/web01-root.qcow2"]
        done = subprocess.run(["qemu-img", "compare", *words], cwd=self.folder, check=False)
        return done.returncode == 0

    @property
    def left(self) -> List[str]:
        """What is in the pool."""
        return sorted(path.name for path in self.pool.iterdir())


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return the stage; libguestfs finds a kernel."""
    (tmp_path / "vmlinuz").write_bytes(b"")
    monkeypatch.setattr(child_programs, "KERNELS", (str(tmp_path / "vmlinuz"),))
    stage = Stage(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    raw = tmp_path / "raw.img"
    subprocess.run(["qemu-io", "-f", "raw", "-c", "write -q -P 7 0 64k", str(raw)], check=True)
    write_ova(stage.ova, {DISK: convert_stream(raw)}, MIB)
    return stage


def convert_stream(raw: Path) -> bytes:
    """Return a raw image as a VMDK."""
    path = raw.with_suffix(".vmdk")
    words = ["-O", "vmdk", "-o", "subformat=streamOptimized", str(raw), str(path)]
    subprocess.run(["qemu-img", "convert", "-f", "raw", *words], check=True)
    return path.read_bytes()


def writes(bus: str = "virtio", size: str = "1M") -> str:
    """Return what makes virt-v2v write a disk with a pattern, and its report."""
    return (
        f'qemu-img create -q -f qcow2 "$out/v2v-sda" {size}\n'
        f'qemu-io -f qcow2 -c "write -q -P 7 0 64k" "$out/v2v-sda"\n'
        f"cat >\"$out/v2v.xml\" <<'E'\n{XML.format(bus)}\nE\n"
    )


def fails(message: str) -> str:
    """Return what makes virt-v2v fail as it does."""
    return f"echo '{json.dumps({'message': message, 'type': 'error'})}'; exit 1"


def test_tools_are_asked_at_run_time(stage: Stage) -> None:
    stage.put("virt-v2v", V2V)
    stage.put("nbdcopy", "")
    tools = stage.importer.find_tools(str(stage.pool))
    assert (tools.virt_v2v, tools.reads, tools.lack) == ("2.2.0", ("ova", "vmx"), "")
    assert tools.qemu_img[0].isdigit()
    assert tools.confined == ""
    stage.put("unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
    confined = stage.importer.find_tools(str(stage.pool)).confined
    assert confined == "virt-v2v runs in a PID namespace, which this service may not make"


def test_a_disk_is_copied_out_of_its_archive(stage: Stage) -> None:
    before = stage.ova.read_bytes()
    stage.importer.copy(stage.target(), stage.tell)
    assert stage.is_copied()
    assert stage.told[-1][0] == "default/web01-root.qcow2: importing"
    assert stage.ova.read_bytes() == before


def test_a_wrong_checksum_is_told_with_the_right_one(stage: Stage) -> None:
    stamp = stage.inspect().stamp
    right = stage.importer.digest(stamp, stage.tell)
    stage.importer.verify(VerifyImport("ova", stamp, right), stage.tell)
    with pytest.raises(TerminalError, match=f"wrong checksum: sha256 is {right}, and should be 00"):
        stage.importer.verify(VerifyImport("ova", stamp, "00"), stage.tell)


def test_a_file_that_was_changed_since_the_plan_is_refused(stage: Stage) -> None:
    target = stage.target()
    os.utime(stage.ova)
    with pytest.raises(TerminalError, match="was changed since the plan was made"):
        stage.importer.copy(target, stage.tell)


def test_a_pool_that_becomes_full_is_said_to_be_so(stage: Stage) -> None:
    target = stage.target()
    stage.put("qemu-img", "echo 'qemu-img: error while writing: No space left on device'; exit 1")
    with pytest.raises(FullError, match="storage pool default is full"):
        stage.importer.copy(target, stage.tell)


def test_a_machine_is_converted_and_its_folder_is_removed(stage: Stage) -> None:
    step = stage.step(virtio_disks=("root",), virtio_win="/iso/virtio-win.iso")
    former = stage.pool / ".virt-reconciler-import-web01@killed"
    former.mkdir()
    stage.put("virt-v2v", V2V + writes())
    stage.importer.convert(step, stage.tell)
    assert stage.is_copied()
    assert stage.left == ["web01-root.qcow2"]
    assert ("web01: virt-v2v: Inspecting the source", 0, -1) in stage.told
    folder, drivers = (stage.folder / "seen").read_text(encoding="utf-8").split()
    assert folder.startswith(str(stage.pool / ".virt-reconciler-import-web01@"))
    assert drivers == "/iso/virtio-win.iso"


@pytest.mark.parametrize(
    "script",
    [fails("no bootloader detected"), writes(size="2M"), ""],
    ids=["loader", "size", "none"],
)
def test_what_is_refused_is_copied_where_that_boots(stage: Stage, script: str) -> None:
    stage.put("virt-v2v", V2V + script)
    step = stage.step()
    with pytest.raises(TerminalError, match=r"set import\.via: qemu-img"):
        stage.importer.convert(step, stage.tell)
    assert not stage.is_copied()
    stage.importer.convert(replace(step, falls_back=True), stage.tell)
    assert stage.is_copied()
    assert stage.left == ["web01-root.qcow2"]
    assert any("virt-v2v does not convert it" in what for what, _, _ in stage.told)


def test_a_failure_is_no_refusal(stage: Stage) -> None:
    step = stage.step(falls_back=True)
    stage.put("virt-v2v", V2V + fails("libguestfs error: appliance closed"))
    with pytest.raises(TransientError, match="appliance closed; if its appliance does not start"):
        stage.importer.convert(step, stage.tell)
    stage.put("virt-v2v", V2V + fails("No space left on device"))
    with pytest.raises(FullError):
        stage.importer.convert(step, stage.tell)
    assert stage.left == ["web01-root.qcow2"]


def test_a_disk_on_virtio_needs_the_driver(stage: Stage) -> None:
    step = stage.step(virtio_disks=("root",))
    stage.put("virt-v2v", V2V + writes("ide"))
    with pytest.raises(TerminalError, match=r"disks\[root\].bus: virt-v2v found no virtio driver"):
        stage.importer.convert(step, stage.tell)
    assert stage.left == ["web01-root.qcow2"]


def test_without_root_only_own_pools_are_written_to(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(MissingError, match="run virt-reconciler apply as root"):
        stage.importer.find_tools(str(stage.pool))
