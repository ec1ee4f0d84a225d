"""The hook for pre-commit, installed and run by the real one, as somebody's repository names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.manifests.documents import machine
from tests.unit.source.repositories import Repository, git

ROOT = Path(__file__).parents[2]
HOOK = "virt-reconciler-validate"


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return this checkout as a repository, as it is now."""
    files = {
        name: (ROOT / name).read_text("utf-8")
        for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").split("\n")
        if name.startswith(("reconciler/", "schemas/", "setup.", "pyproject", "README", "LICENSE"))
        and (ROOT / name).is_file()
    }
    files[".pre-commit-hooks.yaml"] = (ROOT / ".pre-commit-hooks.yaml").read_text("utf-8")
    repository = Repository(tmp_path_factory.mktemp("hooks"))
    link = repository.folder / "reconciler" / "schemas"
    link.parent.mkdir()
    link.symlink_to("../schemas")
    files.pop("reconciler/schemas", None)
    repository.commit(files)
    return repository.folder


def run(hooks: Path, repository: Repository, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the hook of a repository that names it with its folder of manifests."""
    revision = git(hooks, "rev-parse", "HEAD")
    config = f"""\
repos:
  - repo: {hooks}
    rev: {revision}
    hooks: [{{id: {HOOK}, args: [vms]}}]
"""
    repository.commit({".pre-commit-config.yaml": config})
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose"],
        cwd=repository.folder, capture_output=True, text=True, check=False,
        env={
            **os.environ, "PRE_COMMIT_HOME": str(home),
            "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(locked_packages(home)),
        },
    )  # fmt: skip


def locked_packages(home: Path) -> Path:
    """Return a folder with what the package needs, as it is locked: pre-commit asks for ranges."""
    folder = home.parent / "packages"
    if not folder.exists():
        locks = [f"--requirement={ROOT}/requirements/{name}.txt" for name in ("build", "package")]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        subprocess.run([*command, "--only-binary=:all:", f"--dest={folder}", *locks], check=True)
    return folder


def test_the_hook_installs_and_tells_what_is_wrong(hooks: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", {"vms/a.yaml": machine("a"), "ci.yaml": "{}"})
    home = tmp_path / "home"
    done = run(hooks, repository, home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid: 1 virtual machine." in done.stdout, done.stdout
    repository.commit({"vms/b.yaml": machine("b", memory=64)})
    done = run(hooks, repository, home)
    assert done.returncode == 1
    assert "vms/b.yaml:" in done.stdout
    assert "is an unquoted number" in done.stdout
