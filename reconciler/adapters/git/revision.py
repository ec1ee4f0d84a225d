"""The Git commit that manifests are at, for the command line. Reads only; no Git is no error."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence

from reconciler.adapters.git.command import run_git
from reconciler.errors import TransientError

TIMEOUT = 5.0  # seconds; a repository on a dead network share must not hang a plan


def read_revision(paths: Sequence[str]) -> Optional[str]:
    """Return the commit of the work tree that all paths are in; None if they are in no one tree."""
    revisions = {_read(_folder(path)) for path in paths}
    return revisions.pop() if len(revisions) == 1 else None


def _folder(path: str) -> str:
    place = Path(path)
    return str(place if place.is_dir() else place.parent)


def _read(folder: str) -> Optional[str]:
    try:
        done = run_git(["-C", folder, "rev-parse", "--verify", "--quiet", "HEAD"], limit=TIMEOUT)
    except TransientError:
        return None
    return done.text if done.status == 0 and done.text else None
