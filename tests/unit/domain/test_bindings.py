"""The table is complete: every field of the model stands in it, every row is exercised."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Dict, Iterator, Mapping, Set, Tuple, Type

import pytest

from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.fields import TABLES, UNBOUND, find_binding
from reconciler.kinds.machine.domain.read import read_machine

from .samples import CREATED, FOREIGN, create, foreign

MODEL: Mapping[str, Type[Any]] = {
    "": Machine,
    "cpus.": Cpus,
    "memory.": Memory,
    "disks[].": Disk,
    "cdroms[].": Cdrom,
    "interfaces[].": Interface,
}
FIELDS = [(prefix, one.name) for prefix, kind in MODEL.items() for one in fields(kind)]
ROWS = [(prefix, one.field) for prefix, rows in TABLES.items() for one in rows]


@pytest.mark.parametrize(("prefix", "field"), FIELDS)
def test_a_field_is_bound_or_says_why_not(prefix: str, field: str) -> None:
    bound = find_binding(prefix, field) is not None
    assert bound != (f"{prefix}{field}" in UNBOUND)


@pytest.mark.parametrize(("prefix", "field"), ROWS)
def test_a_row_is_a_field_of_the_model(prefix: str, field: str) -> None:
    assert (prefix, field) in FIELDS


def parts(machine: Machine) -> Iterator[Tuple[str, object]]:
    """Yield every value of a machine with the prefix of its table."""
    yield "", machine
    yield "cpus.", machine.cpus
    yield "memory.", machine.memory
    for prefix in ("disks", "cdroms", "interfaces"):
        for one in getattr(machine, prefix):
            yield f"{prefix}[].", one


def seen() -> Dict[Tuple[str, str], Set[object]]:
    """Return every value that the golden files have for each row."""
    xmls = [create(*case) for case in CREATED.values()] + [foreign(name) for name in FOREIGN]
    values: Dict[Tuple[str, str], Set[object]] = {}
    for prefix, part in (pair for xml in xmls for pair in parts(read_machine(parse(xml)))):
        for row in TABLES[prefix]:
            values.setdefault((prefix, row.field), set()).add(getattr(part, row.field))
    return values


SEEN = seen()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_exercised_by_golden_files_with_two_values(row: Tuple[str, str]) -> None:
    assert len(SEEN[row]) > 1
