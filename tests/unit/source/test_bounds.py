"""What comes out of Git is bounded before it is read: a commit is not more than its limits."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import List, Sequence, Tuple

import pytest

from reconciler.adapters.git import commit as reading
from reconciler.adapters.git.command import Repository as Git
from reconciler.adapters.git.commit import read_commit
from reconciler.core.manifest_files import MOST_BYTES, MOST_TOTAL
from reconciler.errors import RefusedError
from tests.unit.source.repositories import Repository, environment, machines

ROOT = Path(__file__).parents[3]
MEMORY = 300 * 2**20  # bytes of address space: the interpreter with our modules has some 120 MiB
READ = """
import sys
from reconciler.adapters.git.command import Repository
from reconciler.adapters.git.commit import read_commit
from reconciler.errors import ReconcilerError
try:
    found = read_commit(Repository(sys.argv[1]), sys.argv[2], "", "the commit")
    print(len(found.files), *(f"{one.file}: {one.message}" for one in found.problems))
except ReconcilerError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository", machines("a"))


def ask(repository: Repository, *arguments: str, given: bytes = b"") -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=repository.folder, input=given, capture_output=True, check=True, env=environment()
    )  # fmt: skip
    return done.stdout.decode().strip()


def store(repository: Repository, content: bytes) -> str:
    return ask(repository, "hash-object", "-w", "--stdin", given=content)


def make_tree(repository: Repository, entries: Sequence[Tuple[str, str, str]]) -> str:
    """Return a tree of (mode, object, name)."""
    kinds = {"040000": "tree"}
    lines = [f"{mode} {kinds.get(mode, 'blob')} {one}\t{name}\n" for mode, one, name in entries]
    return ask(repository, "mktree", given="".join(lines).encode())


def make_commit(repository: Repository, entries: Sequence[Tuple[str, str, str]]) -> str:
    tree = make_tree(repository, entries)
    return ask(repository, "commit-tree", "-m", "m", tree)


def read_in_little_memory(repository: Repository, commit: str) -> str:
    """Return what a process says that has not the memory to hold what the commit has."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    done = subprocess.run(
        [sys.executable, "-c", READ, str(repository.folder / ".git"), commit],
        cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_symbolic_link_of_many_megabytes_is_a_problem_of_its_name(repository: Repository) -> None:
    link = store(repository, b"x" * (200 * 2**20))
    manifest = store(repository, machines("a")["vm/a.yaml"].encode())
    commit = make_commit(repository, [("100644", manifest, "a.yaml"), ("120000", link, "b.yaml")])
    said = read_in_little_memory(repository, commit)
    assert said.startswith("1 b.yaml: is a symbolic link that leads out of the commit"), said


def test_a_tree_of_a_million_entries_is_refused_while_it_is_listed(repository: Repository) -> None:
    blob = store(repository, b"")
    inner = make_tree(repository, [("100644", blob, f"{one:04}") for one in range(1000)])
    commit = make_commit(repository, [("040000", inner, f"{one:04}") for one in range(1000)])
    said = read_in_little_memory(repository, commit)
    assert said.startswith("RefusedError"), said
    assert "more than 100,000 files and folders" in said


def test_manifests_of_more_than_fits_are_refused_before_they_are_read(
    repository: Repository,
) -> None:
    blob = store(repository, b"#" * MOST_BYTES)
    many = MOST_TOTAL // MOST_BYTES + 1
    commit = make_commit(repository, [("100644", blob, f"{one}.yaml") for one in range(many)])
    said = read_in_little_memory(repository, commit)
    assert said.startswith("RefusedError"), said
    assert "all manifests together are larger than 16 MiB" in said
    within = make_commit(repository, [("100644", blob, f"{one}.yaml") for one in range(many - 1)])
    found = read_commit(Git(str(repository.folder / ".git")), within, "", "the commit")
    assert len(found.files) == many - 1


def test_links_are_counted(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_LINKS", 2)
    links: List[Tuple[str, str, str]] = [
        ("120000", store(repository, f"a{one}".encode()), f"l{one}") for one in range(3)
    ]
    commit = make_commit(repository, links)
    with pytest.raises(RefusedError, match="more than 2 symbolic links"):
        read_commit(Git(str(repository.folder / ".git")), commit, "", "the commit")
