"""From `apply --wait` to a guest that is ready, beside the bare boot of the same image."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from bench.product import PRODUCT
from bench.timing import Contender, Race, race
from tests.lab.cloud_image import build_cloud_image
from tests.lab.guest import boot_overlays
from tests.lab.host import LabHost

SEED = "clone-seed.iso"
CLOUD = "interfaces: [{name: lan, network: default}]\n  cloudInit: {hostname: clone}"
MANIFESTS = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {{name: template}}
spec: {{volume: template.qcow2, linkedClones: true, generalized: when it was built}}
---
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: clone}}
spec:
  os: debian12
  power: running
  cpus: 1
  memory: 384MiB
  disks:
    - {{name: root, source: {{template: template, clone: linked}}}}
  guestAgent: true
  {more}
"""


@dataclass(frozen=True)
class Booting:
    """One host with an image in its pool; the guest is ready when it has the file `sign`."""

    host: LabHost
    more: str
    sign: str

    @property
    def template(self) -> Path:
        """The image."""
        return self.host.images / "template.qcow2"

    @property
    def kept(self) -> Path:
        """Where the definition and the seed of the first machine are kept, but for the suffix."""
        return self.host.folder / "kept"

    def prepare(self) -> None:
        """Have the image found, and write the manifests."""
        self.host.virsh("pool-refresh", "default")
        self.kept.with_suffix(".yaml").write_text(MANIFESTS.format(more=self.more), "utf-8")

    def keep(self) -> None:
        """Keep what the product made, for the bare boots: the same domain, with the same seed."""
        seed, xml = self.host.images / SEED, self.host.virsh("dumpxml", "--inactive", "clone")
        self.kept.with_suffix(".iso").write_bytes(seed.read_bytes() if seed.exists() else b"")
        plain = re.sub(r"<metadata>.*</metadata>", "", xml.stdout, flags=re.DOTALL)
        self.kept.with_suffix(".xml").write_text(plain, "utf-8")
        self.forget()

    def forget(self) -> None:
        """Leave nothing of the machine."""
        self.host.virsh("destroy", "clone")
        self.host.virsh("undefine", "clone")
        for name in ("clone-root.qcow2", SEED):
            (self.host.images / name).unlink(missing_ok=True)
        self.host.virsh("pool-refresh", "default")

    def race(self, title: str, rounds: int) -> Race:
        """Boot in turn."""
        uri, kept = self.host.uri(), self.kept
        command = (
            PRODUCT,
            "-c",
            uri,
            "apply",
            "--yes",
            "--wait=15m",
            str(kept.with_suffix(".yaml")),
        )
        product = Contender("`virt-reconciler apply --wait`", command, "guest ready", self.forget)
        first = Contender(product.name, command, product.sign, self.keep)
        race(f"{title}, the first boot of which the others have the definition", [first], 0)
        files = (str(kept.with_suffix(".xml")), self.sign, str(kept.with_suffix(".iso")))
        words = (uri, str(self.template), *files, str(self.host.images / SEED))
        floor = Contender(
            "libvirt's own: make the volume, define, start, ask the agent",
            (sys.executable, "-m", "bench.boot_floor", *words),
            "the guest is ready",
            self.forget,
        )
        return race(title, [floor, product], rounds, warm_up=False)


def measure(folder: Path) -> Iterator[Race]:
    """Measure on a host that has nothing yet."""
    with LabHost(folder, kvm=False) as host:
        yield _boot_small(host)
        yield _boot_cloud(host)


def _boot_small(host: LabHost) -> Race:
    """Boot the tests' guest: a kernel, BusyBox and the agent."""
    edits = ", ".join(
        f'{{xpath: {overlay.xpath}, fragment: "{overlay.fragment}"}}'
        for overlay in boot_overlays(packed=True)
    )
    booting = Booting(host, f"interfaces: []\n  xml: [{edits}]", "/proc/version")
    make = ("qemu-img", "create", "-q", "-f", "qcow2", str(booting.template), "64M")
    subprocess.run(make, check=True)
    booting.prepare()
    return booting.race("From nothing to a guest whose agent answers, a small Linux", 7)


def _boot_cloud(host: LabHost) -> Race:
    """Boot a cloud image for the first time."""
    booting = Booting(host, CLOUD, "/run/cloud-init/result.json")
    shutil.copy(build_cloud_image().path, booting.template)
    booting.prepare()
    return booting.race("From nothing to a guest whose first boot is over, Debian 12", 3)
