"""Whether a Windows is generalized, read in real NTFS images with real registry hives.

libguestfs' programs read them, each in a virtual machine of its own: half a minute without KVM. So
images are read side by side, and each state once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Mapping

import pytest

from reconciler.adapters.guestfs import VirtSysprep
from reconciler.core.windows_images import COMPLETE, DAMAGED, HIBERNATED, SEALED, WindowsImage
from tests.lab.host import LabHost
from tests.lab.windows_image import make_disk, put_file, put_software
from tests.real.commands import WEB, Command
from tests.real.images import run

TEMPLATE = """
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: win2016}
spec: {volume: win2016.qcow2, os: win2k16, generalized: "sysprep /generalize /oobe"}
"""
CLONE = WEB.replace("{name: data, size: 8MiB}", "{name: data, source: {template: win2016}}")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a disk with a Windows that says nothing of its state."""
    return make_disk(tmp_path_factory.mktemp("windows"))


def test_sealed_template_is_cloned_and_no_other(
    lab: LabHost, command: Command, disk: Path, tmp_path: Path
) -> None:
    sealed, complete, damaged = (tmp_path / name for name in ("sealed", "complete", "damaged"))
    for copy in (sealed, complete, damaged):
        shutil.copy(disk, copy)
    put_software(sealed, SEALED)
    put_software(complete, COMPLETE)
    hibernation = tmp_path / "hiberfil"
    hibernation.write_bytes(b"HIBR".ljust(4096, b"\0"))
    put_file(complete, hibernation, "hiberfil.sys")
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(8192))
    put_file(damaged, noise, "Windows/System32/config/SOFTWARE")
    volume = lab.images / "win2016.qcow2"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", sealed, volume)
    before = hashlib.sha256(volume.read_bytes()).hexdigest()
    lab.virsh("pool-refresh", "default")
    command.write("m/win2016.yaml", TEMPLATE)
    command.write("m/web01.yaml", CLONE)
    environ: Mapping[str, str] = os.environ

    def read(image: Path) -> WindowsImage:
        return VirtSysprep(environ).read_windows(str(image), "raw")

    with ThreadPoolExecutor(2) as threads:
        others = [threads.submit(read, image) for image in (complete, damaged)]
        done = command("apply", "m", "--yes")
    assert others[0].result() == WindowsImage(COMPLETE, why=HIBERNATED)
    assert others[1].result() == WindowsImage(fault=DAMAGED)
    assert "template win2016 (generalized, as read in its image)" in done.stdout
    assert f"reading in {volume} whether its Windows is generalized" in done.stderr
    assert hashlib.sha256(volume.read_bytes()).hexdigest() == before
    again = command("plan", "m")
    assert "Plan: 0 to create" in again.stdout
    assert "reading in" not in again.stderr  # it clones nothing
