"""The work tree that a folder is in: its commits are read, its files never."""

from __future__ import annotations

import os
from typing import Optional, Tuple

from reconciler.adapters.git import find_top
from reconciler.adapters.git.command import (
    Repository,
    explain_foreign,
    is_foreign,
    make_environment,
    run_git,
)
from reconciler.adapters.git.commit import clean_folder, read_commit
from reconciler.core.frozen import frozen
from reconciler.core.manifest_files import FileSet, show_name
from reconciler.errors import RefusedError, TransientError, UsageError


@frozen
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
        return find_top(os.path.realpath(self._path)) is not None

    def read(self) -> FileSet:
        """Read the commit that the work tree is at."""
        real = os.path.realpath(self._path)
        top = find_top(real)
        if top is None:
            raise TransientError(f"{show_name(self._path)}: is no longer in a Git work tree")
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
        shared = [os.path.join(self._place.common, name) for name in ("refs", "reftable")]
        return (
            f"{self._path}/.",
            f"{self._place.own}/.",
            f"{self._place.common}/.",
            *(folder for folder in shared if os.path.isdir(folder)),
        )


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
        return RefusedError(f"{name}: has no commit yet; nothing is changed until it has one")
    return TransientError(f"{name}: the repository cannot be read: {words}")


_WHERE = ("--absolute-git-dir", "--is-bare-repository", "--show-prefix")


class GitVersions:
    """The repository that a folder lies in; in a bare one the folder is one of its commits'."""

    def __init__(self, path: str) -> None:
        """Find the repository. Raises UsageError if there is none."""
        self._path = path
        self._repository, self.is_bare, self._folder = _find(path)

    def resolve(self, revision: str) -> str:
        """Return the commit that a revision names. Raises UsageError if it names none."""
        name = f"{revision}^{{commit}}"
        command = ("-c", "core.warnAmbiguousRefs=true", "rev-parse", "--verify", "--quiet")
        answer = self._repository.run(*command, "--end-of-options", name)
        if answer.status != 0 or not answer.text:
            raise UsageError(
                f"there is no revision {revision!r} in this repository; a clone made for CI often "
                "has one commit only: git fetch --depth=1 origin BRANCH, and then --base FETCH_HEAD"
            )
        if "is ambiguous" in answer.errors:
            raise UsageError(
                f"{revision!r} is a branch and a tag in this repository; name one of them: "
                f"refs/heads/{revision} or refs/tags/{revision}"
            )
        return answer.text

    def read(self, revision: str, commit: str) -> Optional[FileSet]:
        """Return the manifests of a commit, called as `REVISION:PATH`; None if it has no such."""
        try:
            return read_commit(self._repository, commit, self._folder, f"revision {revision}")
        except RefusedError:
            return None

    def count_missing(self, commit: str, head: str) -> int:
        """Return how many commits `commit` has that `head` lacks; 0 where that is not known.

        A shallow clone does not know.
        """
        answer = self._repository.run("rev-list", "--count", commit, f"^{head}")
        merged = self._repository.run("merge-base", commit, head)
        return int(answer.text) if answer.status == 0 and merged.status == 0 else 0


def _find(path: str) -> Tuple[Repository, bool, str]:
    """Return the repository, whether it is bare, and the folder in it."""
    start = path if os.path.isdir(path) else "."
    # A person's own settings say which repositories of others Git may read (safe.directory).
    settings = ("GIT_CONFIG_GLOBAL", os.path.expanduser("~/.gitconfig"))
    answer = run_git(
        ("-C", start, "-c", "core.fsmonitor=false", "rev-parse", *_WHERE),
        environment=make_environment(is_ours=False, extra=dict([settings])),
    )
    if answer.status != 0:
        raise _explain_missing(path, answer.words)
    folder, bare, *prefix = os.fsdecode(answer.output).split("\n")
    is_bare = bare == "true"
    inside = clean_folder(path if is_bare else os.path.join(prefix[0], _rest(path, start)))
    return Repository(folder, extra=(settings,)), is_bare, inside


def _rest(path: str, start: str) -> str:
    return "" if start == path else os.path.normpath(path)


def _explain_missing(path: str, words: str) -> Exception:
    name = show_name(path)
    if is_foreign(words):
        return TransientError(explain_foreign(name))
    return UsageError(f"{name}: is not in a Git repository, so there is nothing to compare with")
