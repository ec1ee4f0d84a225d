"""docs/manifest.md says what the schemas say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_about_manifests_is_up_to_date() -> None:
    code = "import make_manifest_docs as docs; print(docs.render(), end='')"
    run = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=ROOT / "scripts",
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    page = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
    assert run.stdout == page, "run scripts/make_manifest_docs.py"
