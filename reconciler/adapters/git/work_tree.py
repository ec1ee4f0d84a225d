"""The work tree that a folder lies in: its commit is read, its files never.

A checkout changes files one after the other; the commit is all of them at once. What is not
committed is not wanted yet.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional, Tuple

from reconciler.adapters.git.command import (
    Repository,
    explain_foreign,
    is_foreign,
    make_environment,
    run_git,
)
from reconciler.adapters.git.commit import clean_folder, read_commit
from reconciler.core.files import FileSet, show_name
from reconciler.errors import RefusedError, TransientError


@dataclass(frozen=True)
class _Place:
    """Where Git keeps what belongs to a work tree: its own folder, and the one that trees share."""

    own: str
    common: str
    commit: str


class WorkTreeSource:
    """A `WorkTree` source. The path may be a symbolic link, and may lead elsewhere each time."""

    def __init__(self, path: str) -> None:
        """`path` is the folder of the manifests, somewhere in the work tree."""
        self._path = path
        self._place: Optional[_Place] = None
        self._last: Optional[Tuple[str, str, FileSet]] = None

    def is_there(self) -> bool:
        """Whether the folder lies in a work tree; one that is broken still is one."""
        return _find_top(os.path.realpath(self._path)) is not None

    def read(self) -> FileSet:
        """Read the commit that the work tree is at."""
        real = os.path.realpath(self._path)
        top = _find_top(real)
        if top is None:
            raise TransientError(f"{show_name(self._path)}: lies in no Git work tree any more")
        self._place = place = _ask_place(top)
        folder = clean_folder(os.path.relpath(real, top))
        if self._last is None or self._last[:2] != (place.commit, folder):
            where = f"commit {place.commit[:12]} of {show_name(top)}"
            found = read_commit(Repository(place.common), place.commit, folder, where)
            self._last = (place.commit, folder, found)
        return self._last[2]

    def recall(self) -> Optional[FileSet]:
        """Return None: the repository is here or it is not."""
        return None

    def places(self) -> Tuple[str, ...]:
        """Return where a commit or a checkout shows, and where the folder may be exchanged."""
        if self._place is None:
            return (f"{self._path}/.",)
        shared = [os.path.join(self._place.common, one) for one in ("refs", "reftable")]
        return (
            f"{self._path}/.",
            f"{self._place.own}/.",
            f"{self._place.common}/.",
            *(one for one in shared if os.path.isdir(one)),
        )


def _find_top(path: str) -> Optional[str]:
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


def _ask_place(top: str) -> _Place:
    question = ("--absolute-git-dir", "--git-common-dir", "HEAD^{commit}")
    answer = run_git(
        ("-C", top, "-c", "core.fsmonitor=false", "rev-parse", *question),
        environment=make_environment(is_ours=False),
    )
    if answer.status != 0:
        raise _explain(top, answer.words)
    own, common, commit = os.fsdecode(answer.output).split("\n")[:3]
    return _Place(own, os.path.realpath(os.path.join(top, common)), commit)


def _explain(top: str, words: str) -> Exception:
    name = show_name(top)
    if is_foreign(words):
        return TransientError(explain_foreign(name))
    if "ambiguous argument 'HEAD" in words or "unknown revision" in words:
        return RefusedError(f"{name}: has no commit yet: nothing is concluded from that")
    return TransientError(f"{name}: the repository cannot be read: {words}")
