"""Git repositories and signing keys for tests, each in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Mapping, Optional

import pytest

from tests.unit.manifests.documents import machine

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "t"), ("EMAIL", "t@example.org"), ("DATE", "2026-01-01T00:00Z"))
}


def environment() -> Dict[str, str]:
    """Return an environment in which git knows no person's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, **IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it says."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout.strip()


class Repository:
    """A work tree with a branch `main`."""

    def __init__(self, folder: Path, files: Optional[Mapping[str, str]] = None) -> None:
        """Make it, with a first commit if there are files."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
        if files is not None:
            self.commit(files)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files into the work tree, and no commit."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, files: Mapping[str, str], *options: str, key: Optional[Path] = None) -> str:
        """Write files, commit all there is, and return the commit."""
        self.write(files)
        git(self.folder, "add", "--all")
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}") if key else ()
        sign = ("--gpg-sign",) if key else ()
        extra = ("commit", "--quiet", "--allow-empty", "--message=m", *sign, *options)
        git(self.folder, *signing, *extra)
        return self.head()

    def head(self) -> str:
        """Return the commit that the work tree is at."""
        return git(self.folder, "rev-parse", "HEAD")


def machines(*names: str, memory: str = "1GiB") -> Dict[str, str]:
    """Return manifest files, `vm/NAME.yaml` each."""
    return {f"vm/{name}.yaml": machine(name, cpus=1, memory=memory) for name in names}


def make_key(folder: Path, name: str) -> Path:
    """Make a signing key and return the private half's file."""
    path = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def allow(file: Path, *keys: Path) -> str:
    """Write an allowed signers file of these keys, and return its name."""
    lines = (f"t@example.org {Path(f'{key}.pub').read_text(encoding='utf-8')}" for key in keys)
    file.write_text("".join(lines), encoding="utf-8")
    return str(file)


def pretend_foreign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have git take each repository for another user's: its own way to have that tested."""
    real = shutil.which("git")
    folder.mkdir()
    wrapper = folder / "git"
    text = f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {real} "$@"\n'
    wrapper.write_text(text, encoding="utf-8")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
