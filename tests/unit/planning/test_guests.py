"""A name of an operating system that nobody knows is warned of, and weakens no guard."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.cli.verbs.manifests import find_warnings
from reconciler.core.guests import describe_unknown, find_nearest, is_known, is_windows
from reconciler.core.machine import Disk, Machine
from reconciler.core.manifest import Desired
from reconciler.core.plan import Effect
from tests.unit.planning.worlds import domain, manifest_of, plan

ROOT = Path(__file__).parents[3]
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/i/a.qcow2'/><target dev='sda' bus='sata'/></disk>"
)


@pytest.mark.parametrize(
    "os",
    [
        "rocky9", "rocky9.5", "debian12", "debiantesting", "ubuntu24.04", "fedora42", "rhel9.4",
        "rhel10.0", "centos-stream10", "almalinux9", "sles15sp6", "opensusetumbleweed", "win2k16",
        "win2k12r2", "win10", "win11", "winxp", "win8.1", "archlinux", "linux2022", "generic",
        "nixos-24.05", "freebsd14.0", "alpinelinux3.20", "ol9.3", "cirros0.5.2", "unknown",
        "debian14", "fedora99", "win2k28", "rocky11",
    ],
)  # fmt: skip
def test_ids_of_libosinfo_are_known(os: str) -> None:
    assert is_known(os)
    assert describe_unknown(os) == ""


@pytest.mark.parametrize(
    ("os", "nearest"),
    [
        ("windows2016", "win2k16"),
        ("Windows-Server-2019", "win2k19"),
        ("w2k22", "win2k22"),
        ("win2016", "win2k16"),
        ("rokcy9", "rocky9"),
        ("debain12", "debian12"),
        ("ubuntu-24.04", "ubuntu24.04"),
    ],
)
def test_others_are_told_with_the_nearest(os: str, nearest: str) -> None:
    assert find_nearest(os)[0] == nearest
    assert f"nearest: {nearest}" in describe_unknown(os)


@pytest.mark.parametrize("os", ["windows2016", "w2k16", "MSWin11", "microsoft", "winserver2022"])
def test_what_is_meant_for_a_windows_is_one(os: str) -> None:
    assert is_windows(os)


def test_no_other_system_is_a_windows() -> None:
    for os in ("macosx10.7", "darwin", "rocky9", "linux2022", "windriver9"):
        assert not is_windows(os)


@pytest.mark.parametrize("os", ["windows2016", "server2022", "win2k16"])
def test_the_bus_of_what_may_be_a_windows_is_left_alone(os: str) -> None:
    action = plan(domain(DISK), Machine("vm", os=os, disks=(Disk("sda", bus="virtio"),)))
    [change] = [change for change in action.changes if change.path == "disks[sda].bus"]
    assert change.effect is Effect.WITHHELD
    assert any("not a known operating system" in note for note in action.notes) is not is_known(os)


def test_it_is_a_line_of_validate_with_its_place() -> None:
    manifest = manifest_of(Machine("vm", os="win2016"))
    [line] = find_warnings(
        Desired.of(manifest, replace(manifest, machine=Machine("b", os="rocky9")))
    )
    assert line.startswith("vm.yaml:1:1: warning: vm: spec.os: 'win2016' is not a known")


def test_the_examples_name_systems_that_are_known() -> None:
    found = set()
    for file in (ROOT / "manifests").rglob("*.yaml"):
        found |= set(
            re.findall(r"^\s+os: ([\w.-]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        )
    assert found
    assert [one for one in found if not is_known(one)] == []
