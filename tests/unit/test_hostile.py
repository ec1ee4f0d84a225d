"""One odd object is one problem: it never takes the others with it, whatever it holds.

Each test makes many from seeds; what a seed is worth is that its failure can be made again.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar, cast

import pytest
import yaml

from reconciler.adapters.manifests.reader import MOST_PROBLEMS, load_files
from reconciler.adapters.state.folder import FolderStore
from reconciler.adapters.state.history import FolderHistory
from reconciler.cli.daemon_state import look_into
from reconciler.core.conditions import Condition, fingerprint
from reconciler.core.history import ChangeCause, ChangeRecord, FormerDomain, RecordedChange
from reconciler.core.host_snapshot import HostSnapshot, hide_view, read_snapshot, write_snapshot
from reconciler.core.machine import Machine
from reconciler.core.manifest import Desired
from reconciler.core.manifest_files import MOST_BYTES, ManifestFile
from reconciler.core.plan import Plan, PlanOptions
from reconciler.core.plan_files import PlanFile, Seal, read_plan_file, seal_plan, write_plan_file
from reconciler.core.planner import make_plan
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.core.render.history import render_history, render_history_json, render_past
from reconciler.core.render.json import render_json, render_overview_json
from reconciler.core.render.status import render_overview
from reconciler.core.render.text import Page, Style, render_text
from reconciler.core.world import DomainView, GuestState, Reading, World
from reconciler.core.yaml_text import write_documents
from reconciler.errors import RefusedError
from reconciler.kinds.machine import row
from reconciler.kinds.machine.answers import understand
from reconciler.kinds.machine.checks import check_machine
from reconciler.kinds.machine.export import export_machine
from reconciler.kinds.machine.sightings import make_sighting
from reconciler.kinds.machine.status import find_status
from reconciler.kinds.machine.uncovered import find_remarks
from tests.lab.keys import vm
from tests.unit.domain.samples import GOLDEN, Q35
from tests.unit.hostile import draw_from, spoil_json, spoil_manifest, spoil_xml, time_limit
from tests.unit.planning.worlds import UUID, domain

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
MANIFESTS, DOMAINS, FILES = range(250), range(150), range(150)
LONG = 2000  # characters of a problem
EXAMPLES = [
    document
    for path in sorted((ROOT / "manifests" / "examples").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text("utf-8"))
]
FULL = """
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: vm, labels: {tier: app}}
spec:
  cpus: {count: 3, maximum: 8}
  memory: {size: 3GiB, maximum: 4GiB}
  machine: q35
  firmware: uefi
  power: running
  autostart: true
  disks:
    - {name: root, bus: scsi, size: 9GiB, boot: 1, target: sda}
    - {name: more, size: 1GiB, pool: default}
    - {name: path, source: {path: /srv/x.qcow2}}
  cdroms: [{name: seed, media: /srv/x.iso, bus: sata}]
  interfaces: [{name: lan, network: default, model: e1000, mac: "52:54:00:00:00:01"}]
  guestAgent: true
  graphics: vnc
  lifecycle: {disruption: window, shutdownTimeout: 30s, windows: [{days: [mon], start: "01:00", duration: 1h}]}
  xml:
    - {xpath: /domain/devices, fragment: "<memballoon model='virtio' freePageReporting='on'/>"}
    - {xpath: "/domain/devices/disk[target/@dev='vda']/driver", absent: true}
"""
SOUND = ManifestFile(
    "sound.yaml",
    FULL.replace("name: vm,", "name: sound,")
    .replace(":00:01", ":00:02")
    .replace("/srv/x.qcow2", "/srv/y.qcow2")
    .encode(),
)
OWN = domain(
    "<disk type='file' device='disk'><source file='/a.qcow2'/><target dev='vda' bus='virtio'/></disk>"
    "<interface type='network'><source network='default'/><mac address='52:54:00:00:00:01'/></interface>"
)
XML = [
    OWN,
    *(path.read_text("utf-8") for path in sorted((GOLDEN / "foreign").glob("*.xml"))),
    *(path.read_text("utf-8") for path in sorted((GOLDEN / "create").glob("*.xml"))[:6]),
]


def load(*contents: bytes) -> Desired:
    """Return what is valid; what is not is a problem in one line, and no bug of ours."""
    files = [ManifestFile(f"{number}.yaml", content) for number, content in enumerate(contents)]
    loaded = load_files([*files, SOUND])
    for problem in map(str, loaded.problems):
        assert "internal error" not in problem
        assert problem.isprintable()
        assert len(problem) < LONG
    return loaded.desired


def show(plan: Plan) -> None:
    """Render a plan; no object in it met a bug."""
    render_text(plan, Style(), verbose=True)
    assert "internal error" not in render_json(plan)


HEAD = FULL.partition("  machine:")[0]
# A file as large as any may be, made so that looking for one place in it from each other takes an hour.
LARGE = {
    "keys that are there again": "".join(f"  k{one}: 1\n" for one in range(30_000))
    + "  k29999: 1\n" * 30_000,
    "unknown keys": "".join(f"  k{one}: 1\n" for one in range(60_000)),
    "odd devices": "  disks:\n" + "  - {nam: d, siz: 1GiB}\n" * 40_000,
    "devices of one name": "  disks:\n" + "  - {name: d, target: vda, boot: 1}\n" * 25_000,
    "paths": "  xml:\n" + "  - {xpath: /domain/a:b, fragment: <a}\n" * 25_000,
    "a path": f'  xml: [{{xpath: "/domain{"/a" * 500_000}", absent: true}}]\n',
    "brackets of a path": f'  xml: [{{xpath: "/domain/{"[" * 1_000_000}", absent: true}}]\n',
    "a fragment": f'  xml: [{{xpath: /domain, fragment: "{"<a " * 300_000}"}}]\n',
    "a fragment of comments": f'  xml: [{{xpath: /domain, fragment: "<a>{"<!--" * 200_000}</a>"}}]\n',
    "a size": f"  firmware: {'9' * 1_000_000}GiB\n",
}


@pytest.mark.parametrize("case", LARGE)
def test_a_file_that_is_made_to_be_slow_is_refused_as_fast_as_any_other(case: str) -> None:
    content = (HEAD + LARGE[case]).encode()
    assert len(content) < MOST_BYTES
    with time_limit(60):
        loaded = load_files([ManifestFile("large.yaml", content), SOUND])
    assert [machine.name for machine in loaded.desired.machines] == ["sound"]
    assert 0 < len(loaded.problems) <= 2 * MOST_PROBLEMS + 1
    assert all(len(str(problem)) < LONG for problem in loaded.problems)


def around(**domains: Any) -> World:
    return World(
        "kvm01", "qemu:///system", domains, {"default": True},         machines={"": Q35, "q35": Q35, "pc-q35-7.2": Q35},
    )  # fmt: skip


@pytest.mark.parametrize("seed", MANIFESTS)
def test_an_odd_manifest_is_a_problem_and_leaves_the_others(seed: int) -> None:
    chance = draw_from(seed)
    document = chance.choice([*EXAMPLES, yaml.safe_load(FULL)])
    desired = load(spoil_manifest(document, chance))
    if "sound" not in str(document):
        assert any(machine.name == "sound" for machine in desired.machines) or not desired.machines
    plan = make_plan(desired, around(), PlanOptions())
    show(plan)
    seal_plan(plan, desired, around())


@pytest.mark.parametrize("seed", DOMAINS)
def test_an_odd_domain_is_unknown_or_shown_and_leaves_the_others(seed: int) -> None:
    chance = draw_from(seed)
    text = spoil_xml(chance.choice(XML), chance)
    live = text if chance.random() < 0.5 else None
    view = DomainView("vm", UUID, GuestState.RUNNING if live else GuestState.OFF, text, live)
    fingerprint("g1", make_sighting(view).parts)
    reading = understand(view)
    desired = load(FULL.encode())
    world = around(vm=reading)
    if isinstance(reading, Reading):
        find_status("vm", reading)
        find_remarks(reading, world)
        load(write_documents([(export_machine(reading, {}, world), ())]).encode())
        snapshot = HostSnapshot(
            "2027-01-15T08:00:00Z", "1", "kvm01", "u", domains={"vm": hide_view(view)}
        )
        assert read_snapshot(write_snapshot(snapshot), "s") == snapshot
    else:
        assert "internal error" not in reading.reason
    for adopt in (True, False):
        plan = make_plan(desired, world, PlanOptions(adopt_all=adopt))
        assert {action.name for action in plan.actions} == {"vm", "sound"}
        show(plan)
        seal_plan(plan, desired, world)


def read_or_refuse(read: Callable[[], T], start: str) -> Optional[T]:
    """Return what is read, or None where it is refused in our words."""
    refused: List[str] = []
    try:
        return read()
    except RefusedError as error:
        refused.append(str(error))
    assert refused[0].startswith(start)
    return None


SNAPSHOT = HostSnapshot(
    "2027-01-15T08:00:00Z", "1", "kvm01", "qemu:///system", "abc",
    domains={"vm": DomainView("vm", UUID, GuestState.OFF, OWN)},
    sizes={"vm": {"vda": 1}}, networks={"default": True}, machine_types=("q35",), machines={"q35": Q35},
)  # fmt: skip


@pytest.mark.parametrize("seed", FILES)
def test_an_odd_snapshot_is_read_or_refused(seed: int) -> None:
    text = spoil_json(json.loads(write_snapshot(SNAPSHOT)), draw_from(seed))
    snapshot = read_or_refuse(lambda: read_snapshot(text, "s"), "s: ")
    for view in snapshot.domains.values() if snapshot else ():
        understand(view)


SEAL = Seal("VirtualMachine", "web", True, "m", "d", "t", "v", "s")
PLAN = PlanFile(
    "2027-01-15T08:00:00Z", "1", ("/srv/vms",), None, ("old",), adopt_all=False,
    shown={"host": "kvm01", "resources": []}, seals=(SEAL,),
)  # fmt: skip


@pytest.mark.parametrize("seed", FILES)
def test_an_odd_plan_file_is_refused_also_with_a_digest_that_fits(seed: int) -> None:
    data: Dict[str, Any] = json.loads(write_plan_file(PLAN))
    data.pop("digest")
    text = spoil_json(data, draw_from(seed))
    try:
        made = json.loads(text)
        plain = json.dumps(made, sort_keys=True, separators=(",", ":"))
        text = json.dumps(
            {**made, "digest": f"sha256:{hashlib.sha256(plain.encode()).hexdigest()}"}
        )
    except (ValueError, RecursionError, TypeError):
        pass
    kept = read_or_refuse(lambda: read_plan_file(text, "p"), "p: ")
    if kept is not None:
        assert all(
            isinstance(path, str)
            for path in (kept.made_at, kept.version, kept.host, *kept.paths, *kept.adopt)
        )


RECORD = Record("vm", conditions=(Condition("Ready", holds=False, reason="Failed"),))


def spoil_file(path: Path, chance: random.Random) -> None:
    path.write_text(spoil_json(json.loads(path.read_text("utf-8")), chance), "utf-8")


@pytest.mark.parametrize("seed", FILES)
def test_an_odd_state_file_is_named_and_leaves_the_others(seed: int, tmp_path: Path) -> None:
    chance = draw_from(seed)
    store = FolderStore(str(tmp_path))
    for name in ("odd", "sound"):
        store.save_record(replace(RECORD, name=name))
        store.suspend(Suspension(name, 5.0, "alice", "why"))
    store.save_source(SourceRecord("abc", problems=("p",)))
    chosen = chance.choice(
        ("objects/VirtualMachine/odd.json", "suspended/VirtualMachine/odd.json", "source.json")
    )
    spoil_file(tmp_path / chosen, chance)
    overview = look_into(store)
    assert set(overview.entries) == {vm("odd"), vm("sound")}
    entries = list(overview.entries.values())
    render_overview(overview, entries, Page(Style()), 10.0, full=True, verbose=True)
    render_overview_json(overview, entries)
    store.confirmed_prune()


PAST = ChangeRecord(
    "vm", 12.5, ChangeCause("alice", "apply", "abc"), "update", (RecordedChange("memory.size", 1, 2, "live", "why"),),
    ("Define",), ("a note",), FormerDomain(OWN, UUID, running=True),
)  # fmt: skip


@pytest.mark.parametrize("seed", FILES)
def test_an_odd_entry_of_a_history_leaves_the_others(seed: int, tmp_path: Path) -> None:
    history = FolderHistory(str(tmp_path / "history"))
    first, second = (history.begin(replace(PAST, at=at)) for at in (1.0, 2.0))
    (file,) = tmp_path.glob(f"history/*/*/{second.number}.json")
    spoil_file(file, draw_from(seed))
    entries = history.list(vm("vm"))
    assert first in entries
    render_history(entries, Style())
    render_history_json(vm("vm"), entries)
    for entry in entries:
        render_past(entry, Style())
    history.find_last(vm("vm"))


def test_a_bug_is_one_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw, too: here a check that fails with an error of Python's own."""

    def fail(found: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(manifest: Any, *rest: Any) -> Any:
            if manifest.name == found:
                raise KeyError("nobody foresaw this")
            return original(manifest, *rest)

        return call

    bad = (
        FULL.replace("name: vm,", "name: bad,")
        .replace(":00:01", ":00:03")
        .replace("/srv/x.qcow2", "/srv/z.qcow2")
        .encode()
    )
    with monkeypatch.context() as patch:
        patch.setattr(row, "check_machine", fail("bad", check_machine))
        loaded = load_files([ManifestFile("bad.yaml", bad), SOUND])
        assert [machine.name for machine in loaded.desired.machines] == ["sound"]
        (problem,) = map(str, loaded.problems)
        assert problem.startswith("bad.yaml:2:1: internal error (KeyError at test_hostile.py:")
    desired = load(bad)
    half = Reading(DomainView("bad", UUID, GuestState.OFF, OWN), cast("Machine", None))
    reasons = {
        action.name: action.reason
        for action in make_plan(desired, around(bad=half), PlanOptions()).actions
    }
    assert "internal error (AttributeError" in reasons["bad"]
    assert "internal error" not in reasons["sound"]
