"""Which files of a commit are manifests; the same as a reading of its files would find."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Tuple

import pytest

from reconciler.adapters.git.command import Repository as Opened
from reconciler.adapters.git.commit import Tree, TreeEntry, clean_folder, read_commit
from reconciler.adapters.manifests.files import read_files
from reconciler.errors import RefusedError, TransientError
from tests.unit.source.repositories import Repository, git


def read(repository: Repository, folder: str = "") -> Tuple[List[Tuple[str, bytes]], List[str]]:
    """Return name and content of the manifest files of the commit, and the problems."""
    opened = Opened(str(repository.folder / ".git"))
    found = read_commit(opened, repository.head(), folder, "here")
    return [(file.name, file.content) for file in found.files], [
        str(problem) for problem in found.problems
    ]


def names(repository: Repository, folder: str = "") -> List[str]:
    return [name for name, _ in read(repository, folder)[0]]


def test_a_commit_has_the_same_manifests_as_its_files(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.write(
        {
            "a.yaml": "a",
            "b.yml": "b\n",
            "deep/er/c.yaml": "c",
            "folder.yaml/d.yaml": "d",
            "with space/ü.yaml": "e",
            "README.md": "no",
            ".hidden.yaml": "no",
            ".github/x.yaml": "no",
            "a.yaml~": "no",
            "#a.yaml#": "no",
            "4913": "no",
            "real/notes.txt": "f",
            "z.yaml": "",
        }
    )
    os.symlink("../deep", tmp_path / "real" / "link")
    os.symlink("real/notes.txt", tmp_path / "notes.yaml")
    os.symlink("a.yaml", tmp_path / "ignored")
    os.symlink("a.yaml", tmp_path / "again.yaml")
    os.symlink(".", tmp_path / "loop")
    os.symlink("nothing", tmp_path / "dangling")
    repository.commit({})
    found, problems = read(repository)
    there = {
        os.path.relpath(file.name, tmp_path): file.content
        for file in read_files([str(tmp_path)]).files
    }
    assert (dict(found), problems) == (there, [])
    assert len(there) == 7


def test_a_folder_alone_is_read_and_links_out_of_it_are_followed(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.write({"vm/a.yaml": "a", "other/b.yaml": "b", "vmx/c.yaml": "c"})
    os.symlink("../other", tmp_path / "vm" / "shared")
    os.symlink("vm", tmp_path / "current")
    repository.commit({})
    assert names(repository, "vm") == ["vm/a.yaml", "vm/shared/b.yaml"]
    assert names(repository, "current") == ["current/a.yaml", "current/shared/b.yaml"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("/etc/passwd", "is a symbolic link that leads out of the commit or back to itself"),
        ("../../../up.yaml", "is a symbolic link that leads out of the commit or back to itself"),
        ("x.yaml", "is a symbolic link that leads out of the commit or back to itself"),
        ("gone.yaml", "cannot be read: the link leads to nothing in this commit"),
    ],
)
def test_a_link_that_cannot_be_followed_is_a_problem_and_never_nothing(
    tmp_path: Path, target: str, message: str
) -> None:
    repository = Repository(tmp_path)
    repository.write({"vm/a.yaml": "a"})
    os.symlink(target, tmp_path / "vm" / "x.yaml")
    repository.commit({})
    assert read(repository) == ([("vm/a.yaml", b"a")], [f"vm/x.yaml: {message}"])


def test_a_submodule_is_a_problem(tmp_path: Path) -> None:
    repository = Repository(tmp_path, {"a.yaml": "a"})
    head = repository.head()
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{head},more")
    git(tmp_path, "commit", "--quiet", "--message=m")
    assert read(repository)[1] == ["more: is a submodule: its manifests are not in this commit"]


def test_a_file_that_is_too_large_is_a_problem_and_the_rest_is_read(tmp_path: Path) -> None:
    repository = Repository(tmp_path, {"a.yaml": "a", "big.yaml": "#" * (2**20 + 1)})
    found, problems = read(repository)
    assert [name for name, _ in found] == ["a.yaml"]
    assert problems == ["big.yaml: is larger than 1 MiB, the limit for a manifest file; split it"]


@pytest.mark.parametrize("folder", ["wrong", "a.yaml", "vm/deeper"])
def test_a_wrong_path_is_refused_and_concludes_nothing(tmp_path: Path, folder: str) -> None:
    repository = Repository(tmp_path, {"a.yaml": "a", "vm/b.yaml": "b"})
    with pytest.raises(
        RefusedError, match=f"there is no folder {folder} in here: the manifests in force stay"
    ):
        read(repository, folder)


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    repository = Repository(tmp_path, {"vm/README.md": "hello"})
    with pytest.raises(
        RefusedError, match="there are no manifests in vm of here: the manifests in force stay"
    ):
        read(repository, "vm")


def test_an_empty_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="there are no manifests in here"):
        read(Repository(tmp_path, {}))


def test_a_missing_object_is_never_a_missing_file(tmp_path: Path) -> None:
    repository = Repository(tmp_path, {"a.yaml": "a", "b.yaml": "b"})
    blob = git(tmp_path, "rev-parse", "HEAD:b.yaml")
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(TransientError, match=f"cannot read an object.*{blob}.*missing"):
        read(repository)


@pytest.mark.parametrize("path", ["/etc", "..", "vm/../.."])
def test_a_path_out_of_the_repository_is_refused(path: str) -> None:
    with pytest.raises(RefusedError, match="not inside of the repository"):
        clean_folder(path)


@pytest.mark.parametrize(("path", "folder"), [(".", ""), ("./vm/", "vm"), ("vm/../x", "x")])
def test_a_path_is_cleaned(path: str, folder: str) -> None:
    assert clean_folder(path) == folder


def test_many_links_in_a_row_are_followed_as_far_as_the_kernel_does() -> None:
    links = {f"l{number}": f"l{number + 1}" for number in range(50)}
    tree = Tree({"": {"l50": TreeEntry("040000", "tree", "x")}, "l50": {}}, links)
    assert (tree.resolve("l11"), tree.resolve("l9")) == ("l50", None)
