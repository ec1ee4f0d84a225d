"""Two hundred kills at moments of chance: the next run finishes, and what a guest wrote is there.

A real process dies by SIGKILL while it carries out a plan. Every guest that runs in between writes
a block to each of its disks, as its own driver would.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Set, Tuple

import pytest

from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.lab.host import LabHost, temporary_host
from tests.real.second_actor import BLOCK, SMALL, Watched, find_lost

CHECKOUT = Path(__file__).parents[2]
IN_A_ROW = 6  # kills before a run is let finish
LATEST = 1.1  # of the time that the work takes: a kill may come too late
LIMIT = 300.0  # seconds for a run that is let finish
TEMPLATE = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: base}
spec: {volume: base.qcow2, os: generic, generalized: by hand}
---
"""
MACHINE = (
    SMALL
    + """\
  lifecycle: {{deletion: deleteDisks, forceOff: true, shutdownTimeout: 5s}}
  disks:
{disks}
"""
)
CLONE = "    - {{name: {}, bus: virtio, source: {{template: base, clone: full}}}}"
DELETE = """\
import sys
from reconciler.adapters.libvirt.host import connect
from reconciler.control.prune import plan_deletions
from tests.execution import execute_action
from reconciler.core.key import Key
from reconciler.core.manifest import Desired
from tests.real.worlds import Silent
from reconciler.adapters.clock import SystemClock
host = connect(sys.argv[1])
[action] = plan_deletions(host, [Key("VirtualMachine", "vm")]).actions
print("Plan:", flush=True)
sys.exit(execute_action(host, Desired(), action, Silent(), SystemClock()).error)
"""


def render(*disks: str, power: str = "running") -> str:
    listed = "\n".join(CLONE.format(disk) for disk in disks)
    return TEMPLATE + MACHINE.format(power=power, disks=listed)


@dataclass
class Victim:
    """The machine `vm` on one host, and the runs that are killed while they work on it."""

    lab: LabHost
    folder: Path
    chance: random.Random
    written: Dict[str, Dict[int, int]] = field(default_factory=dict)
    count: int = 0
    told: List[str] = field(default_factory=list)
    span: float = 0.0  # seconds that the whole work takes which is to be killed
    took: float = 0.0  # seconds that the last run took which ended before it was killed

    @property
    def domain(self) -> Watched:
        """The machine's domain."""
        return Watched(self.lab, "vm")

    def write(self, text: str) -> None:
        """Write the manifests."""
        (self.folder / "vm.yaml").write_text(text, encoding="utf-8")

    def read(self, *words: str) -> str:
        """Return what a command prints that changes nothing."""
        command = [sys.executable, "-m", "reconciler", "--connect", self.lab.uri(), *words]
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env=self.environment
        ).stdout

    @property
    def environment(self) -> Dict[str, str]:
        """This process's, with a state folder of its own."""
        return {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_STATE_HOME": str(self.folder / "state"),
            "LC_ALL": "C.UTF-8",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a run, and wait until its plan is made and its work begins."""
        command = [sys.executable, "-m", "reconciler", "--connect", self.lab.uri(), *words]
        if words[0] == "-c":
            command = [sys.executable, "-c", words[1], self.lab.uri()]
        process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=self.environment,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            self.told.append(line)
            if line.startswith("Plan:"):
                break
        return process

    def finish(self, *words: str, status: int = 0) -> float:
        """Let a run come to its end; return how long its work took, in seconds."""
        process = self.start(*words)
        begun = time.monotonic()
        out, _ = process.communicate(timeout=LIMIT)
        self.told.append(out)
        assert process.returncode == status, self.story()
        return time.monotonic() - begun

    def kill(self, *words: str) -> bool:
        """Kill a run at some moment of its work; return whether it was still at it."""
        process = self.start(*words)
        begun = time.monotonic()
        try:
            out, _ = process.communicate(timeout=self.chance.uniform(0, LATEST * self.span))
            self.took = time.monotonic() - begun
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate(timeout=LIMIT)
        self.told.append(f"{out}\nkilled: {process.returncode == -9}\n")
        return process.returncode == -9

    def story(self) -> str:
        """Return what was said of late."""
        return "".join(self.told[-60:])

    def live_disks(self) -> Tuple[str, ...]:
        """Return the names of the disks that the running guest has."""
        text = self.domain.read()
        if " id='" not in text[:200]:
            return ()
        return tuple(disk.alias for disk in read_machine(parse(text)).disks or () if disk.alias)

    def use(self) -> None:
        """Have the guest write to each of its disks, if it runs."""
        for name in self.live_disks():
            self.count += 1
            block, pattern = self.chance.randrange(32), self.count % 255 + 1
            device = f"/machine/peripheral/ua-{name}/virtio-backend"
            write = f'qemu-io -d {device} "write -P {pattern} {block * BLOCK} {BLOCK}"'
            self.domain.command(write)
            self.written.setdefault(name, {})[block] = pattern
            self.told.append(f"wrote {pattern} to block {block} of {name}\n")

    def check(self) -> None:
        """Read everything that was written."""
        self.lab.virsh("destroy", "vm", check=False)
        machine = read_machine(parse(self.domain.read_stored()))
        images = {
            disk.alias: (disk.source or "", disk.format or "") for disk in machine.disks or ()
        }
        for name, blocks in self.written.items():
            found = find_lost(*images[name], blocks)
            assert found == "", f"{name}: {found}\n{self.story()}"

    def volumes(self) -> Set[str]:
        """Return what lies in the pool."""
        return {path.name for path in self.lab.images.iterdir()}

    def expect(self, *disks: str) -> None:
        """Require that nothing is left to do, and that exactly these volumes are there."""
        self.finish("plan", "--detailed-exitcode", "vm.yaml")
        expected = {"base.qcow2"} | {f"vm-{disk}.qcow2" for disk in disks}
        assert self.volumes() == expected, self.story()

    def clear(self) -> None:
        """Have nothing left but the template's image."""
        self.written.clear()
        self.lab.virsh("destroy", "vm", check=False)
        self.lab.virsh("undefine", "vm", "--managed-save", check=False)
        for name in self.volumes() - {"base.qcow2"}:
            (self.lab.images / name).unlink()
        self.lab.virsh("pool-refresh", "default")

    def kill_often(
        self,
        often: int,
        prepare: Callable[[], None],
        end: Callable[[], None],
        *words: str,
        is_done: Callable[[], bool] = lambda: False,
    ) -> None:
        """Kill a run `often` times, a few in a row, and let it finish after each row of them.

        `is_done` says that it must not be run again: it came to its end before it was killed.
        """
        prepare()
        self.span = self.finish(*words)
        end()
        killed = 0
        for _ in range(3 * often):
            if killed >= often:
                break
            prepare()
            for number in range(IN_A_ROW):
                was_killed = self.kill(*words)
                killed += was_killed
                if number == 0 and not was_killed:
                    self.span = self.took  # the machine may be less busy by now
                self.use()
                if not was_killed or is_done():
                    break
            if not is_done():
                self.finish(*words)
                self.use()
            end()
        assert killed >= often


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    with temporary_host(kvm=False) as host:
        image = host.images / "base.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "32M"], check=True)
        write = ["qemu-io", "-f", "qcow2", "-c", "write -P 0xaa 8M 24M", str(image)]
        subprocess.run(write, check=True, stdout=subprocess.DEVNULL)
        host.virsh("pool-refresh", "default")
        yield host


@pytest.fixture
def victim(host: LabHost, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Victim]:
    victim = Victim(host, tmp_path, random.Random(request.node.name))  # noqa: S311 - chance that repeats
    victim.clear()
    yield victim
    victim.clear()


APPLY = ("apply", "--yes", "vm.yaml")


def test_a_creation_that_is_killed(victim: Victim) -> None:
    def prepare() -> None:
        victim.clear()
        victim.write(render("root", "data"))

    def end() -> None:
        victim.expect("root", "data")
        assert set(victim.live_disks()) == {"root", "data"}
        victim.check()

    victim.kill_often(60, prepare, end, *APPLY)


def test_a_clone_that_is_plugged_into_the_running_guest(victim: Victim) -> None:
    def prepare() -> None:
        victim.clear()
        victim.write(render("root"))
        victim.finish(*APPLY)
        victim.use()
        victim.write(render("root", "data", "logs"))

    def end() -> None:
        victim.expect("root", "data", "logs")
        assert set(victim.live_disks()) == {"root", "data", "logs"}
        victim.check()

    victim.kill_often(60, prepare, end, *APPLY)


def test_a_start_that_is_killed(victim: Victim) -> None:
    victim.write(render("root", power="stopped"))
    victim.finish(*APPLY)

    def prepare() -> None:
        victim.lab.virsh("destroy", "vm", check=False)
        victim.write(render("root"))

    def end() -> None:
        victim.expect("root")
        assert victim.live_disks() == ("root",)
        victim.check()

    victim.kill_often(30, prepare, end, *APPLY)


def test_a_deletion_that_is_killed(victim: Victim) -> None:
    def prepare() -> None:
        victim.clear()
        victim.write(render("root", "data", power="stopped"))
        victim.finish(*APPLY)

    def end() -> None:
        assert victim.lab.virsh("list", "--all", "--name").stdout.split() == []
        assert victim.volumes() == {"base.qcow2"}

    prepare()
    victim.span = victim.finish("-c", DELETE)
    end()
    killed = 0
    while killed < 20:
        prepare()
        while "vm" in victim.lab.virsh("list", "--all", "--name").stdout.split():
            killed += victim.kill("-c", DELETE)
        end()


def test_a_rollback_that_is_killed(victim: Victim) -> None:
    first = render("root", power="unmanaged")
    second = render("root", "data", power="unmanaged").replace("32MiB", "48MiB")

    def use() -> None:
        victim.lab.virsh("start", "vm")
        victim.use()
        victim.lab.virsh("destroy", "vm")

    def prepare() -> None:
        victim.clear()
        victim.write(first)
        victim.finish(*APPLY)
        use()
        victim.write(second)
        victim.finish(*APPLY)
        use()

    def end() -> None:
        victim.write(first)
        victim.finish("plan", "--detailed-exitcode", "vm.yaml")
        assert "vm-data" not in victim.lab.virsh("domblklist", "vm").stdout
        victim.written.pop("data", None)  # its volume stays, and no disk names it
        victim.check()

    def is_done() -> bool:
        """Whether the newest change is a rollback that was finished: one more would undo it."""
        shown = victim.read("history", "--format", "json", "vm")
        newest = json.loads(shown)["changes"][0]
        return (newest["verb"], newest["outcome"]) == ("rollback", "done")

    victim.kill_often(30, prepare, end, "rollback", "--yes", "vm", is_done=is_done)
