"""A private host with one template in each of two pools, and what undoes a clone of it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.product import apply
from tests.lab.host import LabHost

MIB = 2**20
BLOCK = os.urandom(MIB)
DISK = 1024  # MiB of data in the template on the machine's own file system
XFS = 256  # in the one on XFS, a file system of 1 GiB

MANIFESTS = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {{name: template}}
spec:
  volume: {volume}
  pool: {pool}
  os: rocky9
  generalized: by hand
  linkedClones: true
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: clone}}
spec:
  os: rocky9
  power: stopped
  cpus: 2
  memory: 2GiB
  disks:
    - {{name: root, bus: virtio, pool: {pool}, source: {{template: template, clone: {clone}}}}}
  interfaces:
    - {{name: lan, network: default, model: virtio}}
"""


@dataclass(frozen=True)
class Cloning:
    """One kind of clone: of which image, in which pool."""

    host: LabHost
    clone: str
    pool: str
    format: str

    @property
    def folder(self) -> Path:
        """The pool's folder."""
        return self.host.images if self.pool == "default" else self.host.folder / self.pool

    @property
    def template(self) -> Path:
        """The image that is cloned."""
        return self.folder / f"template.{self.format}"

    @property
    def volume(self) -> str:
        """What the product calls the clone's volume."""
        return f"clone-root.{'img' if self.format == 'raw' else self.format}"

    @property
    def image(self) -> Path:
        """The clone's image."""
        return self.folder / self.volume

    @property
    def stem(self) -> Path:
        """Where files about it are kept, without a suffix."""
        return self.host.folder / f"{self.clone}-{self.pool}-{self.format}"

    def manifests(self) -> Path:
        """Write the manifests of the template and of a clone."""
        path = self.stem.with_suffix(".yaml")
        fields = {"volume": self.template.name, "pool": self.pool, "clone": self.clone}
        path.write_text(MANIFESTS.format(**fields), "utf-8")
        return path

    def definition(self) -> Path:
        """Write the definition that the product gives a clone."""
        path = self.stem.with_suffix(".xml")
        command = apply(self.host.uri(), self.manifests())
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        text = self.host.virsh("dumpxml", "--inactive", "clone").stdout
        path.write_text(text, "utf-8")
        self.forget()
        return path

    def forget(self) -> None:
        """Undo a defined clone."""
        self.host.virsh("undefine", "clone")
        self.host.virsh("vol-delete", self.volume, self.pool)
        os.sync()

    def unlink(self) -> None:
        """Undo a mere image."""
        self.image.unlink()
        os.sync()

    def write_template(self, mebibytes: int) -> None:
        """Write an image full of data, none of it zeros."""
        raw = self.folder / "template.raw"
        with raw.open("wb") as file:
            for _ in range(mebibytes):
                file.write(BLOCK)
        if self.format != "raw":
            convert = ("qemu-img", "convert", "-f", "raw", "-O", self.format, "-o", "compat=1.1")
            subprocess.run((*convert, str(raw), str(self.template)), check=True)
            raw.unlink()
        self.host.virsh("pool-refresh", self.pool)
        os.sync()


def prepare(folder: Path) -> LabHost:
    """Return a host, not yet started, that will have a pool `xfs` besides `default`."""
    host = LabHost(folder, kvm=False)
    host.add_xfs_pool("xfs")
    return host


def fill(host: LabHost) -> None:
    """Write the templates."""
    host.virsh("pool-define-as", "xfs", "dir", "--target", str(host.folder / "xfs"))
    host.virsh("pool-start", "xfs")
    Cloning(host, "full", "default", "qcow2").write_template(DISK)
    for format_ in ("qcow2", "raw"):  # raw last: it is what the other is made of
        Cloning(host, "reflink", "xfs", format_).write_template(XFS)
