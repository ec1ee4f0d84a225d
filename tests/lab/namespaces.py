"""Run processes in mount, PID and, on request, network namespaces of their own.

All of them end when the first one ends, or the test that started it. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional

from tests.lab.surroundings import PLAIN

LIMIT = 120  # seconds until a killed namespace is gone


@dataclass(frozen=True)
class Namespaces:
    """A bash script and all processes that it started."""

    _process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, script: str, log: Path, *, network: bool = False) -> Namespaces:
        """Run the script as the first process, with a plain environment."""
        # If the test is killed, these processes end, too.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-p"]
        command += ["--fork", "--kill-child", "--mount-proc", *(("-n",) if network else ())]
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*command, "bash", "-c", script],
                env=PLAIN, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        """PID of the process that waits for the first one; it has the same mounts and network."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the first process is still running."""
        return self._process.poll() is None

    def first(self) -> Optional[int]:
        """Return the first process's PID on this machine, None if it does not run."""
        return child_of(self.pid)

    def end(self) -> None:
        """Kill every process, and wait until all of them and their mounts are gone."""
        first = self.first()
        with contextlib.suppress(ProcessLookupError):
            if first is not None:
                with _descriptor(first) as ended:
                    os.kill(first, signal.SIGKILL)
                    # The kernel ends the first one last.
                    assert select.select([ended], [], [], LIMIT)[0], _describe_rest(first)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(LIMIT)


@contextlib.contextmanager
def _descriptor(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _describe_rest(first: int) -> str:
    """Return what does not end although its namespace was killed: uninterruptible in the kernel."""
    space = os.readlink(f"/proc/{first}/ns/pid")
    rest = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(folder / "ns/pid") == space:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                rest.append(f"{folder.name} {state} {command}")
    return "still there: " + "; ".join(rest)


def child_of(pid: int) -> Optional[int]:
    """Return the last child of a process, None if it has none (any more)."""
    children = children_of(pid)
    return children[-1] if children else None


def children_of(pid: int) -> List[int]:
    """Return the children of a process, none if it is gone."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(word) for word in children.split()]
    return []


def number_inside(pid: int) -> int:
    """Return the PID that a process has in its own namespace."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return int(status.partition("\nNSpid:")[2].partition("\n")[0].split()[-1])


def list_commands() -> List[str]:
    """Return the command lines of all processes of this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ends at this moment
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return found


def name_of(pid: int) -> str:
    """Return the name of a process, empty if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""
