"""The command as a user types it: a process of its own, on the private host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict

# A machine with two small disks, which does not run.
WEB = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: web01}
spec:
  cpus: 1
  memory: 64MiB
  power: stopped
  interfaces: []
  disks:
    - {name: root, size: 8MiB}
    - {name: data, size: 8MiB}
"""


@dataclass(frozen=True)
class Command:
    """`virt-reconciler --connect URI`, run in a folder."""

    uri: str
    folder: Path
    has_programs: bool = True  # else it finds no program, and so no libguestfs

    @property
    def environment(self) -> Dict[str, str]:
        """This process's, with a state folder of the command's own where the test has none."""
        own = {"XDG_STATE_HOME": str(self.folder / ".state")}
        path = {} if self.has_programs else {"PATH": str(self.folder / "no-programs")}
        return {**own, **os.environ, **path, "PYTHONPATH": str(Path(__file__).parents[2])}

    def __call__(
        self, *words: str, status: int = 0, limit: float = 300.0
    ) -> subprocess.CompletedProcess[str]:
        """Run it, at most so many seconds, and check its exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", "--connect", self.uri, *words],
            cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=limit,
        )  # fmt: skip
        assert done.returncode == status, f"{done.returncode}, not {status}\n{done}"
        assert "Traceback" not in done.stderr
        return done

    def apply_all(self, path: str, wait: Callable[[], object], limit: float) -> None:
        """Apply until the plan is empty, at most so many seconds; `wait` is for the guest."""
        deadline = time.monotonic() + limit
        while "No changes" not in (shown := self("plan", path).stdout):
            assert time.monotonic() < deadline, f"it does not end: {shown}"
            if "0 to change" in shown:
                wait()
            else:
                self("apply", "--yes", path)

    def write(self, name: str, text: str) -> Path:
        """Write a manifest."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path
