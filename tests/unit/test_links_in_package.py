"""A page in the RPM links only to files in the RPM."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest

from .test_site import find_links

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "packaging" / "rpm" / "virt-reconciler.spec"


def read_commands() -> List[str]:
    """Return what the spec does to collect the documents."""
    text = SPEC.read_text(encoding="utf-8")
    found = re.search(r"^mkdir doc\n((?:cp .*\n)+)", text, re.MULTILINE)
    assert found is not None
    return ["mkdir doc", *found[1].splitlines()]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Return the folder of documents, as the spec makes it."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-c", "-o", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("reconciler/", "tests/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["sh", "-ec", "\n".join(read_commands())], cwd=tmp_path, check=True)
    return tmp_path / "doc"


def test_each_link_leads_to_a_file_of_the_package(documents: Path) -> None:
    pages = sorted(documents.rglob("*.md"))
    assert documents / "README.md" in pages
    assert documents / "docs" / "index.md" in pages
    missing = [
        f"{page.relative_to(documents)}: {link}"
        for page in pages
        for link in find_links(page)
        if not (page.parent / link.partition("#")[0]).exists()
    ]
    assert missing == []


def test_each_picture_is_a_file_of_the_package(documents: Path) -> None:
    missing = [
        f"{page.relative_to(documents)}: {link}"
        for page in documents.rglob("*.md")
        for link in re.findall(r'(?:src|srcset)="([^"]+)"', page.read_text(encoding="utf-8"))
        if not (page.parent / link).is_file()
    ]
    assert missing == []
