"""The lock of an object: one holder, gone with its process, and seen by others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Iterator

import pytest

from reconciler.adapters.state.object_locks import FolderLocks
from reconciler.core.key import Key
from reconciler.errors import BusyError

KEY = Key("VirtualMachine", "web01")
PLACE = "qemu-system-kvm01"
HOLDER = """
import sys
from reconciler.adapters.state.object_locks import FolderLocks
from reconciler.core.key import Key
FolderLocks(sys.argv[1], "apply").take("qemu-system-kvm01", Key("VirtualMachine", "web01"))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locks(tmp_path: Path) -> FolderLocks:
    """Return this run's locks."""
    return FolderLocks(str(tmp_path / "run" / "locks"), "run")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Return another run, which holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / "locks")]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_run_holds_an_object_and_others_are_told_which(
    locks: FolderLocks, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(BusyError) as caught:
        locks.take(PLACE, KEY)
    assert f"another virt-reconciler works on web01 (pid {other.pid}, apply, since " in str(
        caught.value
    )
    [(key, worker)] = locks.list_held(PLACE).items()
    assert key == KEY
    assert worker is not None
    assert (worker.process, worker.verb, locks.is_alive(worker)) == (other.pid, "apply", True)


def test_another_object_and_another_host_are_free(
    locks: FolderLocks, other: subprocess.Popen[str]
) -> None:
    locks.take(PLACE, Key("VirtualMachine", "web02"))()
    locks.take(PLACE, Key("Network", "web01"))()
    locks.take("qemu-system-kvm02", KEY)()
    assert locks.list_held("qemu-system-kvm02") == {}


def test_the_lock_ends_with_its_process(
    locks: FolderLocks, other: subprocess.Popen[str], tmp_path: Path
) -> None:
    [worker] = locks.list_held(PLACE).values()
    assert worker is not None
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert locks.is_alive(worker) is False
    assert locks.list_held(PLACE) == {}
    release = locks.take(PLACE, KEY)
    assert locks.list_held(PLACE) == {}, "what this run holds keeps nobody here"
    release()
    assert list((tmp_path / "run" / "locks").iterdir()) == []


def test_a_number_that_was_given_again_is_not_the_run(locks: FolderLocks) -> None:
    me = replace(locks.me, process=os.getpid())
    assert locks.is_alive(me) is True
    assert locks.is_alive(replace(me, started=me.started + 1)) is False


def test_of_a_run_on_another_machine_nothing_is_known(locks: FolderLocks) -> None:
    assert locks.is_alive(replace(locks.me, machine="other")) is None
