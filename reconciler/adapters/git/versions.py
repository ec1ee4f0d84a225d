"""The manifests of a folder as a revision has them, for a person who compares. Reads only.

Works in a work tree, a shallow clone and a bare repository; nothing is fetched or checked out.
"""

from __future__ import annotations

import os
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
from reconciler.errors import RefusedError, TransientError, UsageError

_WHERE = ("--absolute-git-dir", "--is-bare-repository", "--show-prefix")


class Versions:
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
                f"{revision!r} is a branch and a tag in this repository; write which one: "
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
        raise _explain(path, answer.words)
    folder, bare, *prefix = os.fsdecode(answer.output).split("\n")
    is_bare = bare == "true"
    inside = clean_folder(path if is_bare else os.path.join(prefix[0], _rest(path, start)))
    return Repository(folder, extra=(settings,)), is_bare, inside


def _rest(path: str, start: str) -> str:
    return "" if start == path else os.path.normpath(path)


def _explain(path: str, words: str) -> Exception:
    name = show_name(path)
    if is_foreign(words):
        return TransientError(explain_foreign(name))
    return UsageError(f"{name}: lies in no Git repository, so there is nothing to compare with")
