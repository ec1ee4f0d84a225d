"""Secrets that a manifest names and does not contain. Pure; nothing here reads one.

A password field of a manifest is built into a `SecretRef`, or into a `SecretText` where the host's
configuration allows plain passwords. The text of a reference is read by the port `Secrets` when it
is needed, and is never kept.
"""

from __future__ import annotations

import os
import re
from dataclasses import field
from enum import Enum
from typing import Any, Callable, NamedTuple, Optional, Tuple, Union
from urllib.parse import quote, unquote

from reconciler.core.frozen import frozen, regex
from reconciler.errors import TransientError


class SecretSource(Enum):
    """Where a secret is kept, as the manifest calls it."""

    FILE = "file"
    CREDENTIAL = "credential"
    LIBVIRT = "libvirt"


_WORDS = {
    SecretSource.FILE: "file",
    SecretSource.CREDENTIAL: "credential",
    SecretSource.LIBVIRT: "libvirt secret",
}


class SecretRef(NamedTuple):
    """Which secret is meant: a file's path, a systemd credential's name, or a libvirt secret.

    A libvirt secret is named by its UUID or its usage.
    """

    source: SecretSource
    name: str

    def __str__(self) -> str:
        """Render like `file /etc/virt-reconciler/secrets/web01`."""
        return f"{_WORDS[self.source]} {self.name}"


@frozen
class SecretText:
    """The secret itself. Its `repr` does not show it."""

    text: str = field(repr=False)


Secret = Union[SecretRef, SecretText]
"""The value of a password field."""

REFERENCE = "secretRef"
SECRETS = frozenset({"graphics_password"})  # the fields of a machine that have such a value
_DIGEST = 16  # bytes
_TOKEN = regex(r"\$\{secretRef:(file|credential|libvirt):([^{}\s]+)\}")


@frozen
class SealedSecret:
    """A secret that was read, as a digest with a key: it can be recognised and not be read.

    `is_lasting`: the key is the host's own, so that the digest means the same tomorrow.
    """

    digest: bytes = field(repr=False)
    key: bytes = field(repr=False)
    is_lasting: bool = False

    def matches(self, text: str) -> bool:
        """Whether the text is the secret."""
        import hmac  # noqa: PLC0415 - start-up time

        return hmac.compare_digest(self.digest, _digest(text, self.key))


def seal_secret(secret: SecretText, key: Optional[bytes]) -> SealedSecret:
    """Return what recognises the secret; without the host's key, in this process only."""
    used = key or os.urandom(32)
    return SealedSecret(_digest(secret.text, used), used, is_lasting=key is not None)


def _digest(text: str, key: bytes) -> bytes:
    from hashlib import blake2b  # noqa: PLC0415 - start-up time

    return blake2b(text.encode(), key=key, digest_size=_DIGEST).digest()


def write_token(ref: SecretRef) -> str:
    """Return what is in the place of the secret in a definition that is planned."""
    return f"${{secretRef:{ref.source.value}:{quote(ref.name, safe='/')}}}"


def write_secret(secret: Secret) -> str:
    """Return what a planned definition has for a secret: its token, or its text where allowed."""
    return secret.text if isinstance(secret, SecretText) else write_token(secret)


def read_secret(text: str) -> Secret:
    """Return what a definition has for a secret; one that is only planned has its token."""
    found = _TOKEN.fullmatch(text)
    return SecretText(text) if found is None else _read_token(*found.groups())


def find_refs(text: str) -> Tuple[SecretRef, ...]:
    """Return the secrets that the tokens of a text name, each once."""
    if "${secretRef:" not in text:
        return ()
    found = (_read_token(*match.groups()) for match in _TOKEN.finditer(text))
    return tuple(dict.fromkeys(found))


def _read_token(source: str, name: str) -> SecretRef:
    return SecretRef(SecretSource(source), unquote(name))


def fill_tokens(text: str, read: Callable[[SecretRef], Optional[str]]) -> str:
    """Return the text with secrets for its tokens; one for which None is read stays."""

    def fill(found: re.Match[str]) -> str:
        secret = read(_read_token(*found.groups()))
        return found[0] if secret is None else secret

    return _TOKEN.sub(fill, text)


Recognise = Callable[[SecretRef], object]
"""Returns the `SealedSecret`, or something else if the secret cannot be read here."""


def recognise_none(ref: SecretRef) -> object:  # noqa: ARG001 - a Recognise
    """Say that no secret can be read."""
    return None


def is_same_secret(desired: str, observed: Optional[str], recognise: Recognise) -> bool:
    """Whether a value that has a token in it is there; if it cannot be compared, it is.

    What is not there at all differs for certain.
    """
    if observed == desired:
        return True
    found = _TOKEN.search(desired)
    if found is None or not observed:
        return False
    before, after = desired[: found.start()], desired[found.end() :]
    if not observed.startswith(before) or not observed.endswith(after):
        return False
    if find_refs(observed):
        return False  # another secret, where a machine is compared with what a manifest makes
    text = observed[len(before) : len(observed) - len(after)]
    secret = recognise(_read_token(*found.groups()))
    return secret.matches(text) if isinstance(secret, SealedSecret) else True


def build_secret(data: Any) -> Secret:
    """Return the value of a password field that the schema has passed."""
    if isinstance(data, str):
        return SecretText(data)
    return build_secret_ref(data[REFERENCE])


def is_reference(data: Any) -> bool:
    """Whether the value of a `secretRef` that no schema has checked names one secret."""
    if not isinstance(data, dict) or len(data) != 1:
        return False
    ((source, name),) = data.items()
    return (
        source in {known.value for known in SecretSource} and isinstance(name, str) and bool(name)
    )


def build_secret_ref(data: Any) -> SecretRef:
    """Return the reference of a `secretRef` mapping that the schema has passed."""
    ((source, name),) = data.items()
    return SecretRef(SecretSource(source), name)


def decode_secret(ref: SecretRef, content: bytes) -> SecretText:
    """Return the text of a secret that was read; one newline at its end is left out.

    Raises TransientError if it cannot be a password or a key.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise TransientError(
            f"{ref}: is not text in UTF-8; write the text itself into it"
        ) from error
    text = text.removesuffix("\n")
    text = text.removesuffix("\r")
    if not text:
        raise TransientError(f"{ref}: is empty; write the secret into it")
    if "\0" in text:
        raise TransientError(f"{ref}: contains a NUL character; write the text itself into it")
    return SecretText(text)


class NoSecrets:
    """Implements `Secrets` where none can be read: every one is refused for that reason."""

    def __init__(self, reason: str) -> None:
        """Keep why: `a snapshot contains no secrets`."""
        self._reason = reason

    def read(self, ref: SecretRef) -> SecretText:
        """Refuse."""
        raise TransientError(f"{ref}: {self._reason}")

    def seal(self, ref: SecretRef) -> SealedSecret:
        """Refuse."""
        raise TransientError(f"{ref}: {self._reason}")

    def find_key(self) -> Optional[bytes]:
        """Have none."""
        return None
