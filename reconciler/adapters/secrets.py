"""Secrets in files of this host and in systemd's credentials."""

from __future__ import annotations

import os
import shlex
import stat
from typing import Callable, Optional

from reconciler.core.secret_refs import (
    SealedSecret,
    SecretRef,
    SecretSource,
    SecretText,
    decode_secret,
    seal_secret,
)
from reconciler.errors import TransientError

MOST_BYTES = 64 * 1024
_OTHERS = stat.S_IROTH | stat.S_IWOTH


class LocalSecrets:
    """Implements the half of `ports.Secrets` that needs no libvirt."""

    def __init__(
        self, credentials: Optional[str], find_key: Callable[[], Optional[bytes]] = lambda: None
    ) -> None:
        """Read nothing yet; `credentials` is what systemd sets as $CREDENTIALS_DIRECTORY."""
        self._credentials, self._find_key = credentials, find_key

    def find_key(self) -> Optional[bytes]:
        """Return the host's key for digests."""
        return self._find_key()

    def read(self, ref: SecretRef) -> SecretText:
        """Read a file or a credential."""
        if ref.source is SecretSource.FILE:
            return decode_secret(ref, _read_file(ref, ref.name, is_guarded=False))
        if ref.source is SecretSource.CREDENTIAL:
            return decode_secret(ref, self._read_credential(ref))
        raise TransientError(f"{ref}: cannot be read without libvirt")

    def seal(self, ref: SecretRef) -> SealedSecret:
        """Read a secret, and return what recognises it."""
        return seal_secret(self.read(ref), self.find_key())

    def _read_credential(self, ref: SecretRef) -> bytes:
        path = os.path.join(self._credentials or "", ref.name)
        if self._credentials is None or not os.path.lexists(path):
            raise TransientError(
                f"{ref}: systemd does not pass it to this process; only the service has it. Add "
                f"LoadCredential={ref.name}:/PATH to its [Service] section: "
                "systemctl edit virt-reconciler, then systemctl restart virt-reconciler"
            )
        return _read_file(ref, path, is_guarded=True)


def _read_file(ref: SecretRef, path: str, *, is_guarded: bool) -> bytes:
    """Read a small file. `is_guarded`: nobody else can enter its folder, whatever its mode."""
    shown = shlex.quote(path)
    try:
        # Not to wait for somebody to write into a pipe.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise TransientError(
            f"{ref}: does not exist; write it with: install -m 0600 /dev/stdin {shown}"
        ) from error
    except PermissionError as error:
        raise TransientError(
            f"{ref}: this user (uid {os.geteuid()}) may not read it; run the command as root, or "
            f"see who may: ls -l {shown}"
        ) from error
    except OSError as error:
        raise TransientError(
            f"{ref}: cannot be read: {error.strerror}; see: ls -l {shown}"
        ) from error
    try:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode):
            raise TransientError(f"{ref}: is not a file; see: ls -ld {shown}")
        if found.st_mode & _OTHERS and not is_guarded:
            raise TransientError(
                f"{ref}: everyone on this host can read or write it; run: chmod 0600 {shown}"
            )
        with open(number, "rb", closefd=False) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise TransientError(
            f"{ref}: cannot be read: {error.strerror}; see: ls -l {shown}"
        ) from error
    finally:
        os.close(number)
    if len(content) > MOST_BYTES:
        raise TransientError(
            f"{ref}: is larger than {MOST_BYTES // 1024}KiB; does it name the right file? "
            f"ls -l {shown}"
        )
    return content
