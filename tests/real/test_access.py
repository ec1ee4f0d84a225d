"""`console` and `ssh` as a person at a terminal has them."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, List

import pytest

from reconciler.core.xmltree import parse
from tests.lab.guest_image import READY
from tests.lab.host import LabHost
from tests.real.booting import LIMIT, Bench
from tests.real.commands import Command
from tests.real.looping import libvirtd
from tests.real.scenarios import BASE, card

ESCAPE = b"\x1d"  # Ctrl-]
# It has no system, so it is there at once and says nothing.
DEAF = replace(BASE, console=True, guest_agent=False, disks=(), interfaces=())
ENDS = {signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: -signal.SIGHUP, signal.SIGINT: 130}
CONNECTED = b"Ctrl-] ends it"


@dataclass
class Session:
    """A command at a terminal of its own."""

    command: Command
    words: List[str]

    def __post_init__(self) -> None:
        self.screen, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.seen = b""
        # Whoever runs the tests may ignore signals (nohup), and a shell at a terminal does not.
        as_usual = ["env", "--default-signal=HUP,INT,TERM"]
        words = ["-m", "reconciler", "--connect", self.command.uri, *self.words]
        self.process = subprocess.Popen(
            [*as_usual, sys.executable, *words],
            env=self.command.environment, start_new_session=True,
            stdin=self.terminal, stdout=self.terminal, stderr=self.terminal,
        )  # fmt: skip

    def wait_for(self, text: bytes) -> None:
        """Wait until this is on the screen."""
        deadline = time.monotonic() + LIMIT
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} does not come: {self.seen!r}"
            if select.select([self.screen], [], [], left)[0]:
                self.seen += os.read(self.screen, 4096)

    def type(self, keys: bytes) -> None:
        """Type keys."""
        os.write(self.screen, keys)

    def wait_raw(self) -> None:
        """Wait until every key goes to the guest, Ctrl-C too."""
        self.wait_for(CONNECTED)
        deadline = time.monotonic() + LIMIT
        while termios.tcgetattr(self.terminal)[3] & termios.ISIG:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.02)

    def end(self) -> int:
        """Wait for the end, and return the exit status."""
        status = self.process.wait(LIMIT)
        while select.select([self.screen], [], [], 0)[0]:
            self.seen += os.read(self.screen, 4096)
        return status

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was."""
        return termios.tcgetattr(self.terminal) == self.before

    def close(self) -> None:
        """End the process, if it has not, and close the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self.screen)
        os.close(self.terminal)


@dataclass
class Desk:
    """Opens sessions, and closes them all."""

    command: Command
    sessions: List[Session]

    def open(self, *words: str) -> Session:
        """Run a command at a terminal."""
        self.sessions.append(Session(self.command, list(words)))
        return self.sessions[-1]


@pytest.fixture
def desk(lab: LabHost, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(Command(lab.uri(), tmp_path), [])
    yield desk
    for session in desk.sessions:
        session.close()


def test_a_console_is_opened_by_one_at_a_time_and_left(
    bench: Bench, desk: Desk, lab: LabHost
) -> None:
    bench.boot(bench.manifest(replace(BASE, console=True)))
    first = desk.open("console", "guest")
    first.wait_raw()
    lab.virsh("reset", "guest")
    first.wait_for(READY)

    second = desk.open("console", "guest")
    assert second.end() == 4
    assert b"virt-reconciler console --force guest" in second.seen
    third = desk.open("console", "--force", "guest")
    third.wait_raw()
    assert first.end() == 0, first.seen
    assert first.is_restored

    third.type(ESCAPE)
    assert third.end() == 0, third.seen
    assert third.is_restored


def test_ssh_becomes_ssh_to_the_address_that_the_agent_names(
    bench: Bench, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = bench.boot(bench.manifest(replace(BASE, interfaces=(card("one"),))))
    guest.exec("sh", "-c", "ip addr add 192.0.2.5/24 dev $(ls /sys/class/net | grep -v lo)")
    program = tmp_path / "ssh"
    program.write_text('#!/bin/sh\necho "$@"\n', encoding="ascii")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = desk.command("ssh", "-l", "admin", "guest", "--", "uptime")
    assert done.stdout == "-o HostName=192.0.2.5 -o HostKeyAlias=guest -l admin guest uptime\n"


def test_a_console_that_is_ended_by_a_signal_restores_the_terminal(
    bench: Bench, desk: Desk
) -> None:
    bench.apply(bench.manifest(DEAF))
    for number, status in ENDS.items():
        session = desk.open("console", "guest")
        session.wait_raw()
        session.process.send_signal(number)
        assert session.end() == status, session.seen
        assert session.is_restored


def wait_connected(lab: LabHost) -> None:
    """Wait until libvirtd has opened the guest's console for the session."""
    console = parse(lab.virsh("dumpxml", "guest").stdout).find("devices/console")
    assert console is not None
    opened = Path(f"/proc/{libvirtd(lab)}/fd")
    deadline = time.monotonic() + LIMIT
    while console.get("tty") not in {read_link(path) for path in opened.iterdir()}:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_link(path: Path) -> str:
    """Return where it leads; empty if it is closed at this moment."""
    with suppress(FileNotFoundError):
        return os.readlink(path)
    return ""


def test_the_end_of_the_guest_is_that_of_its_console(
    bench: Bench, desk: Desk, lab: LabHost
) -> None:
    bench.apply(bench.manifest(DEAF))
    session = desk.open("console", "guest")
    session.wait_raw()
    wait_connected(lab)
    lab.virsh("destroy", "guest")
    assert session.end() == 0
    assert b"guest is off" in session.seen
    assert session.is_restored


def test_a_console_of_a_guest_that_is_off_or_has_none_says_what_to_do(
    bench: Bench, desk: Desk, lab: LabHost
) -> None:
    bench.apply(bench.manifest(replace(DEAF, console=False)))
    without = desk.open("console", "guest")
    assert without.end() == 1
    assert b"write `console: true` in its manifest" in without.seen
    lab.virsh("destroy", "guest")
    off = desk.open("console", "guest")
    assert off.end() == 1
    assert b"virsh start guest --console" in off.seen
