"""The manual's table of defaults says what a new machine gets."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from reconciler.core.machine import Cdrom, Disk, Interface, Machine, Memory
from reconciler.kinds.machine.domain.create import complete_machine
from tests.unit.domain.samples import NETWORKS, PC, Q35, TCG

PAGE = Path(__file__).parents[2] / "docs" / "manifest.md"
GIVEN = Machine(
    "vm",
    memory=Memory(2**30),
    disks=(Disk("d", source="/d", format="raw"),),
    cdroms=(Cdrom("c"),),
    interfaces=(Interface("i", network="default"),),
)
FAMILIES = {"rocky9": 0, "win2k22": 1}
# What the page adds to a default → the host that it is about.
HOSTS = {"": Q35, "with `machine: pc`: ": PC, "without KVM: ": TCG}


def read_table() -> Dict[str, List[str]]:
    """Return the defaults of each field, by family."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:3] for cells in rows}


TABLE = read_table()


def find_default(cell: str, words: str) -> str:
    """Return the first value that a cell gives for a host, empty if it gives none."""
    for part in cell.split("; "):
        found = re.match(rf"{re.escape(words)}`([^`]+)`(?! where|:)", part)
        if found:
            return found.group(1)
    return ""


def get_value(machine: Machine, path: str) -> Any:
    """Return the value at a path of the manifest, of the first device."""
    place: Any = machine
    for name in re.split(r"(?:\[\])?\.", path):
        attribute = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
        place = getattr(place, attribute)
        place = place[0] if isinstance(place, tuple) and "." in path else place
    return place


# Defaults that libvirt, the adapter, or the absence of an element gives.
ELSEWHERE = {
    "autostart", "machine", "cpus.count", "cpus.maximum", "memory.size", "memory.maximum",
    "disks[].pool", "disks[].readonly", "disks[].shareable", "cdroms[].media", "interfaces[].link",
}  # fmt: skip
CASES = [
    (path, os, words)
    for path, cells in TABLE.items()
    for os, column in FAMILIES.items()
    for words in HOSTS
    if find_default(cells[column], words)
    if path not in ELSEWHERE
]


def test_the_page_has_the_table() -> None:
    parts = {re.split(r"[.\[]", path)[0] for path, _, _ in CASES}
    assert parts >= {"firmware", "cpus", "disks", "cdroms", "interfaces", "video", "rng", "tpm"}


@pytest.mark.parametrize(("path", "os", "words"), CASES)
def test_a_new_machine_gets_the_default_of_the_manual(path: str, os: str, words: str) -> None:
    machine = complete_machine(replace(GIVEN, os=os), HOSTS[words], NETWORKS)
    value = get_value(machine, path)
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    assert shown == find_default(TABLE[path][FAMILIES[os]], words)
