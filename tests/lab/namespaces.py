"""Processes with mounts, process numbers and, if wanted, a network of their own.

All of them end with the first one, and with the test that started them. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional

from tests.lab.surroundings import PLAIN


@dataclass(frozen=True)
class Namespaces:
    """A script of bash's, and all that it started."""

    _process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, script: str, log: Path, *, network: bool = False) -> Namespaces:
        """Run the script, with a plain environment, as the first process of its own."""
        # Should the test be killed, all of it goes too.
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
        """The process that has the mounts and the network, and waits for the first one."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it goes on."""
        return self._process.poll() is None

    def first(self) -> Optional[int]:
        """Return the first process as it is numbered here, None if there is none (any more)."""
        return child_of(self.pid)

    def end(self) -> None:
        """End every process. When this returns, none is left, nor a mount of theirs."""
        first = self.first()
        with contextlib.suppress(ProcessLookupError):
            if first is not None:
                with _descriptor(first) as ended:
                    os.kill(first, signal.SIGKILL)
                    select.select([ended], [], [])  # the kernel ends the first one last
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def _descriptor(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def child_of(pid: int) -> Optional[int]:
    """Return the last child of a process, None if it has none (any more)."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return int(children.split()[-1])
    return None
