"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["manifest", "effects"])
def test_the_page_is_up_to_date(name: str) -> None:
    code = f"import make_{name}_docs as docs; print(docs.render(), end='')"
    run = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=ROOT / "scripts",
        env={"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert run.stdout == page, f"run scripts/make_{name}_docs.py"
