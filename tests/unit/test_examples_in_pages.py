"""Manifests in pages are valid, and so is the full example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from reconciler.cli import main

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```yaml\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"^cat >~/vms/(\S+) <<'?END'?\n(.*?)^END$", re.MULTILINE | re.DOTALL)
# A template that examples clone, where the page shows one of the two.
TEMPLATE = """
---
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: %s}
spec: {volume: %s.qcow2, generalized: it never had an identity}
"""


def find_manifests() -> Iterator[Tuple[str, str]]:
    """Yield page and text of each block that is a whole manifest or configuration."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for indent, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            text = re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
            if text.startswith(("apiVersion:", "# yaml-language-server")):
                yield str(page.relative_to(ROOT)), text


MANIFESTS = list(find_manifests())


def test_pages_have_manifests() -> None:
    assert len(MANIFESTS) > 10


@pytest.mark.parametrize(
    ("page", "text"),
    MANIFESTS,
    ids=[f"{page}-{index}" for index, (page, _) in enumerate(MANIFESTS)],
)
def test_a_manifest_in_a_page_is_valid(
    page: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in re.findall(r"template: (\w+)", text):
        if f"name: {name}\n" not in text:
            text += TEMPLATE % (name, name)
    file = tmp_path / "example.yaml"
    file.write_text(text, encoding="utf-8")
    check = ["config", "check"] if "kind: Configuration" in text else ["validate"]
    status = main([*check, str(file)])
    assert (status, capsys.readouterr().err) == (0, ""), page


# What the shell puts into the manifests of the quick start.
SHELL = {
    "$(cat ~/.ssh/id_ed25519.pub)": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me",
    "$url": "https://example.org/image.qcow2",
    "$sha256": "0" * 64,
}


def test_the_quick_start_writes_valid_manifests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a shell write them, with the reader's own key."""
    page = (ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")
    files = dict(HEREDOC.findall(page))
    assert sorted(files) == ["rocky9.yaml", "web01.yaml"]
    for name, text in files.items():
        written = text
        for variable, value in SHELL.items():
            written = written.replace(variable, value)
        (tmp_path / name).write_text(written, encoding="utf-8")
    status = main(["validate", str(tmp_path)])
    seen = capsys.readouterr()
    assert (status, seen.out, seen.err) == (0, "Valid: 1 virtual machine, 1 template.\n", "")


def test_the_full_example_has_most_of_the_fields() -> None:
    text = (ROOT / "manifests" / "full.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "manifest.md").read_text(encoding="utf-8")
    fields = re.findall(r"^### (?:spec|metadata)[.\w\[\]]*?(\w+)(?:\[\])?$", page, re.MULTILINE)
    shown = [field for field in set(fields) if re.search(rf"\b{field}:", text)]
    assert len(shown) > 0.8 * len(set(fields))
    assert text.strip() in page
