"""Images on a real host: domains made by hand, what guests write, and what is read back."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Tuple

from reconciler.core.manifest import MachineManifest, Place
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost

SIZE = 64 * 2**20


def run(*words: object) -> str:
    """Run a command and return what it prints."""
    command = [str(word) for word in words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def make_image(path: Path, image_format: str = "qcow2", *more: object) -> Path:
    """Make an image; `more` are options of qemu-img, like a backing file."""
    run("qemu-img", "create", "-q", "-f", image_format, *more, path, *(() if more else (SIZE,)))
    return path


def count_free(folder: Path) -> int:
    """Return the free bytes of the file system of this folder.

    XFS gives back what deleted files had only some time later (Linux 5.14). To freeze it ends that.
    """
    run("fsfreeze", "--freeze", folder)
    run("fsfreeze", "--unfreeze", folder)
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def fill_file_system(folder: Path, left: int) -> Path:
    """Fill the file system of this folder up to `left` bytes; return the file that does it."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, count_free(folder) - left)
    return filler


def write_pattern(path: object, number: int, image_format: str = "qcow2") -> None:
    """Write a pattern into an image that no guest has open."""
    run("qemu-io", "-f", image_format, "-c", f"write -P {number} 0 64k", path)


def holds_pattern(path: object, number: int, image_format: str = "qcow2") -> bool:
    """Whether the pattern is what a guest would read from the image."""
    said = run("qemu-io", "-U", "-r", "-f", image_format, "-c", f"read -P {number} 0 64k", path)
    return "Pattern verification failed" not in said


def manifest(name: str, **spec: Any) -> MachineManifest:
    """Return a manifest as one that was read from a file."""
    data = {"metadata": {"name": name}, "spec": {"memory": "128MiB", **spec}}
    return build_machine(data, Place(f"{name}.yaml", 1, 1))


@dataclass(frozen=True)
class Hands:
    """What somebody does with virsh."""

    lab: LabHost

    def define(self, name: str, *disks: Tuple[object, str], flags: str = "") -> None:
        """Define a domain with a disk for each (path, format)."""
        devices = "".join(
            f"<disk type='{'block' if str(path).startswith('/dev/') else 'file'}' device='disk'>"
            f"<driver name='qemu' type='{kind}'/>"
            f"<source {'dev' if str(path).startswith('/dev/') else 'file'}='{path}'/>"
            f"<target dev='vd{'abcd'[index]}' bus='virtio'/>{flags}</disk>"
            for index, (path, kind) in enumerate(disks)
        )
        xml = self.lab.folder / f"{name}.xml"
        xml.write_text(
            f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>"
            f"<devices>{devices}<memballoon model='virtio'/></devices></domain>"
        )
        self("define", xml)

    def __call__(self, *words: object) -> str:
        """Run virsh."""
        return self.lab.virsh(*map(str, words)).stdout

    def source(self, name: str) -> str:
        """Return the image that the definition names for the first disk."""
        return self.sources(name)[0]

    def sources(self, name: str) -> Tuple[str, ...]:
        """Return the images that the definition names."""
        xml = self("dumpxml", "--inactive", name)
        return tuple(disk.source or "" for disk in read_machine(parse(xml)).disks or ())

    def guest_writes(self, name: str, number: int) -> None:
        """Have the running guest's first disk written to, by the emulator itself."""
        found = self._ask(name, {"execute": "query-block"})["return"]
        device = next(one["qdev"] for one in found if one.get("inserted"))
        line = f'qemu-io -d {device} "write -P {number} 0 64k"'
        said = self("qemu-monitor-command", "--hmp", name, line)
        assert "wrote 65536/65536" in said or not said.strip(), said

    def _ask(self, name: str, command: Mapping[str, Any]) -> Any:
        return json.loads(self("qemu-monitor-command", name, json.dumps(command)))
