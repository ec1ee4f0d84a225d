"""Manifests out of Git: from the commit of a work tree, or of a remote. `git` does the work.

Each apply asks which commit it is for. Here is what answers that outside of Git, where nothing
else of this package is loaded and `git` is not run: that would take 10 ms.
"""

from __future__ import annotations

import os
from typing import Optional, Sequence

from reconciler.errors import TransientError

# By these git finds a repository also where none is at or above the folder, on its file system.
ELSEWHERE = frozenset({"GIT_DIR", "GIT_DISCOVERY_ACROSS_FILESYSTEM"})
TIMEOUT = 5.0  # seconds; a repository on a dead network share must not hang a plan


def find_top(path: str) -> Optional[str]:
    """Return the folder at or above `path` that has a `.git`, on the same file system, as Git does.

    Git is not asked: it says of a broken repository that there is none, and then files would be
    read that no commit has.
    """
    folder = path
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    try:
        device = os.stat(folder).st_dev
        while os.stat(folder).st_dev == device:
            if os.path.lexists(os.path.join(folder, ".git")):
                return folder
            if folder == os.path.dirname(folder):
                return None
            folder = os.path.dirname(folder)
    except OSError:  # it went away meanwhile; whoever reads it says so
        return None
    return None


def read_revision(paths: Sequence[str]) -> Optional[str]:
    """Return the commit of the work tree that all paths are in; None if they are in no one tree."""
    revisions = {_read(path if os.path.isdir(path) else os.path.dirname(path)) for path in paths}
    return revisions.pop() if len(revisions) == 1 else None


def _read(folder: str) -> Optional[str]:
    """Ask git, if there can be a repository."""
    if find_top(os.path.realpath(folder)) is None and ELSEWHERE.isdisjoint(os.environ):
        return None
    from reconciler.adapters.git.command import run_git  # noqa: PLC0415 - start-up time

    question = ("-C", folder or ".", "rev-parse", "--verify", "--quiet", "HEAD")
    try:
        done = run_git(question, limit=TIMEOUT)
    except TransientError:
        return None
    return done.text if done.status == 0 and done.text else None
