"""Domain XML against golden files: created whole, and edited, as a diff of what changed.

`pytest --regenerate` writes them anew; then `git diff` is the review.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Callable

import pytest

from reconciler.core.xmltree import parse, serialise
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import align, compare

from .samples import (
    CREATED,
    CREATED_FOR_ROCKY,
    EDITED,
    FOREIGN,
    GOLDEN,
    create,
    differences,
    foreign,
)

Golden = Callable[[Path, str], None]


@pytest.mark.parametrize("name", [*CREATED, *CREATED_FOR_ROCKY])
def test_created(name: str, golden: Golden) -> None:
    xml = create(*{**CREATED, **CREATED_FOR_ROCKY}[name])
    golden(GOLDEN / "create" / f"{name}.xml", xml)


@pytest.mark.parametrize("name", EDITED)
def test_edited(name: str, golden: Golden) -> None:
    source, wanted = EDITED[name]
    before = foreign(source)
    after = edit_domain(before, differences(before, wanted))
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), source, name
    )
    golden(GOLDEN / "edit" / f"{name}.diff", "".join(lines))


@pytest.mark.parametrize("name", EDITED)
def test_edited_reads_as_wanted(name: str) -> None:
    source, wanted = EDITED[name]
    before = foreign(source)
    after = edit_domain(before, differences(before, wanted))
    desired = wanted(read_machine(parse(before)))
    assert compare(desired, align(desired, read_machine(parse(after)))) == ()


@pytest.mark.parametrize("name", FOREIGN)
def test_what_nobody_touched_is_the_same_to_the_byte(name: str) -> None:
    assert serialise(parse(foreign(name))) == foreign(name)
    assert edit_domain(foreign(name), ()) == foreign(name)


def test_no_golden_file_is_left_behind() -> None:
    created = {path.stem for path in (GOLDEN / "create").iterdir()}
    edited = {path.stem for path in (GOLDEN / "edit").iterdir()}
    assert created == {*CREATED, *CREATED_FOR_ROCKY}
    assert edited == set(EDITED)
