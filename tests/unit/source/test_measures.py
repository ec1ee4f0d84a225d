"""The measures that `make measure` prints, held by limits."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Mapping, Sequence, Tuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import measure
from measure import Measures, Source, read_sources

# What is measured → the most that it may be. Lower a limit as soon as the code allows it.
LIMITS: Mapping[str, float] = {
    # 190 before first boot, images by address, secrets, guests seen from inside, measurements,
    # Windows and imports came. A new one needs a subject that no file has.
    "files": 284,
    "% of lines are imports": 8.6,
    "% of lines with code are imports": 12.4,
    "frames from apply to the call that stores a domain": 9,
    "frames from apply to the deepest call": 17,
    "lines of half of the functions": 8,
    "lines of 90 % of the functions": 16,
    "lines of the longest function": 50,
    "modules under 40 lines with a single importer": 0,
    "class names that two classes have": 0,
    "loops over `one`": 0,
    "modules named by a gerund": 0,
}

Found = Mapping[str, Tuple[float, Sequence[str]]]


@pytest.fixture(scope="module")
def found() -> Found:
    """Return each measure, and the names behind it."""
    counted = measure.measure(read_sources())
    define, deepest = measure.count_frames(measure.run_trace())
    return {
        "files": (counted.files, ()),
        "% of lines are imports": (counted.import_share, ()),
        "% of lines with code are imports": (counted.import_share_of_code, ()),
        "frames from apply to the call that stores a domain": (define, ()),
        "frames from apply to the deepest call": (deepest, ()),
        "lines of half of the functions": (counted.median_length, ()),
        "lines of 90 % of the functions": (counted.ninth_length, ()),
        "lines of the longest function": (counted.longest, ()),
        "modules under 40 lines with a single importer": with_names(counted.small_single_importer),
        "class names that two classes have": with_names(counted.shared_class_names),
        "loops over `one`": (counted.vague_loops, ()),
        "modules named by a gerund": with_names(counted.gerunds),
    }


def with_names(names: Sequence[str]) -> Tuple[float, Sequence[str]]:
    """Return how many there are, and which."""
    return len(names), names


@pytest.mark.parametrize("what", LIMITS)
def test_measure_is_within_its_limit(found: Found, what: str) -> None:
    value, names = found[what]
    assert value <= LIMITS[what], f"{what}: {value:g}, at most {LIMITS[what]:g} ({names})"


def sources_of(**texts: str) -> Mapping[str, Source]:
    """Return sources of these modules; a name `a__b` is the module b of the package a."""
    names = {key.replace("__", "."): text for key, text in texts.items()}
    return {
        name: Source(name, Path(f"{name}.py"), text, ast.parse(text))
        for name, text in names.items()
    }


def measure_texts(**texts: str) -> Measures:
    """Return the measures of these modules."""
    return measure.measure(sources_of(**texts))


def test_each_line_of_an_import_counts() -> None:
    counted = measure_texts(
        a='"""Doc."""\n\nfrom b import (\n    c,\n)\n# why\ndef f():\n    return 1\n'
    )
    assert (counted.lines, counted.code_lines) == (8, 5)
    assert (counted.import_share, counted.import_share_of_code) == (100 * 3 / 8, 100 * 3 / 5)


def test_a_module_with_one_importer_is_found_and_one_with_two_is_not() -> None:
    counted = measure_texts(
        p__a="from p import c\ndef f(): pass\n",
        p__b="from p.c import x\nimport p.d\n",
        p__c="",
        p__d="",
    )
    assert counted.single_importer == ("p.d",)


def test_names_are_counted() -> None:
    counted = measure_texts(
        telling="class A: pass\ndef _f(): return [one for one in ()]\n_f()\n",
        b="class A: pass\nfor one, two in (): pass\n_g()\n_g()\ndef _g(): pass\n",
    )
    assert counted.shared_class_names == ("A (telling, b)",)
    assert (counted.vague_loops, counted.gerunds) == (2, ("telling",))
    assert (counted.private_functions, counted.used_once) == (2, 1)
