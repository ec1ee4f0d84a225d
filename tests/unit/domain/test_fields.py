"""The table is complete: every field of the model stands in it, every row is exercised."""

from __future__ import annotations

import ast
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Set, Tuple, Type

import pytest

import reconciler
from reconciler.core.field_table import DISK, MACHINE, TABLES, bound
from reconciler.core.fields import PLAIN
from reconciler.core.machine import Cdrom, Cpus, Disk, Interface, Machine, Memory
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine

from .samples import CREATED, FOREIGN, create, foreign

PACKAGE = Path(reconciler.__file__).parent
SCHEMAS = Path(__file__).parents[3] / "schemas" / "v1"
MODEL: Mapping[str, Type[Any]] = {
    "": Machine,
    "cpus.": Cpus,
    "memory.": Memory,
    "disks[].": Disk,
    "cdroms[].": Cdrom,
    "interfaces[].": Interface,
}
FIELDS = [(prefix, one.name) for prefix, kind in MODEL.items() for one in fields(kind)]
ROWS = [(prefix, row.name) for prefix in TABLES for row in bound(prefix)]
NAMES = [(prefix, row.name) for prefix, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize(("prefix", "field"), FIELDS)
def test_a_field_is_bound_or_says_why_not(prefix: str, field: str) -> None:
    row = next(row for row in TABLES[prefix] if row.name == field)
    assert bool(row.path) != bool(row.elsewhere)


@pytest.mark.parametrize(("prefix", "field"), NAMES)
def test_a_row_is_a_field_of_the_model(prefix: str, field: str) -> None:
    assert (prefix, field) in FIELDS


def schema_of(prefix: str) -> Mapping[str, Any]:
    """Return the fields that the manifest may have there."""
    schema = json.loads((SCHEMAS / "VirtualMachine.json").read_text(encoding="utf-8"))
    found: Mapping[str, Any] = schema["properties"]["spec"]["properties"]
    if not prefix:
        return found
    part = found[prefix.rstrip("[].")]
    mapping = part["items"] if "items" in part else part["anyOf"][1]
    properties: Mapping[str, Any] = mapping["properties"]
    return properties


# What is no part of the machine itself.
AROUND = {"placement", "requiredDaemons", "cloudInit", "ignition", "windows", "lifecycle", "xml"}


@pytest.mark.parametrize("prefix", TABLES)
def test_what_a_manifest_may_say_has_a_row_and_a_row_with_a_notation_may_be_said(
    prefix: str,
) -> None:
    keys = {row.key for row in TABLES[prefix] if row.notation is not None}
    assert keys == set(schema_of(prefix)) - AROUND


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
        for row in bound(prefix):
            values.setdefault((prefix, row.name), set()).add(getattr(part, row.name))
    return values


SEEN = seen()


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_exercised_by_golden_files_with_two_values(row: Tuple[str, str]) -> None:
    assert len(SEEN[row]) > 1


# Lists of elements in the XML, not of fields; what an imagined host offers; with what was measured.
LISTS = {
    "layout.py",
    "consequences.py",
    "simulated_host.py",
    "measurements/comparison.py",
    "measurements/matrix.py",
}
ALIKE = (
    {name for field in MACHINE if field.feature for name in (field.name, field.key)},
    {field.name for field in DISK if field.notation is PLAIN and not field.moves},
)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_fields_that_are_alike_are_listed_in_the_table_alone(path: Path) -> None:
    if {path.name, f"{path.parent.name}/{path.name}"} & {"field_table.py", *LISTS}:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        words = {keyword.arg for keyword in getattr(node, "keywords", ())}
        words |= {
            child.value
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.Constant) and isinstance(child.value, str)
        }
        assert all(len(words & names) < 3 for names in ALIKE), f"{path}: {words}"
