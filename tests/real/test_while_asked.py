"""Between the plan that a person reads and the answer, the host moves on: only what was read is done."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Tuple

import pytest

from reconciler.core.world import GuestState
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.worlds import Product

LIMIT = 180  # seconds
VM = """apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec: {{cpus: {cpus}, memory: 128MiB, power: stopped, interfaces: []}}
"""


@dataclass(frozen=True)
class Person:
    """Somebody at a terminal who runs `apply`, reads the plan, and answers when `meanwhile` is over."""

    command: Command

    def apply(self, meanwhile: Callable[[], object], answer: str = "y") -> Tuple[int, str, str]:
        """Return exit status, output and errors."""
        master, slave = os.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "reconciler", "--connect", self.command.uri, "apply", "."],
            cwd=self.command.folder, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        ) as process:  # fmt: skip
            os.close(slave)
            try:
                self._read_question(process)
                meanwhile()
                os.write(master, f"{answer}\n".encode())
                out, err = process.communicate(timeout=LIMIT)
            finally:
                process.kill()
                os.close(master)
        assert b"Traceback" not in err
        return process.returncode, out.decode(), err.decode()

    def _read_question(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the question, which is asked on standard error where output is no terminal."""
        assert process.stderr is not None
        asked = b""
        while not asked.endswith(b"[y/N] "):
            one = process.stderr.read(1)
            assert one, f"it ended without asking: {asked!r}"
            asked += one


@pytest.fixture
def person(product: Product, lab: LabHost, tmp_path: Path) -> Person:
    """Return a person who wants more processors for `here` and `there`, which are as they were."""
    command = Command(lab.uri(), tmp_path)
    for cpus in (1, 2):
        for name in ("here", "there"):
            command.write(f"{name}.yaml", VM.format(name=name, cpus=cpus))
        if cpus == 1:
            command("apply", "--yes", ".")
    return Person(command)


def cpus(product: Product) -> Mapping[str, str]:
    """Return how many processors each machine starts with, which may be fewer than its maximum."""
    names = product.host.domains.list_domains()
    counts = {name: read_machine(parse(product.xml(name))).cpus for name in names}
    return {name: str(count and count.count) for name, count in counts.items()}


MOVES = {
    "vanishes": (("undefine", "here"), "the domain is gone since the plan was made; plan again", {"there": "2"}),
    "is changed": (
        ("desc", "here", "--config", "mine now"),
        "the domain was changed or made since the plan was made; plan again",
        {"here": "1", "there": "2"},
    ),
    "is started": (("start", "here"), "the guest is running now, and was off when the plan was made; plan again", {"here": "1", "there": "2"}),
}  # fmt: skip


@pytest.mark.parametrize("move", MOVES)
def test_a_machine_that_moves_on_is_left_alone_and_the_other_is_done(
    person: Person, product: Product, lab: LabHost, move: str
) -> None:
    words, line, after = MOVES[move]
    status, out, err = person.apply(lambda: lab.virsh(*words))
    told = [one for one in (out + err).splitlines() if line in one]
    assert len(told) == 1
    assert "here" in told[0]
    assert status == 1
    assert "1 changed, 0 adopted, 0 deleted, 1 failed" in out
    assert cpus(product) == after


def test_a_machine_that_is_made_meanwhile_is_not_taken_over(
    person: Person, product: Product, lab: LabHost
) -> None:
    (person.command.folder / "here.yaml").write_text(VM.format(name="new", cpus=2))
    lab.virsh("undefine", "here")
    path = person.command.folder / "theirs.xml"
    path.write_text(
        product.xml("there")
        .replace("there", "new")
        .replace("<uuid>", "<!--")
        .replace("</uuid>", "-->")
    )
    status, out, err = person.apply(lambda: lab.virsh("define", str(path)))
    assert status == 1
    assert "was changed or made since the plan was made; plan again" in out + err
    assert cpus(product) == {"new": "1", "there": "2"}


def test_a_no_does_nothing(person: Person, product: Product) -> None:
    status, out, _ = person.apply(lambda: None, answer="n")
    assert (status, out.splitlines()[-1]) == (1, "Nothing was applied.")
    assert cpus(product) == {"here": "1", "there": "1"}
    assert product.host.domains.read_domain("here").state is GuestState.OFF
