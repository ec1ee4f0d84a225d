"""A command dies at each change that it makes to the host: the next run finishes, nothing is lost.

Each phase of a machine's life that makes or removes volumes is carried out once for each of its
points. After each kill: what has a name is whole; the next run comes to its end, and the next plan
is empty; no volume is left over; the template, other machines and what guests wrote are as before.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

import pytest

from reconciler.core.world import DomainView
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost
from tests.real.images import Hands, run, write_pattern
from tests.real.killed_points import DELETE, Forge, Order, execute_command
from tests.real.worlds import Product
from tests.unit.adapters.web_server import Files, serve

BASE = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {{name: base}}
spec:
  linkedClones: true
  generalized: by hand
  {image}
"""
MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  os: generic
  power: {power}
  cpus: 1
  memory: 32MiB
  graphics: none
  interfaces: []
  lifecycle: {{deletion: deleteDisks, forceOff: true, shutdownTimeout: 5s}}
  {more}
  disks:
    - {{name: root, bus: virtio, pool: {pool}, source: {{template: base, clone: {clone}}}}}{disks}
"""
DISK = "{{name: {name}, bus: virtio, source: {{template: base, clone: full}}}}"
VOLUME = "volume: base.qcow2"
SEED = "cloudInit: {{hostname: {}, removeAfter: 1m, onChange: {}}}"
# What stands for virt-sysprep: it takes two marks to prepare an image, and could end between them.
SYSPREP = """\
#!/bin/sh
case $1 in
--version) echo "virt-sysprep 1.50.1"; exit;;
--list-operations) echo "machine-id * Remove it"; exit;;
esac
while [ "$1" != --add ]; do shift; done
for offset in 6M 7M; do
  echo "[ 0.0] Preparing at $offset"
  setpriv --pdeathsig KILL qemu-io -f qcow2 -c "write -P 9 $offset 64k" "$2" >/dev/null
done
echo "[ 0.1] Done"
"""
PRUNE = ("prune", "--images", "m", "--yes")
LONG_AGO = "1600000000"  # when the guest is said to have been started: its seed is due


@dataclass
class Scene:
    """One host with the template `base`, a folder `m` of manifests, and what must hold there.

    `whole` maps the name of a volume to what it must hold as soon as a definition names it, and
    when all is done; `written` counts what the guest wrote.
    """

    product: Product
    lab: LabHost
    folder: Path
    web: Files
    base: Path
    forge: Forge
    whole: Dict[str, Path] = field(default_factory=dict)
    definitions: List[Tuple[str, bool]] = field(default_factory=list)
    written: int = 0

    @property
    def environ(self) -> Mapping[str, str]:
        """Where the command finds its state, and the stand-in."""
        return {
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SUPERMIN_KERNEL": "/none",
            "no_proxy": "*",
        }

    @property
    def pools(self) -> Mapping[str, Path]:
        """Return the folders of the pools."""
        return {"default": self.lab.images, "xfs": self.lab.folder / "xfs"}

    @property
    def folders(self) -> Mapping[str, Path]:
        """Return all folders that a command, or a guest, writes to."""
        folders = {name: self.folder / name for name in ("state", "whole")}
        return {**self.pools, **folders}

    def write(self, name: str, text: str) -> None:
        """Write a manifest."""
        (self.folder / "m").mkdir(exist_ok=True)
        (self.folder / "m" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def write_template(self, image: str = VOLUME, pool: str = "default") -> None:
        """Write the template; the image of one that has no address is put into the pool."""
        if image.startswith(VOLUME):
            shutil.copy(self.base, self.pools[pool] / "base.qcow2")
            self.expect("base.qcow2")
        self.write("base", BASE.format(image=image))

    def serve(self, number: int = 0, pack: Callable[[bytes], bytes] = bytes) -> str:
        """Serve an image that has that number in it; return the field of the template, and expect it."""
        image = self.make_copy(f"served-{number}")
        write_pattern(image, number)
        content = pack(image.read_bytes())
        self.web.content["/image"] = content
        sha256 = hashlib.sha256(content).hexdigest()
        self.whole[f"base-{sha256[:12]}.qcow2"] = image
        return f'image: {{url: "{self.web.url}/image", sha256: {sha256}}}'

    def write_machine(
        self, name: str = "vm", clone: str = "linked", more: str = "cdroms: []", **fields: str
    ) -> None:
        """Write the manifest of a machine, and expect its disk."""
        given = {"power": "stopped", "pool": "default", "disks": "", **fields}
        self.write(name, MACHINE.format(name=name, clone=clone, more=more, **given))
        self.expect(f"{name}-root.qcow2")

    def expect(self, volume: str) -> None:
        """Have a volume hold what the template does, if it is not known yet."""
        if volume not in self.whole:
            self.whole[volume] = self.make_copy(volume)

    def make_copy(self, name: str) -> Path:
        """Return a copy of the template's image, outside of the pools."""
        (self.folder / "whole").mkdir(exist_ok=True)
        return Path(shutil.copy(self.base, self.folder / "whole" / name))

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command to its end."""
        ended, said = execute_command(self.lab.uri(), self.point_to(words), self.environ)
        assert ended == status, said
        return said

    def point_to(self, words: Sequence[str]) -> Tuple[str, ...]:
        """Return a command with the folder of the manifests by its path."""
        return tuple(str(self.folder / "m") if word == "m" else word for word in words)

    def write_inside(self, name: str) -> None:
        """Have a guest write to its disk; a guest that is off has done so before."""
        self.written += 1
        number, volume = 100 + self.written % 100, f"{name}-root.qcow2"
        if Hands(self.lab)("domstate", name).strip() == "running":
            Hands(self.lab).guest_writes(name, number)
        else:
            write_pattern(self.lab.images / volume, number)
        write_pattern(self.whole[volume], number)

    def kill(self, phase: Phase, points: List[str]) -> bool:
        """Kill a command at the point behind those; False if it came to its end before."""
        self.restore()
        order = Order(
            uri=self.lab.uri(),
            words=self.point_to(phase.words),
            environ=self.environ,
            number=len(points) + 1,
            journal=str(self.folder / "journal"),
            apart="" if phase.has_records else str(self.folder / "state"),
        )
        code, passed = self.forge.run(order)
        assert code in (0, -signal.SIGKILL), passed
        points.append(passed[-1])
        return code != 0

    def save(self) -> None:
        """Keep all that there is, to begin each point from."""
        domains = self.product.host.domains
        self.definitions = []
        for name in domains.list_domains():
            view = domains.read_domain(name)
            xml = re.sub(r'since="\d+"', f'since="{LONG_AGO}"', view.persistent_xml)
            self.definitions.append((xml, view.is_active))
            if view.is_active:
                domains.power_off(name)
        for name, folder in self.folders.items():
            shutil.rmtree(self.folder / f"saved-{name}", ignore_errors=True)
            if folder.exists():
                shutil.copytree(folder, self.folder / f"saved-{name}")

    def restore(self) -> None:
        """Bring back what was kept."""
        self.product.clear()
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        for name, folder in self.folders.items():
            if (self.folder / f"saved-{name}").exists():
                shutil.copytree(self.folder / f"saved-{name}", folder, dirs_exist_ok=True)
        for pool in self.pools:
            self.product.volumes(pool)
        for xml, was_active in self.definitions:
            self.product.host.domains.define(xml)
            if was_active:
                self.product.host.domains.start(parse(xml).findtext("name") or "")

    def use_guests(self) -> None:
        """Have each guest that runs write to its disk."""
        for name, view in self.product.host.domains.list_domains().items():
            if isinstance(view, DomainView) and view.live_xml is not None:
                self.write_inside(name)

    def stop_guests(self) -> None:
        """Cut the power of each guest, so that what it wrote is in its image."""
        for name, view in self.product.host.domains.list_domains().items():
            if isinstance(view, DomainView) and view.live_xml is not None:
                self.product.host.domains.power_off(name)

    def find_half_done(self) -> Set[str]:
        """Return the disks that a definition names, and that are not whole."""
        sources = [
            Path(disk.source or "")
            for name in self.product.host.domains.list_domains()
            for disk in read_machine(parse(self.product.xml(name))).disks or ()
        ]
        return {path.name for path in sources if not self.is_whole(path)}

    def is_whole(self, path: Path) -> bool:
        """Whether a volume is there and holds what it must."""
        if not path.exists():
            return False
        words = ["qemu-img", "compare", "-q", "-U", str(path), str(self.whole[path.name])]
        return subprocess.run(words, check=False).returncode == 0

    def find_volumes(self) -> Mapping[str, Path]:
        """Return what lies in the pools."""
        return {path.name: path for folder in self.pools.values() for path in folder.iterdir()}

    def close(self) -> None:
        """Leave nothing."""
        self.product.clear()


Prepare = Callable[[Scene], None]
APPLY = ("apply", "--yes", "m")


@dataclass(frozen=True)
class Phase:
    """One command, from one state of the host to another.

    It has at least `least` points. `prepare` makes the state that it begins with; `finish` brings
    it to its end after a kill. Then the pools hold the volumes that are whole, without `gone` and
    with `seeds`. What is written of each change has points of its own where it `has_records`.
    """

    least: int
    prepare: Prepare
    words: Tuple[str, ...] = APPLY
    finish: Tuple[str, ...] = APPLY
    has_records: bool = False
    seeds: Tuple[str, ...] = ()
    gone: Tuple[str, ...] = ()


def fetch(scene: Scene) -> None:
    """Have the image of a template fetched."""
    scene.write_template(scene.serve())
    scene.write_machine()


def fetch_packed(scene: Scene) -> None:
    """Have it fetched and unpacked."""
    scene.write_template(scene.serve(pack=lambda content: lzma.compress(content, preset=0)))
    scene.write_machine()


def clone(how: str, pool: str = "default", **fields: str) -> Prepare:
    """Have a machine made with a clone."""

    def prepare(scene: Scene) -> None:
        scene.write_template(f"{VOLUME}\n  pool: {pool}", pool)
        scene.write_machine(clone=how, pool=pool, **fields)

    return prepare


def prepare_clone(how: str) -> Prepare:
    """Have a machine made with a clone that virt-sysprep prepares."""

    def prepare(scene: Scene) -> None:
        scene.write_template(f"{VOLUME}\n  prepare: {{operations: [machine-id]}}")
        scene.write_machine(clone=how)
        for offset in ("6M", "7M"):
            write = f"write -P 9 {offset} 64k"
            run("qemu-io", "-f", "qcow2", "-c", write, scene.whole["vm-root.qcow2"])

    return prepare


def seed(scene: Scene) -> None:
    """Have a machine made with a seed."""
    scene.write_template()
    scene.write_machine(more=SEED.format("vm", "keep"))


def exchange(scene: Scene) -> None:
    """Have a machine given another seed, before its first start."""
    seed(scene)
    scene.run(*APPLY)
    scene.write_inside("vm")
    scene.write_machine(more=SEED.format("other", "keep"))


def remove_seed(scene: Scene, power: str = "unmanaged") -> None:
    """Have the seed removed of a guest that was started long ago, and is off now."""
    scene.write_template()
    scene.write_machine(more=SEED.format("vm", "keep"), power="running")
    scene.run(*APPLY)
    scene.write_inside("vm")
    scene.write_machine(more=SEED.format("vm", "keep"), power=power)
    if power != "running":
        scene.product.host.domains.power_off("vm")


def remove_seed_live(scene: Scene) -> None:
    """Have the seed removed of a guest that runs."""
    remove_seed(scene, "running")


def rerun(scene: Scene) -> None:
    """Have a machine given a second seed, when the first is gone."""
    remove_seed(scene)
    scene.save()
    scene.restore()
    scene.run(*APPLY)
    scene.write_machine(more=SEED.format("other", "rerun"), power="unmanaged")


def plug(scene: Scene) -> None:
    """Have two clones more plugged into a guest that runs."""
    scene.write_template()
    scene.write_machine(power="running")
    scene.run(*APPLY)
    scene.write_inside("vm")
    disks = "".join(f"\n    - {DISK.format(name=name)}" for name in ("data", "logs"))
    scene.write_machine(power="running", disks=disks)
    scene.expect("vm-data.qcow2")
    scene.expect("vm-logs.qcow2")


def delete(scene: Scene) -> None:
    """Have a machine deleted, and not the other one."""
    seed(scene)
    scene.write_machine("other")
    scene.run(*APPLY)
    scene.write_inside("other")
    scene.write_inside("vm")
    (scene.folder / "m" / "vm.yaml").unlink()


def prune(scene: Scene) -> None:
    """Have images deleted that no template names, but for one that has a clone."""
    for number in (1, 2, 3):
        scene.write_template(scene.serve(number))
        scene.run("template", "pull", "base", "m")
        if number == 1:
            scene.whole["vm-root.qcow2"] = scene.folder / "whole" / "served-1"
            scene.write_machine()
            scene.run(*APPLY)
            (scene.folder / "m" / "vm.yaml").unlink()
        if number == 2:
            scene.whole.popitem()


PHASES: Mapping[str, Phase] = {
    "fetch": Phase(12, fetch, ("template", "pull", "base", "m")),
    "fetch packed": Phase(16, fetch_packed, ("template", "pull", "base", "m")),
    "full clone": Phase(5, clone("full")),
    "linked clone": Phase(13, clone("linked"), has_records=True),
    "reflink clone": Phase(8, clone("reflink", "xfs")),
    "linked clone that runs": Phase(6, clone("linked", power="running")),
    "prepared full clone": Phase(9, prepare_clone("full")),
    "prepared linked clone": Phase(9, prepare_clone("linked")),
    "seed": Phase(10, seed, seeds=("vm-seed.iso",)),
    "exchange of a seed": Phase(10, exchange, seeds=("vm-seed-2.iso",)),
    "removal of a seed": Phase(5, remove_seed),
    "removal of a seed from a guest that runs": Phase(6, remove_seed_live),
    "second seed": Phase(9, rerun, seeds=("vm-seed-2.iso",)),
    "clones plugged into a guest that runs": Phase(10, plug),
    "deletion": Phase(4, delete, (DELETE, "vm"), (DELETE, "vm"), gone=("vm-root.qcow2",)),
    "prune": Phase(2, prune, PRUNE, PRUNE),
}


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    """Return what runs commands that die."""
    with Forge.open() as forge:
        yield forge


@pytest.fixture
def scene(product: Product, lab: LabHost, forge: Forge, tmp_path: Path) -> Iterator[Scene]:
    """Return a host without anything on it, and an image for the template."""
    base = tmp_path / "base.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", base, "8M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 2M", base)
    program = tmp_path / "bin" / "virt-sysprep"
    program.parent.mkdir()
    program.write_text(SYSPREP, encoding="ascii")
    program.chmod(0o755)
    with serve() as web:
        scene = Scene(product, lab, tmp_path, web, base, forge)
        yield scene
        scene.close()


def test_there_are_a_hundred_points() -> None:
    assert sum(phase.least for phase in PHASES.values()) >= 100


@pytest.mark.parametrize("name", PHASES)
def test_kill_at_each_point(scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    phase = PHASES[name]
    phase.prepare(scene)
    scene.save()
    points: List[str] = []
    while scene.kill(phase, points):
        where = f"killed at point {len(points)}: {points[-1]}"
        assert scene.find_half_done() <= set(phase.gone), where
        scene.use_guests()
        said = scene.run(*phase.finish)
        scene.run("plan", "--detailed-exitcode", "m")
        scene.stop_guests()
        found, kept = scene.find_volumes(), scene.whole.keys() - set(phase.gone)
        assert set(found) == kept | set(phase.seeds), f"{where}\n{said}"
        assert [volume for volume in kept if not scene.is_whole(found[volume])] == [], where
    assert len(points) - 1 >= phase.least, points  # the last is where it was not killed
