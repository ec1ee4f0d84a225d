"""A machine of its own with systemd as its first process, made of this one's files.

An overlay shows the container all that is installed here and keeps what it writes in memory; its
processes, network and mounts are its own, and end with it. Its systemd is this distribution's (252
on Debian 12, as on Rocky 9). Needs root. By hand: `python -m tests.lab.container DIR`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Callable, Iterator, List, Optional, Type

CHECKOUT = Path(__file__).parents[2]  # also where it lies in a folder that is not shown
BOOT_LIMIT = 60.0  # seconds
# Services of the machine that have no part in this one: it starts nothing but what a test enables.
UNWANTED = ("multi-user", "timers", "sockets", "sysinit", "getty", "network-online")
# There are no cgroups to delegate, no security driver to ask, and images belong to root.
QEMU_CONF = (
    'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
    "namespaces = []\ncgroup_controllers = []\n"
)
# The overlay lies in a tmpfs, as it must not lie in what it shows.
SCRIPT = """
set -e
mount -t tmpfs -o mode=755 none {folder}
mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work none {folder}/root
cd {folder}/root
rm -rf var/log/journal usr/sbin/policy-rc.d etc/libvirt/qemu/*.xml
rm -rf etc/libvirt/qemu/autostart var/lib/libvirt/qemu/* var/lib/libvirt/images/*
for one in {unwanted}; do rm -rf etc/systemd/system/$one.target.wants; done
printf '%s' '{qemu}' >etc/libvirt/qemu.conf
printf 'kvm01\\n' >etc/hostname
printf 'auth_unix_rw = "none"\\n' >etc/libvirt/libvirtd.conf
cd /
# 133 asks to be started again: the machine reboots.
while :; do
  systemd-nspawn -q -D {folder}/root -M kvm01 --boot --register=no --keep-unit \
    --bind-ro={checkout} --private-network --console=read-only && exit || [ $? = 133 ]
done
"""


@dataclass
class Container:
    """One machine below `folder`, which must be an empty folder."""

    folder: Path
    _process: Optional[subprocess.Popen[bytes]] = field(default=None, repr=False)

    def start(self) -> Container:
        """Boot, and wait until systemd has started all that it was to start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        script = SCRIPT.format(
            folder=self.folder, unwanted=" ".join(UNWANTED), qemu=QEMU_CONF, checkout=CHECKOUT
        )
        # Should the test be killed, the machine goes too: with the first process of a PID namespace
        # all of it ends, which the end of systemd-nspawn alone does not bring about.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p", "--fork"]
        command += ["--kill-child", "--mount-proc", "bash", "-c", script]
        with open(f"{self.folder}.log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.wait_booted()
        return self

    def wait_booted(self) -> None:
        """Wait until all that is started at boot is."""
        self.wait(self._is_booted, "the machine boots", BOOT_LIMIT)

    def _is_booted(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            log = Path(f"{self.folder}.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the container does not run:\n{log[-2000:]}")
        if self._init() is None:
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _init(self) -> Optional[int]:
        """Return the machine's first process as this one sees it."""
        if self._process is None:
            return None
        pid: Optional[int] = self._process.pid
        for _ in ("bash", "systemd-nspawn", "its first process"):
            pid = pid and _child(pid)
        return pid

    def run(
        self, *words: str, check: bool = True, text: Optional[str] = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, as its root."""
        done = subprocess.run(
            self.inside(*words), check=False, capture_output=True, text=True, input=text
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def inside(self, *words: str) -> List[str]:
        """Return the command that runs these words in the machine, with its root's environment."""
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"]
        return ["nsenter", "-t", str(self._init() or 0), "-a", *clean, *words]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the machine, folders included."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", text=text)

    def read(self, path: str) -> str:
        """Read a file of the machine."""
        return self.run("cat", path).stdout

    def systemctl(self, *words: str, check: bool = True) -> str:
        """Run systemctl and return what it printed."""
        return self.run("systemctl", *words, check=check).stdout.strip()

    def virsh(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run virsh against the machine's own libvirt."""
        return self.run("virsh", "-q", "-c", "qemu:///system", *words, check=check)

    def journal(self, *words: str) -> str:
        """Return journal lines of this boot."""
        return self.run("journalctl", "-q", "--no-pager", "-o", "cat", *words).stdout

    def reboot(self) -> None:
        """Restart the machine: every process ends and all that is enabled starts again."""
        former = self._init()
        self.run("systemctl", "reboot", check=False)
        self.wait(lambda: self._init() not in (None, former), "the machine restarts", BOOT_LIMIT)
        self.wait_booted()

    def wait(self, condition: Callable[[], object], what: str, limit: float = 30.0) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {limit:.0f} s in vain until {what}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End every process of the machine; its mounts go with them."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Container:
        """Start."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Stop, whatever happened."""
        self.stop()


@contextlib.contextmanager
def temporary_container() -> Iterator[Container]:
    """Return a booted machine in a new folder, which goes with it."""
    folder = TemporaryDirectory(prefix="vr-", dir="/tmp")
    with folder, Container(Path(folder.name) / "machine") as machine:
        yield machine


def _child(pid: int) -> Optional[int]:
    """Return the last child of a process, None if it has none (any more)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return int(children.split()[-1])
    return None


def main() -> None:
    """Keep a machine running until Ctrl-C, and print how to get into it."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.lab.container DIR")
    with Container(Path(sys.argv[1]).resolve()) as machine:
        print(" ".join(machine.inside("bash")), flush=True)  # noqa: T201 - a command's output
        signal.pause()


if __name__ == "__main__":
    main()
