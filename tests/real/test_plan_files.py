"""A kept plan is carried out as it stands, or not at all: on real libvirt, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest

from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.worlds import MIB, Product

MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  os: generic
  power: stopped
  cpus: {cpus}
  memory: 64MiB
  disks: {disks}
  interfaces: []
  graphics: none
"""
TEMPLATE = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: base}
spec: {volume: base.img, os: generic, generalized: by hand}
"""
CLONE = "[{name: root, bus: virtio, source: {template: base, clone: full}}]"
PLAN = "kept.plan"


def machine(name: str = "web", cpus: int = 1, disks: str = "[]") -> str:
    return MACHINE.format(name=name, cpus=cpus, disks=disks)


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Iterator[Command]:
    """Return the command in an empty folder, on a host with an image for a template."""
    lab.virsh("vol-create-as", "default", "base.img", str(MIB), "--format", "raw")
    (tmp_path / "vms").mkdir()
    yield Command(lab.uri(), tmp_path)
    product.clear()


def keep(command: Command) -> None:
    """Plan, and keep it."""
    done = command("plan", "--out", PLAN, "vms")
    assert f"to carry out exactly this: apply {PLAN}" in done.stderr


def names(lab: LabHost) -> list[str]:
    return lab.virsh("list", "--all", "--name").stdout.split()


def test_what_was_kept_is_carried_out_once(command: Command, lab: LabHost) -> None:
    command.write("vms/template.yaml", TEMPLATE)
    command.write("vms/web.yaml", machine(disks=CLONE))
    command.write("vms/db.yaml", machine("db"))
    keep(command)
    done = command("apply", "--yes", PLAN)
    assert "Applied: 2 created, 0 changed" in done.stdout
    assert "2 unchanged" in command("plan", "--detailed-exitcode", "vms").stdout
    done = command("apply", "--yes", PLAN, status=4)
    for name in ("db", "web"):
        assert f"{name}: nothing is left to do: it already matches its manifest" in done.stderr
    assert "nothing was applied: 2 objects changed since kept.plan" in done.stderr


def test_it_may_be_carried_out_from_another_folder(command: Command, lab: LabHost) -> None:
    command.write("vms/web.yaml", machine())
    keep(command)
    elsewhere = Command(command.uri, command.folder.parent)
    elsewhere("apply", "--yes", str(command.folder / PLAN))
    assert names(lab) == ["web"]


def test_a_plan_without_work_is_done_at_once(command: Command, lab: LabHost) -> None:
    command.write("vms/web.yaml", machine())
    command("apply", "--yes", "vms")
    keep(command)
    assert "No changes" in command("apply", "--yes", PLAN).stdout


def test_drift_of_what_it_leaves_alone_is_left_alone(command: Command, lab: LabHost) -> None:
    command.write("vms/web.yaml", machine())
    command("apply", "--yes", "vms")
    command.write("vms/db.yaml", machine("db"))
    keep(command)
    lab.virsh("setvcpus", "web", "2", "--maximum", "--config")
    lab.virsh("setvcpus", "web", "2", "--config")
    assert "Applied: 1 created, 0 changed" in command("apply", "--yes", PLAN).stdout
    assert lab.virsh("vcpucount", "web", "--active", "--config").stdout.strip() == "2"


Move = Callable[[Command, LabHost], object]


def grow(command: Command, lab: LabHost) -> None:
    """Write to the template's image, and nothing else."""
    os.utime(lab.images / "base.img", (1, 1))


MOVES: Tuple[Tuple[str, Move, str], ...] = (
    (
        "manifest",
        lambda command, _: command.write("vms/web.yaml", machine(cpus=3, disks=CLONE)),
        "web: its manifest was changed",
    ),
    (
        "new-manifest",
        lambda command, _: command.write("vms/more.yaml", machine("more")),
        "more: its manifest is new",
    ),
    (
        "gone-manifest",
        lambda command, _: (command.folder / "vms/web.yaml").unlink(),
        "web: its manifest is gone",
    ),
    (
        "domain",
        lambda _, lab: lab.virsh("setvcpus", "old", "2", "--config"),
        "old: the domain was changed",
    ),
    ("started", lambda _, lab: lab.virsh("start", "old"), "old: the domain was changed"),
    ("template-image", grow, "web: a template that it is made from was changed"),
    (
        "template",
        lambda command, _: command.write("vms/template.yaml", TEMPLATE.replace("hand", "me")),
        "web: a template that it is made from was changed",
    ),
    (
        "volume",
        lambda _, lab: lab.virsh("vol-create-as", "default", "web-root.img", "1M"),
        "web: a volume that it uses or gets was changed",
    ),
)


@pytest.mark.parametrize(("move", "words"), [one[1:] for one in MOVES], ids=[x[0] for x in MOVES])
def test_nothing_is_done_where_anything_has_moved_on(
    command: Command, lab: LabHost, move: Move, words: str
) -> None:
    command.write("vms/old.yaml", machine("old", cpus=3))
    command("apply", "--yes", "vms")
    command.write("vms/template.yaml", TEMPLATE)
    command.write("vms/web.yaml", machine(disks=CLONE))
    command.write("vms/old.yaml", machine("old", cpus=1))
    keep(command)
    move(command, lab)
    before = lab.virsh("dumpxml", "old").stdout
    done = command("apply", "--yes", PLAN, status=4)
    assert words in done.stderr, done.stderr
    assert "nothing was applied: 1 object changed since kept.plan" in done.stderr
    assert names(lab) == ["old"]
    assert lab.virsh("dumpxml", "old").stdout == before


def test_what_was_tampered_with_is_refused(command: Command, lab: LabHost) -> None:
    command.write("vms/web.yaml", machine())
    keep(command)
    path = command.folder / PLAN
    path.write_text(path.read_text().replace('"adoptAll": false', '"adoptAll": true'))
    done = command("apply", "--yes", PLAN, status=4)
    assert f"{PLAN}: was modified after it was written (digest mismatch)" in done.stderr
    assert names(lab) == []


def test_no_secret_is_in_it(command: Command, lab: LabHost) -> None:
    command.write("vms/web.yaml", machine().replace("graphics: none", "graphics: vnc"))
    command("apply", "--yes", "vms")
    definition = lab.virsh("dumpxml", "web").stdout.replace(
        "<graphics type='vnc'", "<graphics type='vnc' passwd='geheim7'"
    )
    file = command.write("web.xml", definition)
    lab.virsh("define", str(file))
    assert "geheim7" in lab.virsh("dumpxml", "web", "--security-info").stdout
    command.write("vms/web.yaml", machine(cpus=2).replace("graphics: none", "graphics: vnc"))
    keep(command)
    assert "geheim7" not in (command.folder / PLAN).read_text()
    command("apply", "--yes", PLAN)
    assert "geheim7" in lab.virsh("dumpxml", "web", "--security-info").stdout


def test_invalid_manifests_leave_no_plan_file(command: Command) -> None:
    command.write("vms/web.yaml", machine())
    command.write("vms/bad.yaml", machine("bad").replace("64MiB", "64"))
    done = command("plan", "--out", PLAN, "vms", status=65)
    assert f"{PLAN} was not written: the plan does not cover all manifests" in done.stderr
    assert not (command.folder / PLAN).exists()


def test_what_is_no_plan_file_is_said_to_be_none(command: Command) -> None:
    command.write("notes.txt", "hello")
    done = command("apply", "--yes", "notes.txt", status=4)
    assert "notes.txt: is not a plan file" in done.stderr
    command.write("plan.json", json.dumps({"formatVersion": 1}))
    done = command("apply", "--yes", "plan.json", status=4)
    assert "use manifests (*.yaml), or a file that `plan --out` wrote" in done.stderr


def test_the_file_is_the_same_for_the_same_plan(command: Command) -> None:
    command.write("vms/web.yaml", machine())
    texts = []
    for _ in range(2):
        keep(command)
        data = json.loads((command.folder / PLAN).read_text())
        texts.append({key: data[key] for key in data if key not in ("madeAt", "digest")})
    assert texts[0] == texts[1]
    assert subprocess.run(["grep", "-c", "<domain", PLAN], cwd=command.folder, check=False,
                          capture_output=True).stdout == b"0\n"  # fmt: skip
