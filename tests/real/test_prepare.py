"""Clones of a small Linux system, prepared by virt-sysprep itself: looked into, and interrupted."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from tests.lab.host import LabHost
from tests.real.commands import WEB, Command
from tests.real.images import run

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHX0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa admin@example"
MACHINE_ID = "0123456789abcdef0123456789abcdef"
FILES = {
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\nNAME="Debian"\nPRETTY_NAME="Debian 12"\n',
    "etc/debian_version": "12.5\n",
    "etc/fstab": "/dev/sda / ext4 defaults 0 1\n",
    "etc/hostname": "template\n",
    "etc/machine-id": f"{MACHINE_ID}\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/shadow": "root:!:19000:0:99999:7:::\n",
    "etc/ssh/ssh_host_ed25519_key": "of the template\n",
    "var/lib/cloud/instance/boot-finished": "long ago\n",
    "var/lib/dpkg/status": "",
}
FOLDERS = ("bin", "sbin", "usr/bin", "usr/lib", "var/log", "tmp", "root", "proc", "sys", "dev")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the image of a file system in which virt-sysprep finds a Linux."""
    folder = tmp_path_factory.mktemp("system")
    root, raw, image = folder / "root", folder / "raw", folder / "qcow2"
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    run("mkfs.ext4", "-q", "-d", root, raw, "24M")
    run("qemu-img", "convert", "-O", "qcow2", raw, image)
    return image


@pytest.fixture
def base(command: Command, lab: LabHost, system: Path) -> Path:
    """Return the image of the template, in the pool."""
    path = lab.images / "base.qcow2"
    shutil.copy(system, path)
    lab.virsh("pool-refresh", "default")
    return path


def digest(path: Path) -> str:
    """Return what the image is known by."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def look(image: Path, folder: Path) -> Callable[[str], str]:
    """Return what reads files in an image, and lists folders; empty for what is not there."""
    raw = folder / f"{image.name}.raw"
    run("qemu-img", "convert", "-O", "raw", image, raw)

    def ask(path: str) -> str:
        verb = "ls -p" if path.endswith("/") else "cat"
        done = subprocess.run(
            ["debugfs", "-R", f"{verb} {path}", str(raw)], capture_output=True, check=True
        )
        return done.stdout.decode(errors="replace").strip()

    return ask


def write(command: Command, prepare: str, machines: Dict[str, str]) -> None:
    """Write the manifests: of the template, and of machines with how each is cloned."""
    command.write(
        "m/base.yaml",
        "apiVersion: virt-reconciler/v1\nkind: Template\nmetadata: {name: base}\nspec:\n"
        f"  volume: base.qcow2\n  linkedClones: true\n  prepare: {prepare}\n",
    )
    for name, clone in machines.items():
        disk = f"{{name: data, source: {{template: base, clone: {clone}}}}}"
        text = WEB.replace("{name: data, size: 8MiB}", disk)
        command.write(f"m/{name}.yaml", text.replace("web01", name))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; an appliance may take long on a busy machine."""
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def list_appliances(image: str) -> List[str]:
    """Return the processes that have an image in their command line, but this one."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except OSError:
            continue
        if image in words and int(pid) != os.getpid():
            found.append(words.replace("\0", " "))
    return found


def test_clones_are_prepared_and_the_template_is_not(
    lab: LabHost, base: Path, command: Command, tmp_path: Path
) -> None:
    secret = tmp_path / "script"
    secret.write_text("echo open-sesame\n", encoding="utf-8")
    secret.chmod(0o600)
    write(
        command,
        "{hostname: fromName, operations: [machine-id, ssh-hostkeys, cloud-init], "
        f"sshKeys: {{root: ['{KEY}']}}, firstBoot: [{{secretRef: {{file: {secret}}}}}]}}",
        {"web01": "full", "web02": "linked"},
    )
    before, owner = digest(base), base.stat()
    shown = command("plan", "m").stdout
    assert "prepared by virt-sysprep" in shown
    told = command("apply", "m", "--yes", "--parallel", "2").stdout
    assert "preparing: Examining the guest" in told
    assert digest(base) == before
    assert (base.stat().st_mode, base.stat().st_uid) == (owner.st_mode, owner.st_uid)
    identities = set()
    for name in ("web01", "web02"):
        clone = lab.images / f"{name}-data.qcow2"
        ask = look(clone, tmp_path)
        assert ask("/etc/hostname") == name
        assert ask("/root/.ssh/authorized_keys") == KEY
        assert "ssh_host" not in ask("/etc/ssh/")
        assert "instance" not in ask("/var/lib/cloud/")
        [script] = [
            word for word in ask("/usr/lib/virt-sysprep/scripts/").split("/") if "fd" in word
        ]
        assert "echo open-sesame" in ask(f"/usr/lib/virt-sysprep/scripts/{script}")
        identities.add(ask("/etc/machine-id"))
        assert "open-sesame" not in lab.virsh("dumpxml", name).stdout
    assert MACHINE_ID not in identities
    assert len(identities) == 2
    assert "open-sesame" not in told
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        if path != secret and path.suffix != ".raw":
            assert b"open-sesame" not in path.read_bytes(), path
    assert "Plan: 0 to create" in command("plan", "m").stdout


def test_kill_leaves_nothing_half_prepared(
    lab: LabHost, base: Path, command: Command, tmp_path: Path
) -> None:
    write(command, "{hostname: fromName, operations: [machine-id]}", {"web03": "linked"})
    clone = lab.images / "web03-data.qcow2"
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "--connect", command.uri, "apply", "m", "--yes"],
        cwd=command.folder,
        env=command.environment,
    )
    wait_until(lambda: any("qemu" in words for words in list_appliances(str(clone))))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: list_appliances(str(clone)) == [])
    assert "<disk" not in lab.virsh("dumpxml", "web03").stdout
    before = digest(base)
    assert "an earlier run was stopped" in command("plan", "m").stdout
    command("apply", "m", "--yes")
    ask = look(clone, tmp_path)
    assert ask("/etc/hostname") == "web03"
    assert ask("/etc/machine-id") != MACHINE_ID
    assert digest(base) == before
    assert list_appliances(str(clone)) == []
    assert "Plan: 0 to create" in command("plan", "m").stdout
