"""The Git commit that manifests are at, by asking `git`. Reads only; no Git is no error."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Optional, Sequence

TIMEOUT = 5.0  # seconds; a repository on a dead network share must not hang a plan


def read_revision(paths: Sequence[str]) -> Optional[str]:
    """Return the commit of the work tree that all paths are in; None if they are in no one tree."""
    revisions = {_read(_folder(path)) for path in paths}
    return revisions.pop() if len(revisions) == 1 else None


def _folder(path: str) -> str:
    place = Path(path)
    return str(place if place.is_dir() else place.parent)


def _read(folder: str) -> Optional[str]:
    command = ["git", "-C", folder, "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    revision = done.stdout.strip()
    return revision if done.returncode == 0 and revision else None
