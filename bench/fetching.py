"""From an address to a machine: an image fetched, verified and cloned, beside curl, qemu-img."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator
from urllib.request import urlopen

from bench.product import apply
from bench.timing import Contender, Race, race
from tests.lab.cloud_image import CloudImage, build_cloud_image
from tests.lab.host import LabHost

ROUNDS = 7
SERVER = "127.0.0.1:8099"
MIB = 2**20
MANIFESTS = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {{name: debian12}}
spec:
  os: debian12
  image: {{url: "{url}", sha256: {sha256}}}
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: clone}}
spec:
  os: debian12
  power: stopped
  cpus: 1
  memory: 512MiB
  disks:
    - {{name: root, source: {{template: debian12, clone: full}}}}
  interfaces:
    - {{name: lan, network: default}}
"""


@dataclass(frozen=True)
class Fetching:
    """One host, and the image on a web server of this machine."""

    host: LabHost
    image: CloudImage

    @property
    def url(self) -> str:
        """Where the image is."""
        return f"http://{SERVER}/{self.image.path.name}"

    def manifests(self) -> Path:
        """Write the manifests of the template and of a clone."""
        path = self.host.folder / "fetched.yaml"
        path.write_text(MANIFESTS.format(url=self.url, sha256=self.image.sha256), "utf-8")
        return path

    def forget(self) -> None:
        """Undo an apply."""
        self.host.virsh("undefine", "clone")
        for line in self.host.virsh("vol-list", "default").stdout.splitlines():
            self.host.virsh("vol-delete", line.split()[0], "default")

    def unlink(self) -> None:
        """Undo what curl and qemu-img made."""
        for name in ("fetched.qcow2", "clone.qcow2"):
            (self.host.folder / name).unlink()


def measure(folder: Path) -> Iterator[Race]:
    """Measure on a host that has nothing yet."""
    image = build_cloud_image()
    with LabHost(folder, kvm=False) as host, _serve(image.path.parent):
        yield _fetch(Fetching(host, image))


def _fetch(fetching: Fetching) -> Race:
    folder, size = fetching.host.folder, fetching.image.path.stat().st_size // MIB
    fetch = f"curl -sS -o {folder}/fetched.qcow2 {fetching.url}"
    check = f"echo '{fetching.image.sha256}  {folder}/fetched.qcow2' | sha256sum --quiet -c"
    convert = f"qemu-img convert -O qcow2 {folder}/fetched.qcow2 {folder}/clone.qcow2"
    command = apply(fetching.host.uri(), fetching.manifests())
    contenders = [
        Contender(
            "`curl`, `qemu-img convert`",
            ("sh", "-c", f"{fetch} && {convert}"),
            undo=fetching.unlink,
        ),
        Contender(
            "the same with `sha256sum`",
            ("sh", "-c", f"{fetch} && {check} && {convert}"),
            undo=fetching.unlink,
        ),
        Contender("`virt-reconciler apply`", command, "Applied: 2 created", fetching.forget),
    ]
    return race(f"An image of {size} MiB, fetched and cloned", contenders, ROUNDS)


@contextmanager
def _serve(folder: Path) -> Iterator[None]:
    address, port = SERVER.split(":")
    words = (sys.executable, "-m", "http.server", "--bind", address, "-d", str(folder), port)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait()
            yield
        finally:
            server.terminate()


def _wait() -> None:
    for _ in range(100):
        try:
            with urlopen(f"http://{SERVER}/lock"):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the web server does not answer at {SERVER}")
