"""A Git work tree: what its commit says, wherever it lies, and clear words where it does not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Dict, List, Optional, Set

import pytest

from reconciler.adapters.git.work_tree import WorkTreeSource
from reconciler.adapters.manifests.files import FolderSource
from reconciler.control.manifest_follower import LocalFiles
from reconciler.core.manifest_files import FileSet
from reconciler.errors import RefusedError, TransientError
from tests.unit.source.clocks import StillClock
from tests.unit.source.repositories import Repository, git, machines, pretend_foreign


def local(path: Path) -> LocalFiles:
    return LocalFiles(WorkTreeSource(str(path)), FolderSource(str(path), StillClock()))


def names(found: FileSet) -> List[str]:
    return [file.name for file in found.files]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", machines("a", "b"))


def test_the_commit_is_read_and_not_the_files(repository: Repository) -> None:
    source = local(repository.folder / "vm")
    before = source.read()
    repository.write({"vm/a.yaml": "half writ", "vm/c.yaml": "new"})
    (repository.folder / "vm" / "b.yaml").unlink()
    assert source.read() == before
    assert names(before) == ["vm/a.yaml", "vm/b.yaml"]
    assert (before.revision, before.identity) == (repository.head(), f"{repository.head()}:vm")
    after = repository.commit({})
    assert names(source.read()) == ["vm/a.yaml", "vm/c.yaml"]
    assert source.read().revision == after


def test_the_top_of_a_repository_is_read(repository: Repository) -> None:
    found = local(repository.folder).read()
    assert (names(found), found.identity) == (["vm/a.yaml", "vm/b.yaml"], repository.head())


def test_a_checkout_of_200_files_shows_one_commit_or_the_other(repository: Repository) -> None:
    many = [f"m{number:03d}" for number in range(200)]
    first = repository.commit(machines(*many))
    second = repository.commit(machines(*many, memory="2GiB"))
    source, stop = local(repository.folder), threading.Event()
    seen: Dict[Optional[str], Set[int]] = {}

    def check_out() -> None:
        for number in range(13):
            git(repository.folder, "checkout", "--quiet", "--detach", (first, second)[number % 2])
        stop.set()

    def look() -> None:
        found = source.read()
        counts = {file.content.count(b"2GiB") for file in found.files if "/m" in file.name}
        seen.setdefault(found.revision, set()).update(counts)
        assert len(found.files) == 202

    look()
    thread = threading.Thread(target=check_out)
    thread.start()
    while not stop.is_set():
        look()
    thread.join()
    look()
    assert seen == {first: {0}, second: {1}}


def test_a_linked_work_tree_behind_a_link_that_is_exchanged(tmp_path: Path) -> None:
    main = Repository(tmp_path / "git", machines("a"))
    first = main.head()
    second = main.commit(machines("a", "b"))
    trees = [tmp_path / "git" / ".worktrees" / one for one in (first, second)]
    for tree in trees:
        git(main.folder, "worktree", "add", "--quiet", "--detach", str(tree), tree.name)
    link = tmp_path / "git" / "current"
    link.symlink_to(trees[0])
    source = local(link / "vm")
    assert (source.read().revision, names(source.read())) == (first, ["vm/a.yaml"])
    new = tmp_path / "git" / "current.new"
    new.symlink_to(trees[1])
    new.rename(link)
    git(main.folder, "worktree", "remove", "--force", str(trees[0]))
    assert (source.read().revision, names(source.read())) == (second, ["vm/a.yaml", "vm/b.yaml"])


def test_a_shallow_clone_is_read(repository: Repository, tmp_path: Path) -> None:
    repository.commit(machines("c"))
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository.folder}", "shallow")
    assert names(local(tmp_path / "shallow" / "vm").read()) == [
        "vm/a.yaml",
        "vm/b.yaml",
        "vm/c.yaml",
    ]


def test_a_folder_becomes_a_repository_and_stops_being_one(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "a.yaml").write_text("files", encoding="utf-8")
    source = local(folder)
    assert source.read().revision is None
    repository = Repository(folder, {"a.yaml": "commit"})
    (folder / "a.yaml").write_text("files again", encoding="utf-8")
    assert [(file.name, file.content) for file in source.read().files] == [("a.yaml", b"commit")]
    assert source.read().revision == repository.head()
    (folder / ".git").rename(tmp_path / "away")
    assert [file.content for file in source.read().files] == [b"files again"]


def test_a_folder_that_is_not_committed_is_refused(repository: Repository) -> None:
    repository.write({"new/a.yaml": "a"})
    with pytest.raises(
        RefusedError, match=r"there is no folder new in commit .* and that it was comm"
    ):
        local(repository.folder / "new").read()


def test_a_folder_that_a_checkout_has_taken_away_is_refused(repository: Repository) -> None:
    source = local(repository.folder / "vm")
    source.read()
    git(repository.folder, "checkout", "--quiet", "--orphan", "other")
    with pytest.raises(RefusedError, match="has no commit yet"):
        source.read()
    git(repository.folder, "rm", "-rfq", ".")
    repository.commit({"README.md": "empty"})
    with pytest.raises(RefusedError, match="there is no folder vm in commit"):
        source.read()


def test_a_broken_repository_is_not_taken_for_a_plain_folder(repository: Repository) -> None:
    source = local(repository.folder)
    source.read()
    (repository.folder / ".git" / "HEAD").write_text("", encoding="utf-8")
    with pytest.raises(
        TransientError, match="the repository cannot be read: fatal: not a git repo"
    ):
        source.read()


def test_a_repository_of_somebody_else_is_a_clear_error(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_foreign(tmp_path / "bin", monkeypatch)
    with pytest.raises(TransientError) as caught:
        local(repository.folder).read()
    assert f"git config --system --add safe.directory {repository.folder}" in str(caught.value)
    assert "another user" in str(caught.value)


def test_git_must_be_there_for_a_work_tree(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(TransientError, match="git cannot be run: No such file"):
        local(repository.folder).read()


def test_environment_of_a_hook_does_not_lead_elsewhere(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Repository(tmp_path / "other", machines("z"))
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    assert local(repository.folder).read().revision == repository.head()


def test_places_are_where_commits_show_and_the_tree_may_be_exchanged(
    repository: Repository,
) -> None:
    source = local(repository.folder / "vm")
    source.read()
    top = repository.folder
    assert set(source.places()) == {f"{top}/vm/.", f"{top}/.git/.", f"{top}/.git/refs"}
