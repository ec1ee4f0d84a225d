"""A plan against a snapshot is the plan on the host at that moment, without libvirt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.adapters.recorded import RecordedHost
from reconciler.core.host_snapshot import HostSnapshot, read_snapshot, write_snapshot
from reconciler.core.plan import Plan
from reconciler.core.render.json import render_json
from reconciler.core.render.text import Style, render_text
from reconciler.kinds.machine.survey import take_snapshot
from tests.lab.host import LabHost
from tests.real.commands import Command
from tests.real.hostable import specs
from tests.real.test_convergence import CHIPSETS, REAL, manifest
from tests.real.test_plan_files import CLONE, TEMPLATE, machine
from tests.real.worlds import MIB, Product
from tests.strategies import Document
from tests.unit.source.repositories import Repository

STATE = "state.json"
ROOT = Path(__file__).parents[2]


def keep(host: LibvirtHost) -> HostSnapshot:
    """Return a snapshot as it is read from the file."""
    taken = take_snapshot(host, "2027-01-15T08:00:00Z", "1.0", None)
    found = read_snapshot(write_snapshot(taken), "state")
    assert found == taken
    return found


def say(plan: Plan) -> Tuple[str, str]:
    """Return a plan as people and programs read it."""
    return render_text(plan, Style(), verbose=True), render_json(plan)


@settings(REAL, max_examples=100)
@given(pair=CHIPSETS.flatmap(lambda one: st.tuples(specs(one, "stopped"), specs(one, "stopped"))))
def test_for_any_two_manifests_it_is_the_plan_on_the_host(
    product: Product, lab_host: LibvirtHost, pair: Tuple[Document, Document]
) -> None:
    product.clear()
    former, wanted = map(manifest, pair)
    product.apply(former)
    recorded = Product(RecordedHost(keep(lab_host)))  # type: ignore[arg-type]  # it reads alone
    for one in (former, wanted):
        assert say(recorded.plan(one)) == say(product.plan(one))


@pytest.fixture
def command(product: Product, lab: LabHost, tmp_path: Path) -> Iterator[Command]:
    """Return the command in a folder of manifests, on a host with all kinds of domains."""
    lab.virsh("vol-create-as", "default", "base.img", str(MIB), "--format", "raw")
    lab.virsh("vol-create-as", "xfs", "base.img", str(MIB), "--format", "raw")
    (tmp_path / "vms").mkdir()
    command = Command(lab.uri(), tmp_path)
    command.write("vms/off.yaml", machine("off"))
    command.write("vms/on.yaml", machine("on").replace("power: stopped", "power: running"))
    command("apply", "--yes", "vms")
    xml = lab.virsh("dumpxml", "off").stdout
    for old, new in (("off", "foreign"), ("off", "template")):
        text = "".join(
            x for x in xml.replace(f">{old}<", f">{new}<").splitlines(True) if "uuid" not in x
        )
        start, end = text.index("<metadata>"), text.index("</metadata>") + len("</metadata>")
        lab.virsh("define", str(command.write(f"{new}.xml", text[:start] + text[end:])))
    transient = (command.folder / "foreign.xml").read_text().replace(">foreign<", ">passing<")
    lab.virsh("create", str(command.write("passing.xml", transient)))
    yield command
    lab.virsh("destroy", "passing")
    product.clear()


def change(command: Command) -> None:
    """Want other things: created, cloned, changed, refused, not ours, not possible."""
    command.write("vms/off.yaml", machine("off", cpus=2))
    command.write("vms/on.yaml", machine("on", cpus=3).replace("stopped", "running"))
    command.write("vms/foreign.yaml", machine("foreign", cpus=2))
    command.write("vms/passing.yaml", machine("passing", cpus=2))
    command.write("vms/template.yaml", TEMPLATE)
    command.write("vms/new.yaml", machine("new", disks=CLONE))
    command.write(
        "vms/xfs.yaml", machine("shared", disks=CLONE.replace("virtio,", "virtio, pool: xfs,"))
    )
    linked = TEMPLATE.replace("name: base", "name: other").replace(
        "volume: base.img", "volume: base.img, pool: xfs"
    )
    command.write("vms/other.yaml", linked)
    sharing = "[{name: root, bus: virtio, pool: xfs, source: {template: other, clone: auto}}]"
    command.write("vms/auto.yaml", machine("auto", disks=sharing))
    command.write(
        "vms/nopool.yaml",
        machine("nopool", disks="[{name: a, bus: virtio, size: 1MiB, pool: nope}]"),
    )
    command.write(
        "vms/old.yaml",
        machine("old").replace("os: generic", "os: generic\n  machine: pc-i440fx-0.1"),
    )
    command.write(
        "vms/daemons.yaml",
        machine("served").replace("cpus:", "requiredDaemons: [virtqemud]\n  cpus:"),
    )


def test_every_word_is_as_on_the_host(command: Command, lab: LabHost) -> None:
    change(command)
    command("snapshot", "--out", STATE)
    for form in ("text", "json", "markdown", "html"):
        on_host = command("plan", "-v", "--format", form, "vms", status=1).stdout
        away = offline(command, "plan", "-v", "--format", form, "--against", STATE, "vms")
        assert away.returncode == 1, away.stderr
        assert without_snapshot(form, away.stdout) == on_host
        assert "reflink clone of template other" in on_host
    assert f"{STATE} shows vm as it was" in away.stderr.replace(lab_name(command), "vm")


def offline(command: Command, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command where there is no libvirt to import."""
    script = "import sys; sys.modules['libvirt'] = None\nfrom reconciler.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", script, *words], cwd=command.folder, capture_output=True,
        text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def lab_name(command: Command) -> str:
    found: str = json.loads((command.folder / STATE).read_text())["host"]
    return found


def without_snapshot(form: str, text: str) -> str:
    """Take out what only a plan against a snapshot says."""
    if form == "json":
        data = json.loads(text)
        assert data["snapshot"].keys() == {"takenAt"}
        return json.dumps({**data, "snapshot": None}, indent=2) + "\n"
    quote = "`" if form == "markdown" else ""
    before, _, rest = text.partition(f", host as of {quote}")
    assert rest[10] == "T", "it says when"
    return before + rest[20 + len(quote) :]


def test_no_password_is_in_it_and_none_makes_a_difference(command: Command, lab: LabHost) -> None:
    secret = command.write("vnc.secret", "geheim7\n")
    secret.chmod(0o600)
    fragment = "<graphics type='vnc' passwd='${VNC}'/>"
    overlay = f"""graphics: vnc
  xml:
    - xpath: /domain/devices
      fragment: "{fragment}"
      secrets: {{VNC: {{secretRef: {{file: {secret}}}}}}}"""
    command.write("vms/off.yaml", machine("off").replace("graphics: none", overlay))
    command("apply", "--yes", "vms")
    assert "geheim7" in lab.virsh("dumpxml", "--security-info", "off").stdout
    command("snapshot", "--out", STATE)
    assert "geheim7" not in (command.folder / STATE).read_text()
    done = offline(command, "plan", "--detailed-exitcode", "--against", STATE, "vms")
    assert (done.returncode, "No changes" in done.stdout) == (0, True), done.stdout


def test_a_branch_is_planned_against_it(command: Command) -> None:
    repository = Repository(command.folder)
    repository.commit({})
    command("snapshot", "--out", STATE)
    command.write("vms/on.yaml", machine("on", cpus=3).replace("stopped", "running"))
    (command.folder / "vms/off.yaml").unlink()
    done = offline(command, "plan", "--base", "main", "--against", STATE, "vms")
    assert done.returncode == 0, done.stderr
    assert "~ on: 1 change" in done.stdout
    assert "next-boot  cpus.count: 1 → 3" in done.stdout
    assert "! off: withheld, its manifest is removed" in done.stdout
    assert ", compared with main (" in done.stdout.splitlines()[0]


Damage = Callable[[str], str]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[:-50], "state.json: is not a snapshot: "),
        (
            lambda text: "{}",
            "state.json: is not a snapshot; use a file that `virt-reconciler snapshot`",
        ),
        (lambda text: text.replace('Snapshot": 1', 'Snapshot": 2'), "is a snapshot of version 2"),
        (
            lambda text: text.replace('"host": "', '"host": 7, "x": "'),
            "is damaged: host: 7 does not fit",
        ),
    ],
)
def test_what_is_no_snapshot_is_refused(command: Command, damage: Damage, words: str) -> None:
    command("snapshot", "--out", STATE)
    path = command.folder / STATE
    path.write_text(damage(path.read_text()))
    done = offline(command, "plan", "--against", STATE, "vms")
    assert (done.returncode, words in done.stderr) == (4, True), done.stderr


def test_an_old_one_is_said_to_be_old(command: Command) -> None:
    command("snapshot", "--out", STATE)
    path = command.folder / STATE
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "takenAt": "2020-01-01T00:00:00Z"}))
    done = offline(command, "plan", "--against", STATE, "vms")
    assert "d ago; take a newer one" in done.stderr
    assert ", host as of 2020-01-01T00:00:00Z" in done.stdout
