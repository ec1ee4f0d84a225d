"""Whether a commit is signed by one of those whom a person has named in a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from reconciler.adapters.git.command import Repository
from reconciler.errors import RefusedError, TransientError


@dataclass(frozen=True)
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
                f"{where} is not taken: it is not signed by anybody in {self.file}"
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
