"""Two runs of our own at one machine: the second waits, and takes nothing for a crash that is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest

from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import owner_xml, read_owner
from tests.lab.host import LabHost
from tests.real.commands import WEB, Command
from tests.real.worlds import Product

LIMIT = 60  # seconds until a killed command is gone


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Command:
    """Return the command, beside a manifest."""
    command = Command(lab.uri(), tmp_path)
    command.write("web01.yaml", WEB)
    return command


@contextmanager
def applying(command: Command, step: str) -> Iterator[subprocess.Popen[str]]:
    """Return an apply that has come to its first volume, and waits."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "tests.real.slow_apply", step, command.uri, "web01.yaml"]
    with subprocess.Popen(
        words, cwd=command.folder, env={**os.environ, "PYTHONPATH": str(root)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"{step}\n":
                break
        yield process
        process.kill()


def test_a_second_apply_leaves_alone_what_the_first_makes(
    command: Command, product: Product
) -> None:
    with applying(command, "after") as first:
        seen = command("plan", "web01.yaml").stdout
        assert f"another virt-reconciler works on web01 (pid {first.pid}, apply, since " in seen
        assert "1 withheld" in seen
        command("apply", "--yes", "web01.yaml", status=4)
        assert product.volumes() == {"web01-root.qcow2"}, "what was being made is still there"
        said, _ = first.communicate("\n\n")
        assert first.returncode == 0, said
    assert "1 unchanged" in command("plan", "web01.yaml").stdout


@pytest.mark.parametrize("step", ["before", "after"])
def test_what_a_killed_apply_left_is_finished_by_the_next(
    command: Command, product: Product, step: str
) -> None:
    with applying(command, step) as first:
        first.send_signal(signal.SIGKILL)
        first.wait(LIMIT)
    command("apply", "--yes", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout
    assert product.volumes() == {"web01-root.qcow2", "web01-data.qcow2"}


def test_a_run_on_another_machine_is_given_time(
    command: Command, product: Product, lab: LabHost
) -> None:
    with applying(command, "after") as first:
        first.send_signal(signal.SIGKILL)
        first.wait(LIMIT)
    owner = read_owner(parse(product.xml("web01")))
    assert owner is not None
    assert owner.worker is not None
    mark(lab, owner_xml(owner).replace(owner.worker.machine, "another boot of another machine"))
    seen = command("plan", "web01.yaml").stdout
    assert "whether it still runs cannot be seen from here" in seen
    assert product.volumes() == {"web01-root.qcow2"}
    since = round(owner.worker.since)
    old = owner_xml(owner).replace(owner.worker.machine, "another").replace(f"{since}", "1000000")
    mark(lab, old)
    for path in lab.images.iterdir():
        os.utime(path, (1000000, 1000000))
    lab.virsh("pool-refresh", "default")
    command("apply", "--yes", "web01.yaml")
    assert "1 unchanged" in command("plan", "web01.yaml").stdout


def mark(lab: LabHost, xml: str) -> None:
    """Write our mark by hand."""
    lab.virsh(
        "metadata", "web01", "urn:virt-reconciler:domain:1", "--config", "--key", "vr", "--set", xml
    )
