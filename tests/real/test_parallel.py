"""`apply --parallel`: many creations at once, of which one fails, and Ctrl-C in the midst of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import List

import pytest

from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.slow_apply import INTERRUPTED
from tests.real.worlds import Product

NAMES = [f"vm{number:02d}" for number in range(1, 21)]
VOLUMES = {f"{name}-root.qcow2" for name in NAMES}
MACHINE = """\
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  cpus: 1
  memory: 64MiB
  power: stopped
  interfaces: []
  disks: [{{name: root, size: 8MiB}}]
"""


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Return the command, beside twenty manifests in one file."""
    command = Command(lab.uri(), tmp_path_factory.mktemp("manifests"))
    command.write("all.yaml", "".join(MACHINE.format(name=name) for name in NAMES))
    return command


class SlowApply:
    """An apply in four lanes; each waits for a byte when it comes to its volume."""

    def __init__(self, command: Command, step: str) -> None:
        words = [sys.executable, "-m", "tests.real.slow_apply", step, command.uri, "all.yaml"]
        self._step = step
        self._process = subprocess.Popen(
            words, cwd=command.folder, env=command.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: List[str] = []

    def wait_for_volumes(self, count: int) -> None:
        """Return when so many volumes more have been come to."""
        assert self._process.stdout is not None
        while count:
            line = self._process.stdout.readline()
            assert line, self.lines
            self.lines.append(line)
            count -= line == f"{self._step}\n"

    def go_on(self, count: int) -> None:
        """Let so many lanes go on."""
        assert self._process.stdin is not None
        self._process.stdin.write("." * count)
        self._process.stdin.flush()

    def interrupt(self) -> str:
        """Press Ctrl-C, then let all lanes go on; return what was said from then on."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGINT)
        skipped: List[str] = []
        while f"{INTERRUPTED}\n" not in skipped:
            skipped.append(self._process.stdout.readline())
            assert skipped[-1], skipped  # the end of the output
        said, _ = self._process.communicate(timeout=LIMIT)
        assert self._process.returncode == 130, said
        return said

    def end(self) -> None:
        """Leave nothing behind of a test that failed."""
        self._process.kill()
        self._process.communicate(timeout=LIMIT)


@pytest.mark.parametrize("step", ["before", "after"])
def test_one_fails_then_ctrl_c_and_the_next_apply_makes_all_of_it_whole(
    command: Command, product: Product, lab: LabHost, step: str
) -> None:
    taken = "vm06-root.qcow2"
    first = SlowApply(command, step)
    try:
        first.wait_for_volumes(4)
        lab.virsh("vol-create-as", "default", taken, "1M", "--format", "qcow2")
        first.go_on(4)
        first.wait_for_volumes(4)
        said = first.interrupt()
    finally:
        first.end()
    last = {"before": "vm05, vm07, vm08", "after": "vm05, vm07, vm08, vm09"}[step]
    found = re.search(r"interrupted at (.*); the rest was not started", said)
    assert found, said
    assert found[1] == last
    failure = "vm06: volume default/vm06-root.qcow2 already exists"
    assert failure in "".join([*first.lines, said])
    made = set(product.host.domains.list_domains())
    assert made == set(NAMES[:4]), "what was half done is put back, and nothing is begun after it"
    assert product.volumes() == {f"{name}-root.qcow2" for name in made} | {taken}

    lab.virsh("vol-delete", taken, "default")
    done = command("apply", "--yes", "--parallel", "4", "all.yaml")
    lines = done.stdout.splitlines()
    assert lines[-1] == "Applied: 16 created, 0 changed, 0 adopted, 0 deleted, 0 failed."
    assert {f"{name}: created" for name in set(NAMES) - made} <= set(lines)
    assert product.volumes() == VOLUMES
    assert command("plan", "--detailed-exitcode", "all.yaml", status=0).stdout.endswith(
        "Plan: 0 to create, 0 to change (0 next-boot, 0 restart), 0 to delete (0 volumes), "
        "20 unchanged, 0 withheld.\n"
    )
    for name in NAMES:
        changes = json.loads(command("history", name, "--format", "json").stdout)["changes"]
        assert changes[0]["outcome"] == "done", changes


CLONES = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: base}
spec: {pool: default, volume: base.raw, generalized: no identity was ever in it}
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: copy01}
spec:
  cpus: 1
  memory: 64MiB
  power: stopped
  interfaces: []
  disks: [{name: root, source: {template: base, clone: full}}]
"""
MIB_OF_BASE = 300
LIMIT = 120  # seconds


def apply(command: Command, path: str) -> str:
    """Apply a manifest, and return all that was said."""
    words = [sys.executable, "-m", "reconciler", "--connect", command.uri, "apply", "--yes", path]
    done = subprocess.run(
        words, cwd=command.folder, env=command.environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout


def test_ctrl_c_while_a_disk_is_copied_leaves_what_the_next_apply_makes_whole(
    command: Command, product: Product, lab: LabHost
) -> None:
    lab.virsh("vol-create-as", "default", "base.raw", f"{MIB_OF_BASE}M", "--format", "raw")
    (lab.images / "base.raw").write_bytes(b"x" * (MIB_OF_BASE << 20))
    lab.virsh("pool-refresh", "default")
    command.write("clones.yaml", CLONES)
    words = [sys.executable, "-m", "tests.real.slow_apply", "never", command.uri, "clones.yaml"]
    with subprocess.Popen(
        words, cwd=command.folder, env=command.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "% of" in line:
                break
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 130, said
    end = time.monotonic() + LIMIT
    while "still being allocated" in apply(command, "clones.yaml"):  # libvirt is at the first copy
        assert time.monotonic() < end
    assert "1 unchanged" in command("plan", "clones.yaml").stdout
    assert product.volumes() == {"base.raw", "copy01-root.img"}
