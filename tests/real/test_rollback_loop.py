"""A rollback beside the daemon: its loop does not undo it, status says why, resume does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator, List

import pytest

from reconciler.adapters.state.folder import FolderStore
from reconciler.adapters.state.history import FolderHistory
from reconciler.core.history import FOLDER
from reconciler.core.machine import Memory, Power
from tests.lab.host import LabHost, temporary_host
from tests.real.commands import Command
from tests.real.looping import Looping, manifest
from tests.real.worlds import MIB

CONFIG = """\
apiVersion: virt-reconciler/v1
kind: Configuration
spec: {{source: {{directory: {folder}}}, connect: "{uri}", state: {state}}}
"""


@pytest.fixture(scope="module")
def own_host() -> Iterator[LabHost]:
    """Return a host that nobody else works on."""
    with temporary_host(kvm=False) as host:
        yield host


class Daemonlike:
    """A loop whose memory lies in a folder, as the daemon's does, and the command beside it."""

    def __init__(self, host: LabHost, folder: Path) -> None:
        state = folder / "state"
        state.mkdir()
        self.store = FolderStore(str(state))
        self.looping = Looping(host, self.store, FolderHistory(str(state / FOLDER))).start()
        config = folder / "config.yaml"
        text = CONFIG.format(folder=folder, uri=host.uri(), state=state)
        config.write_text(text, encoding="utf-8")
        self.command = Command(host.uri(), folder)
        self.options = ("--config", str(config))

    def __call__(self, *words: str, status: int = 0) -> str:
        done = self.command(*self.options, *words, status=status)
        return done.stdout + done.stderr

    def outcomes(self) -> List[str]:
        text = self("history", "vm", "--format", "json")
        return [
            f"{one['verb']} by {one['by']}: {one['outcome']}" for one in json.loads(text)["changes"]
        ]


@pytest.fixture
def daemonlike(own_host: LabHost, tmp_path: Path) -> Iterator[Daemonlike]:
    """Return a loop on an empty host."""
    daemonlike = Daemonlike(own_host, tmp_path)
    yield daemonlike
    daemonlike.looping.stop()
    own_host.virsh("undefine", "vm")


def test_the_loop_leaves_a_rollback_alone_until_it_is_resumed(daemonlike: Daemonlike) -> None:
    looping = daemonlike.looping
    former = manifest(power=Power.STOPPED)
    looping.publish(former, revision="aaaa")
    looping.wait_ready("vm", former.generation)
    before = looping.virsh("dumpxml", "vm").stdout
    wanted = manifest(power=Power.STOPPED, memory=Memory(128 * MIB))
    looping.publish(wanted, revision="bbbb")
    looping.wait_ready("vm", wanted.generation)
    shown = daemonlike("rollback", "vm", "--yes")
    assert "offline  memory.size: 128MiB → 64MiB" in shown
    assert "vm: suspended, so that the daemon does not change it back" in shown
    looping.loop.resync()  # the loop has not read the order yet, and does not undo it all the same
    looping.wait(
        lambda: looping.record("vm").condition("Ready").reason == "suspended", "it is seen"
    )
    looping.wait_quiet()
    assert looping.virsh("dumpxml", "vm").stdout == before
    assert "rolled back to before change 2" in daemonlike("status", "vm")
    applied = daemonlike("rollback", "vm", "1", "--yes", status=4)
    assert "change 1 is the creation of vm" in applied
    assert daemonlike.outcomes() == [
        "rollback by root: done", "run by daemon: done", "run by daemon: done",
    ]  # fmt: skip
    daemonlike("resume", "vm")
    looping.loop.reread_orders()
    looping.wait(
        lambda: "131072 KiB" in looping.virsh("dominfo", "vm").stdout, "it is brought back"
    )
    looping.wait_quiet()
    assert daemonlike.outcomes()[0] == "run by daemon: done"
    head = daemonlike("history", "vm", "4").split("\n", 1)[0]
    assert head.endswith("daemon, manifests at bbbb")
