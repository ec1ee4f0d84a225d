"""The adapter of virt-sysprep, beside a stand-in that shows what it is called with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List

import pytest

from reconciler.adapters import child_programs, guestfs
from reconciler.adapters.guestfs import VirtSysprep
from reconciler.core.frozen import replace
from reconciler.core.preparation import Injection, PreparationTask, PreparationTools
from reconciler.errors import MissingError, TerminalError, TransientError

Script = Callable[[str], VirtSysprep]
PROBES = """
[ "$1" = --version ] && { echo "virt-sysprep 1.50.1"; exit; }
[ "$1" = --list-operations ] && { echo "machine-id * Remove it"; echo "fs-uuids   Change"; exit; }
"""

CUSTOMIZE = """
[ "$1" = --help ] && { echo "  --hostname <HOSTNAME>    Set it"; echo "  --inject-virtio-win <METHOD>"; exit; }
echo "[   1.0] Examining the guest ..."
echo "$@" >customized
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Return what puts a shell script in the place of virt-sysprep."""
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"")
    monkeypatch.setattr(child_programs, "KERNELS", (str(kernel),))
    (tmp_path / "image").write_bytes(b"")

    def write(text: str) -> VirtSysprep:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, lines in {"virt-sysprep": text, "virt-customize": CUSTOMIZE}.items():
            program = folder / name
            program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{lines}\n", encoding="utf-8")
            program.chmod(0o755)
        return VirtSysprep({"PATH": f"{folder}:{os.environ['PATH']}", "LIBGUESTFS_TRACE": "1"})

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return write


def task_of(folder: Path) -> PreparationTask:
    """Return a task with a bit of everything."""
    return PreparationTask(
        path=str(folder / "image"),
        format="qcow2",
        operations=("machine-id", "cloud-init"),
        hostname="web01",
        ssh_keys={"root": "ssh-ed25519 AAAA a\n"},
        scripts=("#!/bin/sh\necho sesame\n",),
    )


def ignore(_doing: str) -> None:
    """Do nothing."""


def test_tools_are_found(script: Script, tmp_path: Path) -> None:
    tools = script(PROBES).find_tools(str(tmp_path))
    options = frozenset({"--hostname", "--inject-virtio-win"})
    assert tools == PreparationTools("1.50.1", frozenset({"machine-id", "fs-uuids"}), options)


def test_drivers_are_injected_by_virt_customize_alone(script: Script, tmp_path: Path) -> None:
    told: List[str] = []
    injection = Injection("/iso/virtio-win.iso", "/iso")
    task = replace(task_of(tmp_path), seals=False, injection=injection)
    script("echo no >sysprepped").prepare(task, told.append)
    words = (tmp_path / "customized").read_text(encoding="utf-8").split()
    assert words[:5] == ["--no-network", "--format", "qcow2", "--add", str(tmp_path / "image")]
    assert words[5:] == ["--inject-virtio-win", "/iso/virtio-win.iso", "--inject-qemu-ga", "/iso"]
    assert "Examining the guest" in told
    assert not (tmp_path / "sysprepped").exists()


def test_what_is_missing_is_named(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingError, match="apt install guestfs-tools"):
        VirtSysprep({"PATH": str(tmp_path)}).find_tools(str(tmp_path))
    sysprep = script(PROBES)
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: 54321)
        with pytest.raises(MissingError, match="run virt-reconciler apply as root"):
            sysprep.find_tools(str(tmp_path))
    monkeypatch.setattr(child_programs, "KERNELS", (str(tmp_path / "none*"),))
    with pytest.raises(MissingError, match="apt install linux-image-cloud-amd64"):
        sysprep.find_tools(str(tmp_path))


def test_texts_are_in_no_command_line_and_in_no_file(script: Script, tmp_path: Path) -> None:
    sysprep = script(
        """
        for word; do
          case $word in
            /proc/self/fd/*) cat "$word" ;;
            root:file:*) cat "${word#root:file:}" ;;
          esac
        done >got
        tr '\\0' '\\n' </proc/$$/cmdline >called
        env >environment
        echo '[   0.0] Examining the guest ...'
        echo '[  12.3] Performing "machine-id" ...'
        """
    )
    told: List[str] = []
    sysprep.prepare(task_of(tmp_path), told.append)
    assert (tmp_path / "got").read_text() == "ssh-ed25519 AAAA a\n#!/bin/sh\necho sesame\n"
    called = (tmp_path / "called").read_text().splitlines()
    assert not any("sesame" in word or "AAAA" in word for word in called)
    options = " ".join(called)
    assert f"--format qcow2 --add {tmp_path / 'image'}" in options
    assert "--delete /var/lib/cloud/* --hostname web01" in options
    assert options.endswith("--operations machine-id,customize")
    environment = (tmp_path / "environment").read_text()
    assert "LIBGUESTFS_BACKEND=direct" in environment
    assert "LIBGUESTFS_TRACE" not in environment  # it prints what it is given
    assert [*dict.fromkeys(filter(None, told))] == [
        "Examining the guest",
        'Performing "machine-id"',
    ]


def test_defaults_are_virt_syspreps_own_and_clouds_cache(script: Script, tmp_path: Path) -> None:
    sysprep = script('echo "$*" >called')
    sysprep.prepare(PreparationTask(str(tmp_path / "image"), "raw"), ignore)
    called = (tmp_path / "called").read_text()
    assert "--delete /var/lib/cloud/*" in called
    assert "--operations" not in called
    assert "--hostname" not in called


def test_failure_is_explained(script: Script, tmp_path: Path) -> None:
    fails = script("echo 'virt-sysprep: error: no operating systems were found in it'; exit 1")
    with pytest.raises(TerminalError, match=r"remove spec\.prepare of the template"):
        fails.prepare(task_of(tmp_path), ignore)
    fails = script("echo 'virt-sysprep: error: libguestfs error: appliance closed'; exit 1")
    with pytest.raises(TransientError, match="appliance closed; if its appliance does not start"):
        fails.prepare(task_of(tmp_path), ignore)
    killed = script("kill -KILL $$")
    with pytest.raises(TransientError, match="was ended by signal 9; apply again"):
        killed.prepare(task_of(tmp_path), ignore)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def read_pids(folder: Path) -> List[int]:
    """Return the processes of the stand-in, when it has begun."""
    path = folder / "pids"
    words = path.read_text().split() if path.exists() else []
    return [int(word) for word in words] if len(words) == 2 else []


SLEEPS = "sleep 300 & echo $$ $! >new; mv new pids; wait"


def test_stop_ends_it_with_all_that_it_started(script: Script, tmp_path: Path) -> None:
    def stop(_doing: str) -> None:
        if read_pids(tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        script(SLEEPS).prepare(task_of(tmp_path), stop)
    pids = read_pids(tmp_path)
    wait_for(lambda: not any(map(is_alive, pids)))


def test_it_may_not_last_for_ever(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guestfs, "LIMIT", 0.3)
    with pytest.raises(TransientError, match="did not end within"):
        script(SLEEPS).prepare(task_of(tmp_path), ignore)


def test_kill_of_this_process_ends_it(script: Script, tmp_path: Path) -> None:
    script(SLEEPS)
    code = (
        "import os; from reconciler.adapters.guestfs import VirtSysprep;"
        "from reconciler.core.preparation import PreparationTask;"
        f"VirtSysprep(os.environ).prepare(PreparationTask({str(tmp_path / 'image')!r}, 'raw'), id)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_for(lambda: bool(read_pids(tmp_path)))
        sysprep, started = read_pids(tmp_path)
        assert is_alive(sysprep)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_for(lambda: not is_alive(sysprep))
    os.kill(started, signal.SIGKILL)  # the appliance is libguestfs' own to end


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds, or fail."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
