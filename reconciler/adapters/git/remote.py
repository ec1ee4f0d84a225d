"""Follow a Git remote: fetch into a repository of our own, and take only what may be taken."""

from __future__ import annotations

import contextlib
import os
from typing import Optional, Tuple

from reconciler.adapters.git.command import (
    LIMIT,
    GitAnswer,
    Repository,
    explain_foreign,
    hide_password,
    is_foreign,
    local_folder,
    make_environment,
    run_git,
    ssh_environment,
)
from reconciler.adapters.git.commit import clean_folder, read_commit
from reconciler.core.frozen import frozen, regex
from reconciler.core.manifest_files import MOST_BYTES, FileSet
from reconciler.core.settings import GitSource
from reconciler.errors import RefusedError, TransientError


@frozen
class Signers:
    """An allowed signers file, as of ssh-keygen(1). It must not come out of the repository."""

    file: str

    def check(self, repository: Repository, commit: str, where: str) -> None:
        """Raise RefusedError unless one of them has signed this very commit.

        Its parents need no signature: who signs a commit answers for all that is in it.
        """
        self._check_readable()
        answer = repository.run(*self._options(), "verify-commit", commit)
        if answer.status != 0:
            raise RefusedError(
                f"{where} is refused: it is not signed by a key of {self.file}"
                f" ({answer.words if answer.errors.strip() else 'no signature'}); what was in "
                "force stays"
            )

    def _options(self) -> Tuple[str, ...]:
        settings = {
            "gpg.format": "ssh",
            "gpg.ssh.allowedSignersFile": self.file,
            "gpg.ssh.program": "ssh-keygen",
            "gpg.minTrustLevel": "fully",  # a good signature by a stranger is none
            # Git looks at what kind a signature is, not at gpg.format: no key ring counts here.
            "gpg.program": "false",
            "gpg.openpgp.program": "false",
            "gpg.x509.program": "false",
        }
        return tuple(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))

    def _check_readable(self) -> None:
        try:
            with open(self.file, "rb"):
                pass
        except OSError as error:
            raise TransientError(
                f"the allowed signers cannot be read: {self.file}: {error.strerror}"
            ) from error


FETCHED = "refs/virt-reconciler/fetched"
TAKEN = "refs/virt-reconciler/taken"
FETCH_LIMIT = 120.0  # seconds
_SLOW = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30")
# No manifest is larger, and Git holds no larger file whole in memory then.
_STREAM = ("-c", f"core.bigFileThreshold={MOST_BYTES}")
_COMMIT = regex(r"[0-9a-f]{40,64}")


class RemoteSource:
    """A `FileSource` of one ref of a remote. The folder is used by nobody else at the same time."""

    def __init__(
        self,
        settings: GitSource,
        folder: str,
        credentials: Optional[str],
        limit: float = FETCH_LIMIT,
    ) -> None:
        """`folder` is the repository of our own, `credentials` systemd's folder of credentials."""
        self._settings = settings
        self._limit = limit
        access = ssh_environment(settings, credentials)
        # Who owns a folder of this host matters, and exceptions are in the system's settings.
        is_ours = local_folder(settings.url) is None
        self._repository = Repository(folder, is_ours=is_ours, extra=tuple(access.items()))
        self._name = hide_password(settings.url)
        self._last: Optional[Tuple[str, FileSet]] = None

    def read(self) -> FileSet:
        """Fetch, and read the commit that the ref is at now, if it may be taken."""
        self._prepare()
        words = self._fetch()
        commit = self._find(FETCHED)
        if commit is None:
            raise TransientError(f"{self._name}: {self._settings.ref} gives no commit: {words}")
        return self._take(commit)

    def recall(self) -> Optional[FileSet]:
        """Return what was taken last, as far as it may still be taken."""
        commit = self._find(TAKEN) if os.path.isdir(self._repository.folder) else None
        return None if commit is None else self._read(commit)

    def places(self) -> Tuple[str, ...]:
        """Return nothing: a remote announces nothing."""
        return ()

    def _take(self, commit: str) -> FileSet:
        if self._last is None or self._last[0] != commit:
            self._check_history(commit)
            found = self._read(commit)
            self._repository.ask("update-ref", TAKEN, commit)
            self._last = (commit, found)
        return self._last[1]

    def _read(self, commit: str) -> FileSet:
        where = self._describe(commit)
        if self._settings.verify_signatures:
            if self._settings.allowed_signers is None:
                raise RefusedError(f"{where} is refused: no allowed signers are set")
            Signers(self._settings.allowed_signers).check(self._repository, commit, where)
        return read_commit(self._repository, commit, clean_folder(self._settings.path), where)

    def _check_history(self, commit: str) -> None:
        taken = self._find(TAKEN)
        if taken is None or taken == commit:
            return
        answer = self._repository.run("merge-base", "--is-ancestor", taken, commit)
        if answer.status == 1:
            raise RefusedError(
                f"{self._describe(commit)} is refused: it does not descend from {taken[:12]}, "
                "which is in force: the history was rewritten, or it is older. To accept it: "
                f"git --git-dir={self._repository.folder} update-ref -d {TAKEN}"
            )
        if answer.status != 0:
            raise TransientError(f"{self._repository.folder}: {answer.words}")

    def _find(self, ref: str) -> Optional[str]:
        answer = self._repository.run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        return answer.text if answer.status == 0 else None

    def _describe(self, commit: str) -> str:
        return f"commit {commit[:12]} of {self._name}"

    def _prepare(self) -> None:
        """Make the repository, and clear what a fetch that was killed has left."""
        folder = self._repository.folder
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if not os.path.exists(os.path.join(folder, "HEAD")):
                self._make(folder)
            self._clear_locks(folder)
        except OSError as error:
            raise TransientError(f"{folder}: cannot be written: {error.strerror}") from error

    def _make(self, folder: str) -> None:
        answer = run_git(
            ("-c", "init.defaultBranch=none", "init", "--quiet", "--bare", "--template=", folder),
            environment=make_environment(is_ours=True),
            limit=LIMIT,
        )
        if answer.status != 0:
            raise TransientError(f"{folder}: no repository can be made: {answer.words}")

    def _clear_locks(self, folder: str) -> None:
        for place in (folder, os.path.join(folder, *TAKEN.split("/")[:-1])):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(place):
                    if name.endswith(".lock"):
                        os.unlink(os.path.join(place, name))

    def _fetch(self) -> str:
        """Fetch into `FETCHED`, and return what git says: it can succeed and do nothing."""
        self._repository.ask("update-ref", "-d", FETCHED)
        ref = self._find_ref()
        options = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        refspec = f"+{ref}:{FETCHED}"
        return hide_password(
            self._reach("fetch", *options, "--", self._settings.url, refspec).words
        )

    def _find_ref(self) -> str:
        """Return the full name of the ref. Raises RefusedError if it is a branch and a tag.

        Git would take the tag: whoever may push tags would decide what a protected branch holds.
        """
        given = self._settings.ref
        if given == "HEAD" or given.startswith("refs/") or _COMMIT.fullmatch(given):
            return given
        names = [f"{kind}{given}" for kind in ("refs/heads/", "refs/tags/", "refs/")]
        answer = self._reach("ls-remote", "--", self._settings.url, *names)
        there = {line.partition("\t")[2] for line in answer.text.split("\n")}
        found = [name for name in names if name in there]
        if len(found) > 1:
            raise RefusedError(
                f"{self._name}: {given} is ambiguous: there are {' and '.join(found)}; it is "
                f"refused. Set spec.source.git.ref to the one you mean, like {found[0]}, or "
                "delete the other"
            )
        return found[0] if found else given

    def _reach(self, *arguments: str) -> GitAnswer:
        """Run what talks to the remote."""
        try:
            answer = self._repository.run(*_SLOW, *_STREAM, *arguments, limit=self._limit)
        except TransientError as error:
            raise TransientError(f"{self._name} cannot be fetched: {error}") from error
        if is_foreign(answer.words):
            raise TransientError(explain_foreign(local_folder(self._settings.url) or self._name))
        if answer.status != 0:
            raise TransientError(f"{self._name} cannot be fetched: {hide_password(answer.words)}")
        return answer
