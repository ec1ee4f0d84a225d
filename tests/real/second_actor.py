"""A second administrator: random work by virsh on one machine, between passes of the product.

Every block that a guest writes bears a pattern of its own, and is remembered. Whatever the two did, all of
them must still be read from the disk that the domain names.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import libvirt
import libvirt_qemu

from reconciler.cli.console import Console
from reconciler.cli.run import run
from reconciler.cli.services import Services
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost

BLOCK = 64 * 1024  # bytes
BLOCKS = 64  # on each disk
# A machine as small as can be: without its disks, and how it ends.
SMALL = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: vm}}
spec:
  os: generic
  power: {power}
  cpus: 1
  memory: 32MiB
  graphics: none
  interfaces: []
"""
MANIFEST = (
    SMALL
    + """\
  lifecycle: {{forceOff: true, shutdownTimeout: 5s}}
  disks:
    - {{name: root, bus: virtio, size: 8MiB}}
    - {{name: data, bus: scsi, source: {{path: {images}/data.qcow2}}}}
"""
)
DISKS = ("root", "data")
# Where QEMU has the disk of each bus, by libvirt's alias of it.
_DEVICE = {"virtio": "/machine/peripheral/{}/virtio-backend", "scsi": "{}"}


@cache
def _connect(uri: str) -> Any:
    return libvirt.open(uri)


@dataclass(frozen=True)
class Watched:
    """A domain that is looked at often: by libvirt's API, as each virsh takes 20 ms to start."""

    lab: LabHost
    name: str

    def _find(self) -> Any:
        return _connect(self.lab.uri()).lookupByName(self.name)

    def read(self, flags: int = 0) -> str:
        """Return its definition, empty if it is gone."""
        with suppress(libvirt.libvirtError):
            return str(self._find().XMLDesc(flags))
        return ""

    def read_stored(self) -> str:
        """Return the definition that is stored, empty if it is gone."""
        return self.read(libvirt.VIR_DOMAIN_XML_INACTIVE)

    def read_saved(self) -> str:
        """Return the definition in its saved state, empty if there is none."""
        with suppress(libvirt.libvirtError):
            return str(self._find().managedSaveGetXMLDesc())
        return ""

    def is_running(self) -> bool:
        """Whether its guest runs, and is not paused."""
        with suppress(libvirt.libvirtError):
            return bool(self._find().state()[0] == libvirt.VIR_DOMAIN_RUNNING)
        return False

    def command(self, text: str) -> str:
        """Give QEMU's monitor a command for people; return the answer."""
        flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
        return str(libvirt_qemu.qemuMonitorCommand(self._find(), text, flags))


@dataclass
class Yard:
    """One host with the machine `vm`, as two people work on it; `log` is what they did."""

    lab: LabHost
    folder: Path
    chance: random.Random
    name: str = "vm"
    count: int = 0
    written: Dict[str, Dict[int, int]] = field(default_factory=lambda: {disk: {} for disk in DISKS})
    last: Dict[str, Tuple[str, str]] = field(default_factory=dict)
    log: List[str] = field(default_factory=list)

    @property
    def manifest(self) -> Path:
        """The machine's manifest."""
        return self.folder / "vm.yaml"

    def prepare(self) -> None:
        """Have the machine made, with one disk of its own and one that was there."""
        self.image("data.qcow2")
        power = self.chance.choice((*["running"] * 10, *["unmanaged"] * 9, "stopped"))
        text = MANIFEST.format(power=power, images=self.lab.images)
        self.manifest.write_text(text, encoding="utf-8")
        self.log.append(f"power: {power}")
        status, told = self.reconcile("apply", "--yes")
        assert status == 0, told

    def image(self, name: str) -> Path:
        """Make an empty image."""
        path = self.lab.images / name
        command = ["qemu-img", "create", "-q", "-f", "qcow2", str(path), "8M"]
        subprocess.run(command, check=True)
        return path

    def reconcile(self, *words: str) -> Tuple[int, str]:
        """Run the command on the manifest, in this process; return its status and all it said."""
        out, err = io.StringIO(), io.StringIO()
        environ = {"XDG_STATE_HOME": str(self.folder / "state"), "PATH": os.environ["PATH"]}
        console = Console(out, err, io.StringIO(), environ)
        argv = ["--connect", self.lab.uri(), *words, str(self.manifest)]
        status = run(argv, console, Services.from_options)
        told = out.getvalue() + err.getvalue()
        self.log.append(f"{' '.join(words)}: {status}\n{told}")
        assert "this is a bug" not in told, self.story()
        return status, told

    def story(self) -> str:
        """Return all that happened."""
        return "\n".join(self.log)

    def virsh(self, *words: str) -> bool:
        """Do something by hand; whether libvirt went along. In many states it rightly does not."""
        done = self.lab.virsh(*words, check=False)
        outcome = "ok" if done.returncode == 0 else done.stderr.strip().splitlines()[0]
        self.log.append(f"virsh {' '.join(words)}: {outcome}")
        return done.returncode == 0

    def save(self) -> None:
        """Save the guest, if libvirt goes along."""
        outcome = "ok"
        try:
            self.lab.save(self.name)
        except libvirt.libvirtError as error:
            outcome = str(error)
        self.log.append(f"managedsave {self.name}: {outcome}")

    @property
    def domain(self) -> Watched:
        """The machine, under the name that it has now."""
        return Watched(self.lab, self.name)

    def start(self) -> None:
        """Start it as a careful person does: not on images that are no longer its own."""
        saved = read_disks(self.domain.read_saved())
        stored = read_disks(self.domain.read_stored())
        if any(saved[name][0] != stored[name][0] for name in saved if name in stored):
            self.virsh("managedsave-remove", self.name)
        self.virsh("start", self.name)

    def remember(self) -> None:
        """Note where the disks are, for the case that the domain goes."""
        for name, (source, form, _, _) in read_disks(self.domain.read_stored()).items():
            self.last[name] = (source, form)

    def write(self) -> None:
        """Have the running guest write a block to a disk, as its own driver would."""
        if not self.domain.is_running():
            return
        name = self.chance.choice(DISKS)
        found = read_disks(self.domain.read()).get(name)
        if found is None or found[2] not in _DEVICE:
            return
        block, self.count = self.chance.randrange(BLOCKS), self.count + 1
        pattern = self.count % 255 + 1
        device = _DEVICE[found[2]].format(found[3])
        write = f'qemu-io -d {device} "write -P {pattern} {block * BLOCK} {BLOCK}"'
        answer = self.domain.command(write)
        assert "rror" not in answer, f"{answer}\n{self.story()}"
        self.written[name][block] = pattern
        self.log.append(f"the guest writes {pattern} to block {block} of {name} ({found[0]})")

    def check(self) -> None:
        """Read every block that the guest has written from the image that the domain names."""
        self.lab.virsh("destroy", self.name, check=False)
        found = read_disks(self.domain.read_stored())
        for name, blocks in self.written.items():
            source, form = (found[name][0], found[name][1]) if name in found else self.last[name]
            wrong = find_lost(source, form, blocks)
            assert wrong == "", f"{name}: {source}: {wrong}\n{self.story()}"

    def work(self) -> None:
        """Do one thing by hand, chosen by chance."""
        self.remember()
        self.chance.choice(ACTIONS)(self)

    def clear(self) -> None:
        """Remove the machine, under any name, and every image."""
        for name in self.lab.virsh("list", "--all", "--name").stdout.split():
            self.lab.virsh("destroy", name, check=False)
            self.lab.virsh(
                "undefine", name, "--managed-save", "--snapshots-metadata",
                "--checkpoints-metadata", check=False,
            )  # fmt: skip
        for path in self.lab.images.iterdir():
            path.unlink()
        self.lab.virsh("pool-refresh", "default")


def read_disks(text: str) -> Mapping[str, Tuple[str, str, str, str]]:
    """Return disk → image, format, bus and alias in a definition; none if it is empty."""
    found = {}
    for disk in (read_machine(parse(text)).disks or ()) if text else ():
        alias = disk.alias or ""
        name = alias if alias in DISKS else _by_target(disk.target or "")
        if name:
            found[name] = (disk.source or "", disk.format or "", disk.bus or "", f"ua-{alias}")
    return found


def find_lost(image: str, form: str, blocks: Mapping[int, int]) -> str:
    """Read each block, which has its pattern; return what went wrong, empty if nothing did."""
    if not blocks:
        return ""
    reads = [f"read -P {pattern} {block * BLOCK} {BLOCK}" for block, pattern in blocks.items()]
    words = [word for read in reads for word in ("-c", read)]
    done = subprocess.run(
        ["qemu-io", "-r", "-f", form, *words, image], check=False, capture_output=True, text=True
    )
    whole = done.stdout.count(f"read {BLOCK}/{BLOCK} bytes") == len(reads)
    failed = done.returncode != 0 or "failed" in done.stdout or not whole
    return f"{reads}: {done.stdout}{done.stderr}" if failed else ""


def _by_target(target: str) -> Optional[str]:
    """Return which of our disks a target is: the actor's own are plugged in further behind."""
    return {"vda": "root", "sda": "data"}.get(target)


def _snapshot(yard: Yard, *options: str) -> None:
    yard.count += 1
    yard.virsh("snapshot-create-as", yard.name, f"s{yard.count}", *options)


def _target(yard: Yard) -> str:
    return yard.chance.choice(("vda", "sda"))


def _copy(yard: Yard) -> None:
    yard.count += 1
    copy = str(yard.lab.images / f"copy{yard.count}.qcow2")
    yard.virsh(
        "blockcopy", yard.name, _target(yard), copy, "--transient-job", "--pivot", "--wait"
    )  # fmt: skip


def _rename(yard: Yard) -> None:
    other = "vmr" if yard.name == "vm" else "vm"
    if yard.virsh("domrename", yard.name, other):
        yard.name = other


def _attach(yard: Yard) -> None:
    yard.count += 1
    image = str(yard.image(f"extra{yard.count}.qcow2"))
    # On SCSI, which QEMU unplugs without the guest: these guests have no system that would answer.
    yard.virsh(
        "attach-disk", yard.name, image, "sdx", "--targetbus", "scsi", "--subdriver", "qcow2",
        "--config",
    )  # fmt: skip


def _detach(yard: Yard) -> None:
    way = yard.chance.choice(("--config", "--live", "--persistent"))
    yard.virsh("detach-disk", yard.name, "sda" if way != "--config" else _target(yard), way)


def _again(yard: Yard) -> None:
    """Pull the plug, and start it again."""
    yard.virsh("destroy", yard.name)
    yard.start()


def _undefine(yard: Yard) -> None:
    if yard.name == "vm":
        yard.virsh("undefine", "vm", "--snapshots-metadata", "--managed-save")


ACTIONS: Tuple[Callable[[Yard], object], ...] = (
    lambda yard: _snapshot(yard, "--disk-only"),
    lambda yard: _snapshot(yard, "--disk-only", "--no-metadata"),
    lambda yard: _snapshot(yard),
    lambda yard: yard.virsh(
        "blockcommit", yard.name, _target(yard), "--active", "--pivot", "--wait"
    ),
    lambda yard: yard.virsh("blockpull", yard.name, _target(yard), "--wait"),
    _copy,
    lambda yard: yard.virsh("suspend", yard.name),
    lambda yard: yard.virsh("resume", yard.name),
    Yard.save,
    lambda yard: yard.virsh("destroy", yard.name),
    Yard.start,
    _again,
    _rename,
    _undefine,
    _attach,
    _detach,
    lambda yard: yard.virsh("setvcpus", yard.name, "1", "--config"),
    lambda yard: yard.virsh("setmaxmem", yard.name, "48M", "--config"),
    lambda yard: yard.virsh("autostart", yard.name),
    Yard.write,
    Yard.write,
    Yard.write,
    Yard.write,
)  # fmt: skip


def left_to_do(told: str) -> List[str]:
    """Return what a plan in JSON would still change, apart from what it withholds."""
    plan = json.loads(told)
    return [
        f"{one['name']}: {change['path']}"
        for one in plan["resources"]
        for change in one["changes"]
        if change["effect"] != "withheld" and one["action"] not in ("failed", "withheld", "adopt")
    ]
