"""A private host with as many defined machines as are asked for, made by the product itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import List, Optional, Type

from bench.product import apply
from tests.lab.host import LabHost

# As a machine of an office's manifests: every kind of device, and sizes that are managed.
MANIFEST = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata:
  name: {name}
  labels: {{tier: app}}
spec:
  os: rocky9
  power: stopped
  autostart: false
  cpus: 2
  memory: 2GiB
  disks:
    - {{name: root, bus: virtio, size: 10GiB}}
  cdroms: []
  interfaces:
    - {{name: lan, network: default, model: virtio}}
  guestAgent: true
"""
A_FILE = 100  # documents in a packed file


class Fleet:
    """The host; nothing is started before the first machine is asked for."""

    def __init__(self) -> None:
        """Take a folder with a short name: a socket's path holds 107 characters."""
        self.folder = Path(f"/tmp/vr-bench-{os.getpid()}")  # noqa: S108 - see above
        self.host = LabHost(self.folder / "host", kvm=False)
        self._count = 0

    def grow(self, count: int) -> Path:
        """Have that many machines, and return the folder of their manifests, a file each."""
        if not self._count:
            self.host.start()
        folder = self.folder / f"manifests-{count}"
        if not folder.exists():
            self._write(folder, count)
        if count > self._count:
            print(f"defining {count - self._count} machines", file=sys.stderr, flush=True)
            command = apply(self.host.uri(), folder)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            self._count = count
        return folder

    def pack(self, folder: Path) -> Path:
        """Return a folder with the same documents, many to a file."""
        packed = folder.with_name(f"{folder.name}-packed")
        packed.mkdir(exist_ok=True)
        texts: List[str] = [one.read_text("utf-8") for one in sorted(folder.iterdir())]
        for start in range(0, len(texts), A_FILE):
            text = "---\n".join(texts[start : start + A_FILE])
            (packed / f"{start:04}.yaml").write_text(text, "utf-8")
        return packed

    @staticmethod
    def _write(folder: Path, count: int) -> None:
        folder.mkdir(parents=True)
        for name in (f"vm{number:04}" for number in range(count)):
            (folder / f"{name}.yaml").write_text(MANIFEST.format(name=name), "utf-8")

    def __enter__(self) -> Fleet:
        """Start nothing yet."""
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Stop the host and remove its folder."""
        self.host.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
