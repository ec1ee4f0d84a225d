"""What a branch of 1,000 manifests changes that touches ten, beside loading those files once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Iterator, Optional

from bench.fleet import MANIFEST, Fleet
from bench.product import PRODUCT
from bench.timing import Contender, Goal, Race, race

COUNT, CHANGED, ROUNDS = 1000, 10, 15
LOADING = str(Path(__file__).with_name("loading.py"))
SIGN = f"0 to create, {CHANGED} to change"
GOAL = Goal("ratio", 2)
NOBODY = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")


def measure(fleet: Fleet) -> Iterator[Race]:
    """Measure; no libvirt is needed."""
    folder = make_repository(fleet.folder / "repository")
    loading = (sys.executable, LOADING, str(folder))
    contenders = [
        Contender("loading the files once", loading, f"{COUNT} documents"),
        _plan(folder, "`virt-reconciler plan --base`", goal=GOAL),
        _plan(folder, "the same, of two revisions", "--head", "branch"),
    ]
    yield race(f"What a branch changes, {COUNT:,} manifests, {CHANGED} changed", contenders, ROUNDS)


def _plan(folder: Path, name: str, *more: str, goal: Optional[Goal] = None) -> Contender:
    command = (PRODUCT, "plan", "--base", "main", *more, str(folder))
    return Contender(name, command, SIGN, goal=goal)


def make_repository(top: Path) -> Path:
    """Return the manifests' folder in a work tree at `branch`, which has changed some of `main`."""
    folder = top / "vms"
    folder.mkdir(parents=True)
    _git(top, "init", "-q", "-b", "main")
    for number in range(COUNT):
        name = f"vm{number:04}"
        (folder / f"{name}.yaml").write_text(MANIFEST.format(name=name), "utf-8")
    _commit(top)
    _git(top, "checkout", "-q", "-b", "branch")
    for path in sorted(folder.iterdir())[:: COUNT // CHANGED]:
        path.write_text(path.read_text("utf-8").replace("2GiB", "4GiB"), "utf-8")
    _commit(top)
    return folder


def _commit(top: Path) -> None:
    _git(top, "add", "-A")
    _git(top, *NOBODY, "commit", "-q", "-m", "manifests")


def _git(top: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(top), *words], check=True)
