#!/usr/bin/env python3
"""Fill the quotations in pages: pieces of files, and outputs of commands.

A page says where the block below comes from: `<!-- quote: FILE -->` is a file of this repository,
most often a golden file of the tests; `<!-- quote: FILE 1-4 -->` some lines of it.
`<!-- output: COMMAND -->` is what a command prints that needs no host. It runs in a Git work tree
with the manifests and the host of the README's picture (scripts/plan_picture). A test compares the
pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator

from make_plan_svg import FOLDER, MANIFESTS, ROOT, SNAPSHOT, write_manifests_before

DOCS = ROOT / "docs"
BLOCK = re.compile(
    r"^<!-- (?P<kind>quote|output): (?P<what>.+?) -->\n\n```(?P<form>\w*)\n.*?^```$",
    re.MULTILINE | re.DOTALL,
)
# What a commit's name depends on.
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (
            ("NAME", "Alice"),
            ("EMAIL", "alice@example.org"),
            ("DATE", "2027-01-15T08:00:00Z"),
        )
    },
}


def main() -> None:
    """Write the pages."""
    for page, text in render_all().items():
        (ROOT / page).write_text(text, encoding="utf-8")


def render_all() -> Dict[str, str]:
    """Return page → its text, for each page that quotes something."""
    pages = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_work_tree(folder)
        return {
            str(page.relative_to(ROOT)): BLOCK.sub(lambda block: _fill(block, folder), text)
            for page, text in pages.items()
            if BLOCK.search(text)
        }


def _make_work_tree(folder: Path) -> None:
    """Make a branch that changes the manifests of main as the picture shows."""
    shutil.copy(SNAPSHOT, folder)
    before = write_manifests_before(folder)
    for file in (FOLDER / "removed").iterdir():
        shutil.copy(file, before)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", MANIFESTS)
    _git(folder, "commit", "--quiet", "--message=Begin")
    shutil.rmtree(before)
    shutil.copytree(FOLDER / MANIFESTS, before)
    _git(folder, "switch", "--quiet", "--create=web02")
    _git(folder, "add", MANIFESTS)
    _git(folder, "commit", "--quiet", "--message=Add web02")


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, env={**os.environ, **GIT}, check=True)


def _fill(block: re.Match[str], folder: Path) -> str:
    read = _read_lines if block["kind"] == "quote" else _run
    text = "\n".join(read(block["what"], folder))
    head = f"<!-- {block['kind']}: {block['what']} -->"
    return f"{head}\n\n```{block['form']}\n{text}\n```"


def _read_lines(what: str, _folder: Path) -> Iterator[str]:
    name, _, part = what.partition(" ")
    first, _, last = (part or "1-").partition("-")
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    yield from lines[int(first) - 1 : int(last) if last else None]


def _run(command: str, folder: Path) -> Iterator[str]:
    program, *words = command.split()
    if program != "virt-reconciler":
        raise ValueError(f"not a command of ours: {command}")
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "reconciler", *words],
        cwd=folder,
        env={**os.environ, **GIT, "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    yield f"$ {command}"
    yield from done.stdout.rstrip("\n").splitlines()


if __name__ == "__main__":
    main()
