"""Verify OpenPGP signatures by `gpgv`. The only place that runs it.

It gets a home of its own that is empty, and the keys of one file: neither the user's keyring nor
his settings count.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from tempfile import TemporaryDirectory
from typing import Mapping, Optional, Sequence, Tuple

from reconciler.errors import MissingError, TransientError

LIMIT = 30.0  # seconds
_BLOCK = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+\r?\n)*\s*\r?\n(?P<data>[^-]+?)"
    rb"(?:\r?\n=[^\r\n]+)?\r?\n-----END PGP PUBLIC KEY BLOCK-----"
)
# A word of gpgv's status lines, and what it means. The first that is there counts.
_FAULTS: Mapping[str, str] = {
    "BADSIG": "its signature is wrong: the list was changed after it was signed",
    "EXPKEYSIG": "its signature is by a key that has expired; get the publisher's new key",
    "REVKEYSIG": "its signature is by a key that its owner has revoked; get the new key",
    "EXPSIG": "its signature has expired",
    "NO_PUBKEY": "its signature is by key {key}, which is not in {keyring}",
    "ERRSIG": "its signature, by key {key}, cannot be checked",
}


def verify_signature(
    source: str, content: bytes, signature: Optional[bytes], keyring: str
) -> bytes:
    """Return what of a content is signed by a key of that file.

    `signature` is a detached one; without it the signature is in the content.

    `source` is where it is from. Raises MissingError.
    """
    keys = _read_keys(keyring)
    with TemporaryDirectory(prefix="virt-reconciler-") as folder:  # of mode 0700
        signed, output = os.path.join(folder, "signed"), os.path.join(folder, "output")
        files = [signed]
        _write(os.path.join(folder, "keys"), keys)
        _write(signed, content)
        if signature is not None:
            files.insert(0, os.path.join(folder, "signature"))
            _write(files[0], signature)
        status = _run_gpgv(folder, files, output if signature is None else None)
        fault = _find_fault(status, keyring)
        if fault:
            raise MissingError(f"{source}: {fault}")
        if signature is not None:
            return content
        with open(output, "rb") as file:  # the rest of the file is not signed
            return file.read()


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _read_keys(path: str) -> bytes:
    """Return the keys of a file, armored or not, as gpgv reads them."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise MissingError(
            f"{path}: the keys of spec.image.checksums.signedBy cannot be read: {error.strerror}; "
            "copy the publisher's public key to this host"
        ) from error
    blocks = [found["data"] for found in _BLOCK.finditer(content)]
    if not blocks and content[:1] and content[0] & 0x80:  # the first byte of any OpenPGP packet
        return content
    try:
        keys = b"".join(base64.b64decode(block) for block in blocks)
    except binascii.Error:
        keys = b""
    if not keys:
        raise MissingError(
            f"{path}: contains no OpenPGP public key; spec.image.checksums.signedBy needs the "
            "publisher's key, as `gpg --export` writes it"
        )
    return keys


def _run_gpgv(folder: str, files: Sequence[str], output: Optional[str]) -> Tuple[str, ...]:
    """Return the lines of gpgv's status."""
    options = ["--homedir", folder, "--keyring", os.path.join(folder, "keys"), "--status-fd", "1"]
    options += ["--weak-digest", "SHA1"]
    options += ["--output", output] if output is not None else []
    try:
        done = subprocess.run(
            ["gpgv", *options, *files],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT,
            check=False,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "GNUPGHOME": folder},
        )
    except FileNotFoundError as error:
        raise MissingError(
            "the program gpgv is needed to verify a signed list and not installed: dnf install "
            "gnupg2, apt install gpgv"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TransientError(f"gpgv does not run: {error}") from error
    prefix = "[GNUPG:] "
    lines = done.stdout.decode(errors="replace").splitlines()
    return tuple(line[len(prefix) :] for line in lines if line.startswith(prefix))


def _find_fault(status: Tuple[str, ...], keyring: str) -> str:
    """Say why a content does not count as signed; empty if one signature is good and none is bad.

    That others sign it too, whose keys are not there, is no fault.
    """
    words = {line.split()[0]: line.split() for line in reversed(status) if line.split()}
    if "GOODSIG" in words and "VALIDSIG" in words and "BADSIG" not in words:
        return ""
    for word, meaning in _FAULTS.items():
        if word in words:
            key = words[word][1] if len(words[word]) > 1 else "unknown"
            return meaning.format(key=key, keyring=keyring)
    return "it has no signature that gpgv can read"
