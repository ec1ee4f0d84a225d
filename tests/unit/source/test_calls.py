"""Only the clock asks for the time."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterator

import pytest

PACKAGE = Path(__file__).parents[3] / "reconciler"
CLOCK = PACKAGE / "adapters" / "clock.py"
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
            yield from (node.lineno for one in node.names if one.name in TIMES["time"])


def test_only_the_clock_knows_the_time() -> None:
    found = [
        f"{name}:{line}"
        for name, tree in TREES.items()
        if PACKAGE / name != CLOCK
        for line in find_times(tree)
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
