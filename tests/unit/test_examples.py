"""The examples are valid, and an exported manifest is one that plans nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.manifests.reader import load_manifests
from reconciler.core.world import DomainView, GuestState, size_key
from reconciler.core.yaml_text import write_documents
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.export import export_machine
from reconciler.kinds.machine.match import align, compare
from reconciler.kinds.machine.uncovered import find_remarks
from tests.unit.cli.domains import AROUND

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "manifests" / "examples"
DOMAINS = sorted((Path(__file__).parent / "domain" / "golden").rglob("*.xml"))
GIB = 1024**3


def test_examples_are_valid() -> None:
    loaded = load_manifests([str(EXAMPLES)])
    assert [str(problem) for problem in loaded.problems] == []
    names = {machine.name for machine in loaded.desired.machines}
    assert names == {"db01", "uefi01", "vm006-win2016", "web01"}


def test_example_of_the_field_notes_is_cloned_has_virtio_and_no_cdrom() -> None:
    machines = load_manifests([str(EXAMPLES)]).desired.machines
    machine = next(one.machine for one in machines if one.name == "vm006-win2016")
    assert machine.cdroms == ()
    assert [(disk.bus, disk.template) for disk in machine.disks or ()] == [("virtio", "win2016")]


def test_example_from_vmware_is_imported_on_a_bus_that_boots_and_has_no_cdrom() -> None:
    machines = load_manifests([str(ROOT / "manifests" / "imports")]).desired.machines
    machine = next(one.machine for one in machines if one.name == "vm006-from-vmware")
    assert machine.cdroms == ()
    [disk] = machine.disks or ()
    assert disk.bus == "sata"
    assert disk.imported is not None
    assert disk.imported.path == "/srv/import/vm006/vm006.vmx"


@pytest.mark.parametrize("path", DOMAINS, ids=lambda path: path.stem)
def test_exported_manifest_is_valid_and_differs_in_nothing(path: Path, tmp_path: Path) -> None:
    xml = path.read_text(encoding="utf-8")
    reading = read(DomainView("a", "u", GuestState.OFF, xml))
    sizes = dict.fromkeys(map(size_key, reading.persistent.disks or ()), 10 * GIB)
    manifest = write_documents(
        [(export_machine(reading, sizes, AROUND), find_remarks(reading, AROUND))]
    )
    (tmp_path / "a.yaml").write_text(manifest, encoding="utf-8")
    loaded = load_manifests([str(tmp_path)])
    assert [str(problem) for problem in loaded.problems] == []
    machine = loaded.desired.machines[0].machine
    # Sizes are the volumes'; POOL/VOLUME is settled to a path by the planner.
    disks = tuple(replace(disk, size=None, source=None) for disk in machine.disks or ())
    wanted = replace(machine, disks=disks or None)
    assert compare(wanted, align(machine, reading.persistent)) == ()
