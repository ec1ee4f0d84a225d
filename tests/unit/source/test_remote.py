"""A remote that is followed: what is fetched, what is taken, and what is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from reconciler.adapters.git import remote
from reconciler.adapters.git.command import find_key, hide_password, ssh_environment
from reconciler.adapters.git.remote import TAKEN, RemoteSource
from reconciler.core.manifest_files import FileSet
from reconciler.core.settings import GitSource
from reconciler.errors import RefusedError, TransientError
from tests.unit.source.clocks import wait_until
from tests.unit.source.repositories import (
    Repository,
    allow,
    git,
    machines,
    make_key,
    pretend_foreign,
)


class Lab:
    """A remote, and a daemon's folder of state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = Repository(folder / "remote", machines("a"))
        self.first = self.remote.head()
        self.own = folder / "state" / "source.git"
        self.settings = GitSource(f"file://{self.remote.folder}", path="vm")

    def source(self, **settings: object) -> RemoteSource:
        """Return a source as it is after a start of the daemon."""
        made = replace(self.settings, **settings)  # type: ignore[arg-type]
        return RemoteSource(made, str(self.own), None)

    def taken(self) -> str:
        return git(self.own, "rev-parse", TAKEN)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def names(found: FileSet) -> List[str]:
    return [file.name for file in found.files]


def test_commits_are_fetched_and_read_as_they_come(lab: Lab) -> None:
    source = lab.source()
    assert (names(source.read()), source.read().revision) == (["vm/a.yaml"], lab.first)
    second = lab.remote.commit(machines("b"))
    assert (names(source.read()), source.read().revision) == (["vm/a.yaml", "vm/b.yaml"], second)
    assert lab.taken() == second


def test_a_tag_and_a_full_ref_can_be_followed(lab: Lab) -> None:
    git(lab.remote.folder, "tag", "--annotate", "--message=m", "v1")
    lab.remote.commit(machines("b"))
    assert lab.source(ref="v1").read().revision == lab.first
    assert lab.source(ref="refs/heads/main").read().revision == lab.remote.head()


def test_a_tag_of_a_branchs_name_is_refused_and_says_what_to_set(lab: Lab) -> None:
    source = lab.source(ref="main")
    assert source.read().revision == lab.first
    second = lab.remote.commit(machines("b"))
    git(lab.remote.folder, "tag", "main", lab.first)
    with pytest.raises(RefusedError, match="main is ambiguous") as error:
        source.read()
    assert "set spec.source.git.ref to the one you mean, like refs/heads/main" in str(
        error.value
    ).replace("Set", "set")
    assert lab.taken() == lab.first
    assert lab.source(ref="refs/heads/main").read().revision == second
    git(lab.remote.folder, "tag", "-d", "main")
    assert source.read().revision == second


def test_a_branch_whose_name_ends_like_it_is_another(lab: Lab) -> None:
    git(lab.remote.folder, "branch", "feature/main")
    git(lab.remote.folder, "tag", "x/main")
    assert lab.source(ref="main").read().revision == lab.first


def test_a_remote_that_cannot_be_reached_may_come_back(lab: Lab, tmp_path: Path) -> None:
    source = lab.source()
    before = source.read()
    lab.remote.folder.rename(tmp_path / "away")
    with pytest.raises(TransientError, match=f"file://{lab.remote.folder} cannot be fetched"):
        source.read()
    with pytest.raises(TransientError, match="cannot be fetched"):
        lab.source().read()
    assert lab.source().recall() == before
    (tmp_path / "away").rename(lab.remote.folder)
    assert source.read() == before


def test_nothing_is_remembered_before_anything_was_taken(lab: Lab) -> None:
    assert lab.source().recall() is None
    with pytest.raises(TransientError, match="couldn't find remote ref nowhere"):
        lab.source(ref="nowhere").read()
    assert lab.source().recall() is None


def test_a_forced_push_is_refused_until_a_person_accepts_it(lab: Lab) -> None:
    second = lab.remote.commit(machines("b"))
    source = lab.source()
    source.read()
    git(lab.remote.folder, "reset", "--hard", "--quiet", lab.first)
    for one in (source, lab.source()):
        with pytest.raises(RefusedError, match=f"it does not descend from {second[:12]}") as caught:
            one.read()
    assert lab.taken() == second
    assert lab.source().recall().revision == second  # type: ignore[union-attr]
    command = str(caught.value).split("To accept it: git ")[1]
    git(lab.folder, *command.split(" "))
    assert source.read().revision == lab.first


def test_a_rewritten_history_is_refused_and_its_repair_is_taken(lab: Lab) -> None:
    lab.remote.commit(machines("b"))
    source = lab.source()
    source.read()
    good = lab.remote.head()
    lab.remote.commit(machines("c"), "--amend")
    with pytest.raises(RefusedError, match="the history was rewritten, or it is older"):
        source.read()
    git(lab.remote.folder, "reset", "--hard", "--quiet", good)
    after = lab.remote.commit(machines("d"))
    assert source.read().revision == after


def test_another_repository_at_the_same_address_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.source().read()
    lab.remote.folder.rename(tmp_path / "away")
    Repository(lab.remote.folder, machines("z"))
    with pytest.raises(RefusedError, match="does not descend"):
        lab.source().read()


def test_a_merge_is_a_descendant(lab: Lab) -> None:
    source = lab.source()
    git(lab.remote.folder, "checkout", "--quiet", "-b", "topic")
    lab.remote.commit(machines("b"))
    git(lab.remote.folder, "checkout", "--quiet", "main")
    lab.remote.commit(machines("c"))
    source.read()
    git(lab.remote.folder, "merge", "--quiet", "--no-ff", "--message=m", "topic")
    assert names(source.read()) == ["vm/a.yaml", "vm/b.yaml", "vm/c.yaml"]


def test_a_shallow_remote_is_refused_rather_than_half_known(lab: Lab, tmp_path: Path) -> None:
    lab.source().read()
    lab.remote.commit(machines("b"))
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{lab.remote.folder}", "shallow")
    with pytest.raises(TransientError, match=r"main gives no commit: .*shallow roots"):
        lab.source(url=f"file://{tmp_path}/shallow").read()


@pytest.mark.parametrize("path", ["wrong", "vm/a.yaml"])
def test_a_wrong_path_is_refused(lab: Lab, path: str) -> None:
    with pytest.raises(RefusedError, match=f"there is no folder {path} in commit"):
        lab.source(path=path).read()


def test_a_commit_without_manifests_is_refused_and_not_taken(lab: Lab) -> None:
    source = lab.source()
    source.read()
    git(lab.remote.folder, "rm", "-rq", "vm")
    lab.remote.commit({"vm/README.md": "all gone"})
    with pytest.raises(RefusedError, match="there are no manifests in vm of commit"):
        source.read()
    assert lab.taken() == lab.first
    git(lab.remote.folder, "reset", "--hard", "--quiet", lab.first)
    assert source.read().revision == lab.first


def test_what_a_killed_fetch_left_behind_does_not_hold_up_the_next(lab: Lab) -> None:
    lab.source().read()
    for name in (
        "refs/virt-reconciler/fetched.lock",
        "refs/virt-reconciler/taken.lock",
        "packed-refs.lock",
    ):
        (lab.own / name).touch()
    second = lab.remote.commit(machines("b"))
    assert lab.source().read().revision == second


def test_a_fetch_that_hangs_is_ended_with_all_its_children(lab: Lab, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho $$ >{pid}\nexec sleep 1000\n", encoding="utf-8")
    ssh.chmod(0o755)
    settings = replace(lab.settings, url="ssh://host.invalid/x")
    source = RemoteSource(settings, str(lab.own), None, limit=2.0)
    source._repository = replace(source._repository, extra=(("GIT_SSH_COMMAND", str(ssh)),))
    with pytest.raises(
        TransientError, match=r"ssh://host\.invalid/x cannot be fetched: git did not"
    ):
        source.read()
    number = pid.read_text(encoding="utf-8").strip()
    wait_until(lambda: not os.path.exists(f"/proc/{number}/cwd"))


def test_a_folder_of_somebody_else_is_a_clear_error(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_foreign(tmp_path / "bin", monkeypatch)
    folder = f"{lab.remote.folder}"
    for url in (folder, f"file://{folder}"):
        with pytest.raises(TransientError, match=f"--system --add safe.directory {folder}"):
            lab.source(url=url).read()


def test_a_state_folder_that_cannot_be_written_is_told(lab: Lab) -> None:
    lab.own.parent.write_text("a file", encoding="utf-8")
    with pytest.raises(TransientError, match="cannot be written: Not a directory"):
        lab.source().read()


def test_hooks_and_settings_of_others_are_not_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.source().read()
    mark = tmp_path / "mark"
    hook = lab.own / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n", encoding="utf-8")
    hook.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    text = f'[url "file:///nonexistent/"]\n\tinsteadOf = file://{lab.folder}/\n'
    (home / ".gitconfig").write_text(text, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    second = lab.remote.commit(machines("b"))
    assert lab.source().read().revision == second
    assert not mark.exists()


class TestSigned:
    """`verify: signed`."""

    @pytest.fixture
    def keys(self, tmp_path: Path) -> List[Path]:
        return [make_key(tmp_path, name) for name in ("known", "stranger")]

    @pytest.fixture
    def signed(self, lab: Lab, keys: List[Path]) -> GitSource:
        signers = allow(lab.folder / "signers", keys[0])
        return replace(lab.settings, verify_signatures=True, allowed_signers=signers)

    def source(self, lab: Lab, settings: GitSource) -> RemoteSource:
        return RemoteSource(settings, str(lab.own), None)

    def test_a_commit_signed_by_one_who_is_allowed_is_taken(
        self, lab: Lab, keys: List[Path], signed: GitSource
    ) -> None:
        second = lab.remote.commit(machines("b"), key=keys[0])
        assert self.source(lab, signed).read().revision == second

    def test_an_unsigned_commit_is_refused_and_changes_nothing(
        self, lab: Lab, keys: List[Path], signed: GitSource
    ) -> None:
        good = lab.remote.commit(machines("b"), key=keys[0])
        source = self.source(lab, signed)
        source.read()
        lab.remote.commit(machines("c"))
        for _ in range(2):
            with pytest.raises(
                RefusedError, match=r"not signed by a key of .*signers .no signature"
            ):
                source.read()
        assert lab.taken() == good
        after = lab.remote.commit(machines("d"), key=keys[0])
        assert source.read().revision == after

    def test_a_stranger_is_refused(self, lab: Lab, keys: List[Path], signed: GitSource) -> None:
        lab.remote.commit(machines("b"), key=keys[1])
        with pytest.raises(RefusedError, match="is refused: it is not signed by a key of"):
            self.source(lab, signed).read()
        assert self.source(lab, signed).recall() is None

    def test_a_signature_for_other_content_is_refused(
        self, lab: Lab, keys: List[Path], signed: GitSource
    ) -> None:
        lab.remote.commit(machines("b"), key=keys[0])
        raw = git(lab.remote.folder, "cat-file", "commit", "HEAD") + "\n"
        forged = lab.folder / "forged"
        forged.write_text(raw.replace("\n\nm\n", "\n\nanother message\n"), encoding="utf-8")
        made = git(lab.remote.folder, "hash-object", "-t", "commit", "-w", str(forged))
        git(lab.remote.folder, "reset", "--hard", "--quiet", made)
        with pytest.raises(RefusedError, match="is refused: it is not signed by a key of"):
            self.source(lab, signed).read()

    def test_a_merge_counts_by_its_own_signature(
        self, lab: Lab, keys: List[Path], signed: GitSource
    ) -> None:
        git(lab.remote.folder, "checkout", "--quiet", "-b", "topic")
        lab.remote.commit(machines("b"))
        git(lab.remote.folder, "checkout", "--quiet", "main")
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={keys[0]}")
        git(lab.remote.folder, *signing, "merge", "-q", "--no-ff", "-S", "-m", "m", "topic")
        assert names(self.source(lab, signed).read()) == ["vm/a.yaml", "vm/b.yaml"]

    def test_what_was_taken_unsigned_is_not_recalled_when_signatures_are_wanted(
        self, lab: Lab, signed: GitSource
    ) -> None:
        lab.source().read()
        with pytest.raises(RefusedError, match="is refused"):
            self.source(lab, signed).recall()

    def test_signers_that_cannot_be_read_are_told(self, lab: Lab, signed: GitSource) -> None:
        wrong = replace(signed, allowed_signers="/nonexistent/signers")
        with pytest.raises(TransientError, match="allowed signers cannot be read: /nonexistent"):
            self.source(lab, wrong).read()

    def test_without_signers_nothing_is_taken(self, lab: Lab, signed: GitSource) -> None:
        with pytest.raises(RefusedError, match="no allowed signers are set"):
            self.source(lab, replace(signed, allowed_signers=None)).read()

    def test_a_key_ring_does_not_count(
        self, lab: Lab, signed: GitSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A PGP signature that gpg would find good."""
        gpg = lab.folder / "bin" / "gpg"
        gpg.parent.mkdir()
        status = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 1 t\n[GNUPG:] TRUST_ULTIMATE 0 pgp\n"
        gpg.write_text(f"#!/bin/sh\nprintf '{status}'\n", encoding="utf-8")
        gpg.chmod(0o755)
        monkeypatch.setenv("PATH", f"{gpg.parent}:{os.environ['PATH']}")
        raw = git(lab.remote.folder, "cat-file", "commit", "HEAD") + "\n"
        head, message = raw.split("\n\n", 1)
        pgp = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
        forged = lab.folder / "forged"
        forged.write_text(f"{head}\n{pgp}\n\n{message}", encoding="utf-8")
        made = git(lab.remote.folder, "hash-object", "-t", "commit", "-w", str(forged))
        git(lab.remote.folder, "reset", "--hard", "--quiet", made)
        with pytest.raises(RefusedError, match="is refused: it is not signed by a key of"):
            self.source(lab, signed).read()


class TestAccess:
    """The key and what is shown of an address."""

    def test_git_calls_ssh_with_the_key_and_trusts_known_hosts_alone(
        self, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = tmp_path / "said"
        ssh = tmp_path / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{said}\nexit 255\n', encoding="utf-8")
        ssh.chmod(0o755)
        monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
        key = tmp_path / "with space"
        settings = replace(
            lab.settings,
            url="git@host.invalid:x",
            deploy_key=str(key),
            known_hosts="/etc/hosts.known",
        )
        with pytest.raises(TransientError, match=r"git@host\.invalid:x cannot be fetched"):
            RemoteSource(settings, str(lab.own), None).read()
        words = said.read_text(encoding="utf-8").splitlines()
        assert words[words.index("-i") + 1] == str(key)
        for one in (
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "IdentitiesOnly=yes",
            "UserKnownHostsFile=/etc/hosts.known",
        ):
            assert words[words.index(one) - 1] == "-o"
        assert words[words.index("-F") + 1] == "none"

    def test_the_credential_is_the_key_unless_another_is_set(self, tmp_path: Path) -> None:
        settings = GitSource("x")
        assert find_key(settings, str(tmp_path)) is None
        (tmp_path / "deploy_key").touch()
        assert find_key(settings, str(tmp_path)) == f"{tmp_path}/deploy_key"
        assert find_key(replace(settings, deploy_key="/k"), str(tmp_path)) == "/k"
        assert find_key(settings, None) is None
        assert "-i" not in ssh_environment(settings, None)["GIT_SSH_COMMAND"].split()

    def test_a_password_in_an_address_is_never_shown(self, lab: Lab) -> None:
        source = lab.source(url="http://me:secret@127.0.0.1:9/x")
        with pytest.raises(
            TransientError, match=r"http://127\.0\.0\.1:9/x cannot be fetched"
        ) as caught:
            source.read()
        assert "secret" not in str(caught.value)
        assert hide_password("at 'https://t:k@h/x' and ssh://g@h") == "at 'https://h/x' and ssh://h"
        assert hide_password("https://t:k@y@h/x@y") == "https://h/x@y"

    def test_a_repository_is_not_made_from_somebodys_template(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "hooks").mkdir()
        (tmp_path / "hooks" / "post-checkout").touch()
        monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path))
        lab.source().read()
        assert not (lab.own / "hooks").exists()


def test_the_time_limit_is_that_of_a_service() -> None:
    assert remote.FETCH_LIMIT < 300
