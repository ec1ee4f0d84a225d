"""`bench matrix`: what it measures, and that nothing of its machine is left however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Sequence

import pytest

from tests.lab.guest_image import COMMAND_LINE, build_guest
from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.looping import libvirtd
from tests.real.worlds import Product

CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {{source: {{path: /}}, state: {state}}}
"""
MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: bench01}}
spec:
  os: rocky9
  cpus: 1
  memory: 768MiB
  interfaces: []
  disks:
    - {{name: data, size: 64MiB}}
  xml:
    - {{xpath: /domain/os, fragment: "<kernel>{kernel}</kernel>"}}
    - {{xpath: /domain/os, fragment: "<initrd>{initrd}</initrd>"}}
    - {{xpath: /domain/os, fragment: "<cmdline>{words}</cmdline>"}}
"""
FAST = ("--size", "8MiB", "--runs", "2", "--profile", "dd_read")
PLAIN = ("--cache", "none", "--io", "threads")


class MatrixCommand:
    """The command on a host, with a state folder and a manifest of its own."""

    def __init__(self, uri: str, folder: Path) -> None:
        image = build_guest(tools=("iperf3",))
        text = MACHINE.format(kernel=image.kernel, initrd=image.initrd, words=COMMAND_LINE)
        self.command = Command(uri, folder)
        self.manifest = self.command.write("bench01.yaml", text)
        self.config = self.command.write("config.yaml", CONFIG.format(state=folder / "state"))

    def words(self, *words: str) -> Sequence[str]:
        """Return the words of the verb."""
        return ("--config", str(self.config), "bench", *words)

    def call(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Measure the matrix of the manifest."""
        matrix = ("matrix", "bench01", str(self.manifest))
        return self.command(*self.words(*matrix, *words), status=status)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin to measure the matrix of the manifest."""
        matrix = self.words("matrix", "bench01", str(self.manifest), *words)
        return subprocess.Popen(
            [sys.executable, "-m", "reconciler", "--connect", self.command.uri, *matrix],
            env=self.command.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Read its notes until one has these words."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if words in line:
            return
    pytest.fail(f"{words!r} was never reported: {seen}")


def list_domains(product: Product) -> Sequence[str]:
    """Return the names of all domains."""
    return list(product.host.domains.list_domains())


@pytest.fixture
def matrix(product: Product, lab: LabHost, tmp_path: Path) -> MatrixCommand:
    """Return the command on the empty host."""
    assert not product.volumes()
    return MatrixCommand(lab.uri(), tmp_path)


def test_each_combination_is_measured_and_nothing_is_left(
    matrix: MatrixCommand, product: Product
) -> None:
    done = matrix.call(*FAST, "--bus", "virtio", "--bus", "sata", *PLAIN, "--format", "json")
    assert "2 combinations of bus, cache and io, about " in done.stderr
    found: Any = json.loads(done.stdout)
    setups = [each["environment"]["disk"] for each in found]
    assert [(each["bus"], each["cache"], each["io"]) for each in setups] == [
        ("virtio", "none", "threads"),
        ("sata", "none", "threads"),
    ]
    assert [each["environment"]["filesystem"] for each in found] == ["ext4", "ext4"]
    for each in found:
        assert {result["direct"] for result in each["results"]} == {True, False}
        assert all(result["runs"][0]["read"]["bandwidth"] > 0 for result in each["results"])
    [group] = {each["group"] for each in found}
    compared = matrix.command(*matrix.words("compare", group))
    assert "virtio-none-threads" in compared.stdout
    assert "sata-none-threads" in compared.stdout
    assert list_domains(product) == []
    assert product.volumes() == set()


# A note of the command → what is there by then.
STAGES = ("about", "1 of 1", "making a file")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_stopped_removes_its_machine(
    matrix: MatrixCommand, product: Product, stage: str
) -> None:
    with matrix.start(*FAST, "--bus", "virtio", *PLAIN) as process:
        wait_for(process, stage)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 130
    assert list_domains(product) == []
    assert product.volumes() == set()


def test_what_a_killed_run_left_is_removed_by_the_next(
    matrix: MatrixCommand, product: Product
) -> None:
    with matrix.start(*FAST, "--bus", "virtio", *PLAIN) as process:
        wait_for(process, "1 of 1")
        busy = matrix.call(*FAST, status=4)
        assert "another virt-reconciler works on bench01" in busy.stderr
        process.kill()
        process.communicate()
    assert list_domains(product) == ["bench01"]
    next_run = matrix.call("--bus", "ide", status=64)
    assert "removing bench01, which matrix-" in next_run.stderr
    assert list_domains(product) == []
    assert product.volumes() == set()


def test_volumes_go_also_when_somebody_else_removes_the_machine(
    matrix: MatrixCommand, product: Product, lab: LabHost
) -> None:
    with matrix.start(*FAST, "--bus", "virtio", *PLAIN) as process:
        wait_for(process, "making a file")
        assert product.volumes() == {"bench01-data.qcow2"}
        lab.virsh("undefine", "bench01")
        lab.virsh("destroy", "bench01")
        process.communicate()
    assert process.returncode == 1
    assert list_domains(product) == []
    assert product.volumes() == set()


def make_domain(host: LabHost) -> None:
    """Define a domain of the name."""
    path = host.folder / "bench01.xml"
    path.write_text(
        "<domain type='qemu'><name>bench01</name><memory>65536</memory>"
        "<os><type>hvm</type></os></domain>",
        encoding="ascii",
    )
    host.virsh("define", str(path))


def make_volume(host: LabHost) -> None:
    """Make a volume that begins with the name."""
    host.virsh("vol-create-as", "default", "bench01-other.img", "1MiB")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_domain, "domain bench01 exists, and it was left unchanged"),
        (make_volume, "volume default/bench01-other.img exists, and it was left unchanged"),
    ],
)
def test_what_exists_is_never_measured(
    matrix: MatrixCommand,
    product: Product,
    lab: LabHost,
    make: Callable[[LabHost], None],
    words: str,
) -> None:
    make(lab)
    before = (list_domains(product), product.volumes())
    refused = matrix.call(*FAST, status=4)
    assert words in refused.stderr
    assert (list_domains(product), product.volumes()) == before


def test_a_libvirt_that_is_restarted_does_not_stop_it(own_host: LabHost, tmp_path: Path) -> None:
    matrix = MatrixCommand(own_host.uri(), tmp_path)
    with matrix.start(*FAST, "--bus", "virtio", *PLAIN, "--format", "json") as process:
        wait_for(process, "making a file")
        os.kill(libvirtd(own_host), signal.SIGKILL)
        output, notes = process.communicate()
    assert process.returncode == 0, notes
    [found] = json.loads(output)
    assert found["results"], notes
    assert own_host.virsh("list", "--all", "--name").stdout.split() == []
    assert own_host.virsh("vol-list", "default").stdout.split() == []
