"""Which names say that what stands beside them is a secret."""

from __future__ import annotations

import re
from functools import lru_cache

# Judged by its last word: `hashed_passwd`, `adminPassword`; `passwdValidTo` is none.
_WORDS = frozenset(
    {
        "passwd", "password", "passphrase", "passcode", "pwd", "chpasswd", "secret", "token", "psk",
        "credential", "credentials", "apikey", "authkey", "privatekey", "adminpass", "userpass",
        "rootpw", "authorization",
    }
)  # fmt: skip
# By its last two; `rsa_private` and its like are the host keys of cloud-init's `ssh_keys`.
_PAIRS = frozenset(
    {
        "api key", "private key", "auth key", "access key", "secret key", "activation key",
        "registration key", "validation key", "preshared key", "product key", "encryption key",
        "rsa private", "dsa private", "ecdsa private", "ed25519 private", "admin pass",
        "user pass", "root pw",
    }
)  # fmt: skip
# Whether a password may be used at all, and what names a secret that is kept elsewhere.
_HARMLESS = frozenset({"lock passwd", "password secret", "key secret", "passphrase secret"})
_JUDGED = 128  # characters at the end of a name: its last words are there
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN = re.compile(r"[^a-z0-9]+")


def is_secret_name(name: str) -> bool:
    """Whether the value of a key, attribute, element or variable of this name is a secret."""
    return _is_secret(name[-_JUDGED:])


@lru_cache(maxsize=4096)  # a host's definitions have the same few hundred names, again and again
def _is_secret(name: str) -> bool:
    words = [one for one in _BETWEEN.split(_CAMEL.sub("_", name).lower()) if one]
    pair = " ".join(words[-2:])
    if pair in _HARMLESS:
        return False
    return bool(words) and (words[-1] in _WORDS or pair in _PAIRS)
