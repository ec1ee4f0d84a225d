"""The manifests' Git commit, asked of a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler.adapters.git import read_revision


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a work tree with one commit."""
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "a.yaml").write_text("a: 1\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_folder_and_file_are_at_the_commit(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert read_revision([str(repository / "vm")]) == head
    assert read_revision([str(repository), str(repository / "vm" / "a.yaml")]) == head


def test_outside_of_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert read_revision([str(tmp_path)]) is None
    assert read_revision([str(tmp_path / "absent" / "a.yaml")]) is None


def test_a_repository_that_the_environment_names_is_asked(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = str(tmp_path_factory.mktemp("other"))
    assert read_revision([outside]) is None
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    assert read_revision([outside]) == git(repository, "rev-parse", "HEAD")


def test_paths_in_and_out_of_a_repository_have_none(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert read_revision([str(repository), str(tmp_path_factory.mktemp("other"))]) is None


def test_repository_without_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert read_revision([str(tmp_path)]) is None


def test_without_git_there_is_none(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert read_revision([str(repository)]) is None
