"""Only the clock asks for the time, and many values are not told apart by their place alone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterable, Iterator, Mapping, Sequence, Tuple

import pytest

PACKAGE = Path(__file__).parents[3] / "reconciler"
CLOCK = PACKAGE / "adapters" / "clock.py"
MOST_BY_PLACE = 4  # arguments of a construction; more are given by name
TIMES = {
    "time": {"monotonic", "monotonic_ns", "perf_counter", "sleep", "time", "time_ns"},
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
}


def read_trees() -> Dict[str, ast.Module]:
    """Return the syntax tree of each module by its path."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


TREES = read_trees()


def find_times(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that name a way to ask for the time, or to wait."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if node.attr in TIMES.get(name, ()):
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (node.lineno for alias in node.names if alias.name in TIMES["time"])


def find_classes(trees: Iterable[ast.AST]) -> Mapping[str, Tuple[str, ...]]:
    """Return class → the names that its construction takes, in their order."""
    classes = {
        node.name: node
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    return {name: tuple(find_parameters(node, classes)) for name, node in classes.items()}


def find_parameters(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[str]:
    """Yield the parameters of `__init__`, or the fields of a dataclass and of what it is based on."""
    for line in node.body:
        if isinstance(line, ast.FunctionDef) and line.name == "__init__":
            yield from (argument.arg for argument in line.args.args[1:])
            return
    for base in node.bases:
        if call_name(base) in classes:
            yield from find_parameters(classes[call_name(base)], classes)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            yield line.target.id


def call_name(node: ast.AST) -> str:
    """Return the last part of a name like `a.b`; empty for any other expression."""
    return str(getattr(node, "id", getattr(node, "attr", "")))


def find_long_calls(tree: ast.AST, classes: Mapping[str, Sequence[str]]) -> Iterator[int]:
    """Yield the lines that construct a class of ours by more values than can be told apart.

    Values that are called as their fields are need no name.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and call_name(node.func) in classes:
            by_place = [value for value in node.args if not isinstance(value, ast.Starred)]
            names = tuple(map(call_name, by_place))
            fields = tuple(classes[call_name(node.func)])
            if len(by_place) > MOST_BY_PLACE and names != fields[: len(names)]:
                yield node.lineno


def test_only_the_clock_knows_the_time() -> None:
    found = [
        f"{name}:{line}"
        for name, tree in TREES.items()
        if PACKAGE / name != CLOCK
        for line in find_times(tree)
    ]
    assert found == []


def test_a_construction_of_more_than_four_values_names_them() -> None:
    classes = find_classes(TREES.values())
    found = [
        f"{name}:{line}" for name, tree in TREES.items() for line in find_long_calls(tree, classes)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import time\nx = time.monotonic()",
        "from time import sleep",
        "import datetime\nx = datetime.datetime.now()",
        "from datetime import datetime\nx = field(default_factory=datetime.now)",
    ],
)
def test_a_second_clock_is_found(text: str) -> None:
    assert list(find_times(ast.parse(text)))


def test_a_long_construction_is_found() -> None:
    base = "class Base:\n    a: int\n    b: int"
    plan = "class Plan(Base):\n    c: int\n    d: int\n    e: int"
    work = "class Work:\n    def __init__(self, a, b, c, d, e): pass"
    classes = find_classes([ast.parse(f"{base}\n{plan}\n{work}")])
    refused = "Plan(1, 2, 3, 4, 5)\nWork(a, b, c, e, d)\n"
    fine = "Plan(1, 2, 3, 4, e=5)\nprint(1, 2, 3, 4, 5)\nPlan(a, b, c, x.d, e)\nWork(a, b, c, d, e)"
    assert list(find_long_calls(ast.parse(refused + fine), classes)) == [1, 2]
