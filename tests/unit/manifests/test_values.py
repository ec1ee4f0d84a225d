"""What a valid manifest means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.machine import (
    Cdrom,
    CloneMode,
    Cpus,
    Disk,
    Disruption,
    Interface,
    Machine,
    Memory,
    Overlay,
    Power,
)
from reconciler.core.manifest import (
    BusChange,
    Lifecycle,
    MachineManifest,
    Place,
    TemplateManifest,
    Window,
)
from reconciler.kinds.machine.checks import check_machine
from reconciler.kinds.machine.document import build_machine
from tests.strategies import Document, machine_documents
from tests.unit.manifests.documents import load, machine, template

PLACE = Place("a.yaml", 1, 1)
GIB = 2**30


def meaning(folder: Path, **spec: Any) -> MachineManifest:
    loaded = load(folder, machine(**spec), template())
    assert loaded.problems == ()
    return loaded.desired.machines[0]


MACHINES = [
    pytest.param({}, Machine("web"), id="nothing said is nothing managed"),
    pytest.param({"cpus": 4}, Machine("web", cpus=Cpus(4)), id="a number of processors"),
    pytest.param(
        {"cpus": {"count": 2, "maximum": 8, "sockets": 1, "cores": 4, "threads": 2, "mode": "host-model"}},
        Machine("web", cpus=Cpus(2, 8, 1, 4, 2, "host-model")),
        id="processors in full",
    ),
    pytest.param({"memory": "4GiB"}, Machine("web", memory=Memory(4 * GIB)), id="a size of memory"),
    pytest.param(
        {"memory": {"size": "1GiB", "maximum": "2GiB"}},
        Machine("web", memory=Memory(GIB, 2 * GIB)),
        id="memory with a maximum",
    ),
    pytest.param({"power": "running"}, Machine("web", power=Power.RUNNING), id="running"),
    pytest.param({"power": "unmanaged"}, Machine("web"), id="unmanaged power is not managed"),
    pytest.param({"cdroms": []}, Machine("web", cdroms=()), id="an empty list is none of them"),
    pytest.param(
        {"uuid": "6B1BA3F4-5D4A-4F0E-9F5D-0C3A7E1F9A10"},
        Machine("web", uuid="6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a10"),
        id="a UUID in lower case",
    ),
    pytest.param(
        {"guestAgent": True, "rng": False, "tpm": True, "graphics": "none", "video": "vga", "os": "rocky9",
         "autostart": False, "machine": "q35", "firmware": "uefi", "console": True},
        Machine("web", guest_agent=True, rng=False, tpm=True, graphics="none", video="vga", os="rocky9",
                autostart=False, machine="q35", firmware="uefi", console=True),
        id="plain fields",
    ),
    pytest.param(
        {"xml": [{"xpath": "/domain/devices", "fragment": "<watchdog/>"},
                 {"xpath": "/domain/devices/tpm", "absent": True}]},
        Machine("web", overlays=(Overlay("/domain/devices", "<watchdog/>"),
                                 Overlay("/domain/devices/tpm", "", present=False))),
        id="pieces of XML",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), MACHINES)
def test_a_spec_is_a_machine(spec: Any, expected: Machine, tmp_path: Path) -> None:
    assert meaning(tmp_path, **spec).machine == expected


DISKS = [
    pytest.param({"size": "1GiB"}, Disk("d", size=GIB), id="blank"),
    pytest.param({"size": "1GiB", "pool": "fast"}, Disk("d", size=GIB, pool="fast"), id="in a pool"),
    pytest.param({"source": {"path": "/dev/vg/x"}}, Disk("d", source="/dev/vg/x"), id="a path"),
    pytest.param(
        {"pool": "a", "source": {"volume": "v"}}, Disk("d", pool="a", volume="v"),
        id="a volume of the disk's pool",
    ),
    pytest.param(
        {"source": {"volume": "v", "pool": "b"}}, Disk("d", pool="b", volume="v"),
        id="a volume of its own pool",
    ),
    pytest.param(
        {"source": {"template": "base", "clone": "linked"}},
        Disk("d", template="base", clone=CloneMode.LINKED), id="a clone",
    ),
    pytest.param(
        {"target": "sda", "bus": "virtio"}, Disk("d", bus="virtio", target="sda"),
        id="one that exists, by its target",
    ),
    pytest.param(
        {"size": "1GiB", "format": "raw", "cache": "none", "io": "native", "discard": "unmap",
         "serial": "s", "boot": 1, "readonly": True, "shareable": True},
        Disk("d", size=GIB, format="raw", cache="none", io="native", discard="unmap", serial="s",
             boot=1, readonly=True, shareable=True),
        id="everything else",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), DISKS)
def test_an_entry_of_disks_is_a_disk(fields: Any, expected: Disk, tmp_path: Path) -> None:
    assert meaning(tmp_path, disks=[{"name": "d", **fields}]).machine.disks == (expected,)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, Cdrom("c"), id="medium not managed"),
        pytest.param({"media": "none"}, Cdrom("c", media=""), id="no medium"),
        pytest.param({"media": "/a.iso"}, Cdrom("c", media="/a.iso"), id="a path"),
        pytest.param(
            {"media": {"path": "/a.iso"}}, Cdrom("c", media="/a.iso"), id="a path in full"
        ),
        pytest.param(
            {"media": {"volume": "a.iso", "pool": "iso"}, "bus": "scsi", "boot": 2},
            Cdrom("c", bus="scsi", boot=2, volume="a.iso", pool="iso"),
            id="a volume",
        ),
    ],
)
def test_an_entry_of_cdroms_is_a_drive(fields: Any, expected: Cdrom, tmp_path: Path) -> None:
    assert meaning(tmp_path, cdroms=[{"name": "c", **fields}]).machine.cdroms == (expected,)


def test_an_entry_of_interfaces_is_an_interface(tmp_path: Path) -> None:
    entry = {
        "name": "lan",
        "bridge": "br0",
        "model": "virtio",
        "mac": "52:54:00:AA:BB:CC",
        "link": "down",
    }
    (found,) = meaning(tmp_path, interfaces=[entry]).machine.interfaces or ()
    assert found == Interface("lan", None, "br0", "virtio", "52:54:00:aa:bb:cc", "down")


def test_a_lifecycle_in_full(tmp_path: Path) -> None:
    window = {"days": ["sun", "sat"], "start": "23:30", "duration": "2h"}
    lifecycle = {
        "disruption": "window", "deletion": "undefine", "windows": [window], "shutdownTimeout": "5m",
        "forceOff": True,
    }  # fmt: skip
    expected = Lifecycle(
        Disruption.WINDOW, "undefine", (Window((5, 6), 1410, 120),), 300, force_off=True
    )
    assert meaning(tmp_path, lifecycle=lifecycle).lifecycle == expected


def test_drivers_are_installed_only_where_the_manifest_says_so(tmp_path: Path) -> None:
    change = {"install": True, "timeout": "20m"}
    found = meaning(tmp_path, os="win2k16", lifecycle={"busChange": change}).lifecycle.bus_change
    assert found == BusChange(None, 1200, install=True)
    assert not meaning(tmp_path, lifecycle={"busChange": "staged"}).lifecycle.bus_change.install


def test_a_lifecycle_that_is_left_out_is_careful(tmp_path: Path) -> None:
    assert meaning(tmp_path).lifecycle == Lifecycle()


def test_what_is_beside_the_machine(tmp_path: Path) -> None:
    found = meaning(tmp_path, placement={"host": "kvm01"}, requiredDaemons=["virtqemud"])
    assert (found.host, found.required_daemons) == ("kvm01", ("virtqemud",))
    assert (found.place.line, found.place.column) == (1, 1)


def test_a_template_in_full(tmp_path: Path) -> None:
    spec: Any = {
        "domain": "golden", "disk": "vda", "os": "win2k16", "linkedClones": True,
        "generalized": {"how": "sysprep", "when": "2026-03-01"},
    }  # fmt: skip
    (found,) = load(tmp_path, template(**spec)).desired.templates
    place, generation = found.place, found.generation
    assert len(generation) == 12
    assert found == TemplateManifest(
        "base", place, "golden", "vda", None, None, None, "win2k16", "sysprep, 2026-03-01",
        linked_clones=True, generation=generation,
    )  # fmt: skip


def _generation(document: Document) -> str:
    return build_machine(document, PLACE).generation


@given(machine_documents(), st.randoms())
def test_the_generation_does_not_depend_on_the_order_of_keys(
    document: Document, random: Any
) -> None:
    def shuffle(data: Any) -> Any:
        if isinstance(data, dict):
            keys = list(data)
            random.shuffle(keys)
            return {key: shuffle(data[key]) for key in keys}
        return [shuffle(one) for one in data] if isinstance(data, list) else data

    assert _generation(shuffle(document)) == _generation(document)


def test_the_generation_follows_spec_and_labels_and_nothing_else() -> None:
    def generation(spec: Any, **metadata: Any) -> str:
        return _generation({"metadata": {"name": "web", **metadata}, "spec": spec})

    plain = generation({"cpus": 1})
    assert plain == "59411babe8b3"  # stands in domains that exist: never to change
    assert generation({"cpus": 1}, annotations={"a": "b"}) == plain
    assert generation({"cpus": 1}, labels={"a": "b"}) != plain
    assert generation({"cpus": 2}) != plain


@given(machine_documents())
def test_the_kept_spec_is_the_spec(document: Document) -> None:
    found = build_machine(document, PLACE)
    assert json.loads(found.spec) == document["spec"]
    assert found.spec.isascii()


@given(machine_documents())
def test_a_valid_document_has_no_complaints(document: Document) -> None:
    assert check_machine(build_machine(document, PLACE), document) == []


def test_a_whole_number_with_a_point_is_that_number() -> None:
    document: Any = {
        "metadata": {"name": "a"},
        "spec": {"cpus": 2.0, "disks": [{"name": "d", "boot": 1.0}]},
    }
    machine_ = build_machine(document, PLACE).machine
    assert [type(disk.boot) for disk in machine_.disks or ()] == [int]
    assert machine_.cpus == Cpus(2)
