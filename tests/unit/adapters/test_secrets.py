"""Secrets in files and credentials: what is read, what is refused, and with which words."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.adapters.secrets import MOST_BYTES, LocalSecrets
from reconciler.adapters.state.files import find_key
from reconciler.core.secret_refs import SecretRef, SecretSource, SecretText, build_secret
from reconciler.errors import TransientError

WORD = "correct-horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with a secret, as an administrator would write it."""
    found = tmp_path / "web01-vnc"
    found.write_text(f"{WORD}\n", encoding="utf-8")
    found.chmod(0o600)
    return found


def read(path: Path) -> str:
    """Read a file as a secret."""
    return LocalSecrets(None).read(SecretRef(SecretSource.FILE, str(path))).text


def refuse(path: Path) -> str:
    """Return why a file is no secret."""
    with pytest.raises(TransientError) as found:
        read(path)
    assert str(path) in str(found.value)
    return str(found.value)


def test_one_newline_at_the_end_is_left_out(path: Path) -> None:
    assert read(path) == WORD
    path.write_bytes(b"two\nlines\r\n")
    assert read(path) == "two\nlines"
    path.write_text(" spaces stay \n\n", encoding="utf-8")
    assert read(path) == " spaces stay \n"


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
def test_a_file_that_everyone_can_read_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert f"run: chmod 0600 {path}" in refuse(path)


def test_a_group_may_read_it(path: Path) -> None:
    path.chmod(0o640)
    assert read(path) == WORD


def test_what_is_wrong_is_said_with_a_command(path: Path, tmp_path: Path) -> None:
    assert "does not exist; write it with: install -m 0600" in refuse(tmp_path / "none")
    assert "is not a file; see: ls -ld" in refuse(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a file" in refuse(tmp_path / "pipe")
    path.write_bytes(b"")
    assert "is empty" in refuse(path)
    path.write_bytes(b"\xff\xfe")
    assert "is not text in UTF-8" in refuse(path)
    path.write_bytes(b"a\0b")
    assert "contains a NUL character" in refuse(path)
    path.write_bytes(b"x" * (MOST_BYTES + 1))
    assert "is larger than 64KiB" in refuse(path)


def test_no_message_has_the_secret_in_it(path: Path) -> None:
    path.write_bytes(WORD.encode() + b"\xff")
    assert WORD not in refuse(path)
    assert WORD not in repr(SecretText(WORD))


def test_a_credential_is_that_of_the_service(path: Path) -> None:
    ref = SecretRef(SecretSource.CREDENTIAL, path.name)
    path.chmod(0o444)  # nobody else can enter systemd's folder
    assert LocalSecrets(str(path.parent)).read(ref).text == WORD
    for credentials in (None, str(path.parent / "other")):
        with pytest.raises(TransientError, match="LoadCredential=web01-vnc:/PATH"):
            LocalSecrets(credentials).read(ref)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"secretRef": {"file": "/x"}}, "file /x"),
        ({"secretRef": {"credential": "web01"}}, "credential web01"),
        ({"secretRef": {"libvirt": "web01"}}, "libvirt secret web01"),
    ],
)
def test_a_reference_reads_as_its_manifest(data: object, shown: str) -> None:
    assert str(build_secret(data)) == shown
    assert build_secret(WORD) == SecretText(WORD)


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(find_key, [str(tmp_path)] * 32))
    assert len(keys) == 1
    assert keys == {(tmp_path / "secret.key").read_bytes()}
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_there_is_no_key_where_none_can_be_made_or_it_is_not_whole(tmp_path: Path) -> None:
    assert find_key(str(tmp_path / "none")) is None
    (tmp_path / "secret.key").write_bytes(b"short")
    assert find_key(str(tmp_path)) is None
