"""Each state ends with a command: here every one of them is run as it is printed, and helps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Iterator, Set

import pytest

from reconciler.adapters.state.folder import FolderStore
from reconciler.control import state
from reconciler.core.machine import Interface
from reconciler.core.overview import SUSPENDED, WORDS
from tests.lab.host import LabHost
from tests.real.looping import Looping, manifest
from tests.unit.cli.fakes import REAL, Result, call

CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {{source: {{directory: /m}}, connect: "{uri}", state: {state}}}
"""
COMMAND = re.compile(r"virt-reconciler (?:retry|resume) .*$", re.MULTILINE)


class Desk:
    """A loop with its memory on the disk, and the command line beside it."""

    def __init__(self, lab: LabHost, folder: Path) -> None:
        self.store = FolderStore(str(folder / "state"))
        self.looping = Looping(lab, store=self.store).start()
        self.config = folder / "config.yaml"
        self.config.write_text(CONFIG.format(uri=lab.uri(), state=folder / "state"))

    def run(self, *words: str) -> Result:
        """Run a command, and give the loop its orders as its timer does."""
        done = call(REAL, "--config", str(self.config), *words)
        self.looping.loop.reread_orders()
        return done

    def word(self, name: str = "vm") -> str:
        """Return the machine's state as `status` shows it."""
        rows = self.run("status").out.splitlines()
        return next((row.split()[1] for row in rows if row.startswith(f"{name} ")), "")

    def wait_word(self, word: str) -> None:
        self.looping.wait(lambda: self.word() == word, f"status says {word}")

    def obey(self) -> str:
        """Run the command that `status` ends with, and return its verb."""
        [command] = set(COMMAND.findall(self.run("status", "vm").out))
        words = shlex.split(command)[1:]
        done = self.run(*words)
        assert (done.status, done.err) == (0, ""), done
        return words[0]

    def is_running(self) -> bool:
        found = self.looping.virsh("domstate", "vm", check=False)
        return found.stdout.strip() == "running"


@pytest.fixture
def desk(own_host: LabHost, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(own_host, tmp_path)
    with desk.store.lock():
        yield desk
    desk.looping.stop()


def test_every_state_names_a_command_that_helps(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Set[str] = set()
    desk.looping.publish(manifest())
    desk.wait_word("Ready")
    suspend(desk, seen)
    fight_over_power(desk, seen, monkeypatch)
    wait_for_network(desk, seen)
    stall(desk, seen)
    assert seen == {*WORDS} - {"Ready", "Unknown"}


def suspend(desk: Desk, seen: Set[str]) -> None:
    desk.run("suspend", "vm", "--reason", "new disk shelf")
    desk.looping.virsh("destroy", "vm")
    desk.looping.wait_quiet()
    desk.wait_word(SUSPENDED)
    seen.add(SUSPENDED)
    assert desk.obey() == "resume"
    desk.wait_word("Ready")
    assert desk.is_running()


def fight_over_power(desk: Desk, seen: Set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MOST", 2)
    while desk.word() != "NotReady":
        desk.looping.virsh("destroy", "vm", check=False)
        desk.looping.wait(lambda: desk.is_running() or desk.word() == "NotReady", "it is seen")
        desk.looping.wait_quiet()
    seen.add("NotReady")
    assert desk.obey() == "resume"
    desk.wait_word("Ready")
    assert desk.is_running()


def wait_for_network(desk: Desk, seen: Set[str]) -> None:
    """Have it wait for so long that nothing but the command helps in time."""
    lan = Interface("lan", network="late")
    desk.looping.publish(manifest(interfaces=(lan,)))
    desk.wait_word("Reconciling")
    seen.add("Reconciling")
    file = desk.looping.lab.folder / "late.xml"
    file.write_text("<network><name>late</name><bridge name='virbr8'/></network>")
    desk.looping.loop.surroundings_changed = lambda *_: None  # the news of it are lost
    desk.looping.virsh("net-create", str(file))
    assert desk.obey() == "retry"
    desk.wait_word("Ready")


def stall(desk: Desk, seen: Set[str]) -> None:
    """Have QEMU refuse a definition that libvirt stores; mend it in the same words."""
    xml = desk.looping.virsh("dumpxml", "--inactive", "vm").stdout
    file = desk.looping.lab.folder / "broken.xml"
    bad = (
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        "<qemu:arg value='-no-such-option'/></qemu:commandline></domain>"
    )
    file.write_text(xml.replace("</domain>", bad))
    desk.looping.virsh("define", str(file))
    desk.looping.wait_quiet()
    desk.looping.virsh("destroy", "vm")
    desk.wait_word("Stalled")
    seen.add("Stalled")
    starts = desk.looping.writes.count("start")
    assert desk.obey() == "retry"
    desk.looping.wait(lambda: desk.looping.writes.count("start") > starts, "it is tried again")
    desk.wait_word("Stalled")
    file.write_text(xml)
    desk.looping.virsh("define", str(file))
    desk.wait_word("Ready")
