"""Signed lists of checksums: whose signature counts, and what is said of every other one."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import pytest

from reconciler.adapters import downloads
from reconciler.adapters.downloads import UrlDownloads
from reconciler.adapters.signatures import verify_signature
from reconciler.errors import MissingError
from tests.unit.adapters.web_server import Files, serve

LIST = b"0123  image.qcow2\n"
PAST = "20200101T000000"


@dataclass
class Signer:
    """Keys of a publisher, in a home of their own."""

    home: Path

    def run(self, *arguments: str, given: bytes = b"") -> bytes:
        """Run gpg."""
        return subprocess.run(
            ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes", *arguments],
            input=given,
            capture_output=True,
            check=True,
        ).stdout

    def stop(self) -> None:
        """End the agent that gpg has started."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)

    def make(self, name: str, expires: str = "never", *options: str) -> Path:
        """Make a key, and return the file with its public half."""
        address = f"{name}@example.org"
        self.run(
            *options, "--passphrase", "", "--quick-gen-key", address, "ed25519", "sign", expires
        )
        return self.export(name, armor=True)

    def export(self, name: str, *, armor: bool) -> Path:
        """Return the file with the public half of a key."""
        path = self.home / f"{name}.{'asc' if armor else 'gpg'}"
        form = ["--armor"] if armor else []
        path.write_bytes(self.run(*form, "--export", f"{name}@example.org"))
        return path

    def sign(self, name: str, content: bytes, how: str, *options: str) -> bytes:
        """Return the signature, or with `--clearsign` the content with it."""
        return self.run("-u", f"{name}@example.org", *options, how, given=content)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    """Return a publisher with a key, an expired one and one that is nobody's."""
    home = tmp_path_factory.mktemp("keys")
    home.chmod(0o700)
    found = Signer(home)
    found.make("right")
    found.make("wrong")
    found.make("old", "1d", "--faked-system-time", PAST)
    yield found
    found.stop()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """Return a server."""
    monkeypatch.setenv("no_proxy", "*")
    with serve() as files:
        yield files


def read(web: Files, keys: object) -> bytes:
    """Read the list of that server."""
    return UrlDownloads(verify_signature).read_signed(f"{web.url}/SUMS", str(keys))


def refuse(web: Files, keys: object) -> str:
    """Return why the list is refused."""
    with pytest.raises(MissingError) as caught:
        read(web, keys)
    return str(caught.value)


@pytest.mark.parametrize("armor", [True, False])
@pytest.mark.parametrize("end", downloads.SIGNATURES)
def test_list_with_a_signature_beside_it_is_read(
    web: Files, signer: Signer, end: str, armor: bool
) -> None:
    web.content = {
        "/SUMS": LIST,
        f"/SUMS{end}": signer.sign("right", LIST, "--detach-sign", *["--armor"] * armor),
    }
    assert read(web, signer.export("right", armor=armor)) == LIST


def test_only_what_is_signed_of_a_list_is_read(web: Files, signer: Signer) -> None:
    signed = signer.sign("right", LIST, "--clearsign")
    web.content = {"/SUMS": signed + b"6666  image.qcow2\n"}
    assert read(web, signer.export("right", armor=True)) == LIST


def test_signature_may_be_at_another_address(web: Files, signer: Signer) -> None:
    web.content = {"/SUMS": LIST, "/keys/it": signer.sign("right", LIST, "--detach-sign")}
    found = UrlDownloads(verify_signature).read_signed(
        f"{web.url}/SUMS", str(signer.export("right", armor=True)), f"{web.url}/keys/it"
    )
    assert found == LIST


def test_one_good_signature_of_two_is_enough(web: Files, signer: Signer) -> None:
    both = signer.sign("wrong", LIST, "--detach-sign") + signer.sign("right", LIST, "--detach-sign")
    web.content = {"/SUMS": LIST, "/SUMS.gpg": both}
    assert read(web, signer.export("right", armor=True)) == LIST


def test_wrong_signatures_are_refused(web: Files, signer: Signer) -> None:
    keys = signer.export("right", armor=True)
    web.content = {"/SUMS": LIST}
    assert "is not signed" in refuse(web, keys)
    web.content["/SUMS.gpg"] = signer.sign("wrong", LIST, "--detach-sign")
    assert f"which is not in {keys}" in refuse(web, keys)
    web.content["/SUMS.gpg"] = signer.sign("right", LIST + b"x", "--detach-sign")
    assert "was changed after it was signed" in refuse(web, keys)
    web.content["/SUMS.gpg"] = b"nothing of the kind"
    assert "no signature that gpgv can read" in refuse(web, keys)
    web.content["/SUMS"] = signer.sign("right", LIST, "--clearsign").replace(b"0123", b"6666")
    assert "was changed after it was signed" in refuse(web, keys)


def test_key_that_has_expired_is_refused(web: Files, signer: Signer) -> None:
    fake = ("--faked-system-time", PAST)
    web.content = {"/SUMS": LIST, "/SUMS.asc": signer.sign("old", LIST, "--detach-sign", *fake)}
    assert "a key that has expired" in refuse(web, signer.export("old", armor=True))


def test_users_own_keys_do_not_count(
    web: Files, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (signer.home / "trustedkeys.gpg").write_bytes(signer.export("wrong", armor=False).read_bytes())
    monkeypatch.setenv("GNUPGHOME", str(signer.home))
    web.content = {"/SUMS": LIST, "/SUMS.gpg": signer.sign("wrong", LIST, "--detach-sign")}
    assert "which is not in" in refuse(web, signer.export("right", armor=True))


def test_keys_that_are_none_are_refused(web: Files, signer: Signer, tmp_path: Path) -> None:
    web.content = {"/SUMS": signer.sign("right", LIST, "--clearsign")}
    assert "No such file" in refuse(web, tmp_path / "none")
    for number, text in enumerate([b"", b"a key\n", b"\x00"]):
        path = tmp_path / str(number)
        path.write_bytes(text)
        assert "contains no OpenPGP public key" in refuse(web, path)


def test_list_without_an_end_is_not_read_to_it(
    web: Files, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MOST_SIGNED", 2**20)
    web.content = {"/SUMS": bytes(2**23)}
    assert "is larger than 1MiB" in refuse(web, signer.export("right", armor=True))


def test_missing_program_is_named_with_its_package(
    web: Files, signer: Signer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    web.content = {"/SUMS": signer.sign("right", LIST, "--clearsign")}
    keys = signer.export("right", armor=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refuse(web, keys)
    assert "apt install gpgv" in message
    assert "dnf install gnupg2" in message


def test_list_is_read_once_for_many_machines(web: Files, signer: Signer) -> None:
    web.content = {"/SUMS": signer.sign("right", LIST, "--clearsign")}
    keys, found = str(signer.export("right", armor=True)), UrlDownloads(verify_signature)
    for _ in range(3):
        assert found.read_signed(f"{web.url}/SUMS", keys) == LIST
    assert len(web.asked) == 1


def test_nothing_is_left_in_the_temporary_folder(
    web: Files, signer: Signer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    web.content = {"/SUMS": signer.sign("right", LIST, "--clearsign")}
    read(web, signer.export("right", armor=True))
    assert os.listdir(tmp_path) == []
