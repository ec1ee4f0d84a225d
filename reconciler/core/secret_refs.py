"""Secrets that a manifest names and does not contain. Pure; nothing here reads one.

A password field of a manifest is built into a `SecretRef`, or into a `SecretText` where the host's
configuration allows plain passwords. The text of a reference is read by the port `Secrets` when it
is needed, and is never kept.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Any, NamedTuple, Union

from reconciler.core.frozen import frozen
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
