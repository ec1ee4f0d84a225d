"""Which files are read, and what becomes of those that cannot be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, List, Tuple

import pytest

from reconciler.adapters.manifests.reader import load_manifests
from tests.unit.manifests.documents import machine


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str = "") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or machine(path.stem), encoding="utf-8")


def found(*paths: str) -> Tuple[List[str], List[str]]:
    loaded = load_manifests(paths)
    return [one.name for one in loaded.desired.machines], [
        str(problem) for problem in loaded.problems
    ]


def test_a_tree_is_read_but_for_what_editors_and_git_leave() -> None:
    for name in ("d/a.yaml", "d/b.yml", "d/deep/er/c.yaml", "d/folder.yaml/e.yaml"):
        write(name)
    for name in (
        "d/.hidden.yaml",
        "d/.git/x.yaml",
        "d/a.yaml~",
        "d/#a.yaml#",
        "d/.a.yaml.swp",
        "d/README.md",
    ):
        write(name, "not: [a manifest")
    assert found("d") == (["a", "b", "c", "e"], [])


def test_a_file_that_is_named_is_read_whatever_its_suffix() -> None:
    write("vm.txt")
    assert found("vm.txt") == (["vm"], [])


def test_links_are_followed_once() -> None:
    write("real/a.yaml")
    Path("d").mkdir()
    Path("d/link").symlink_to("../real", target_is_directory=True)
    Path("d/loop").symlink_to(".", target_is_directory=True)
    Path("d/circle").symlink_to("circle")
    Path("d/same.yaml").symlink_to("../real/a.yaml")
    assert found("d", "real", "real/a.yaml") == (["a"], [])


def test_a_pipe_that_is_named_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, machine("piped").encode())
    os.close(writer)
    try:
        assert found(f"/dev/fd/{reader}") == (["piped"], [])
    finally:
        os.close(reader)


def _empty_folder() -> None:
    Path("x").mkdir()


def _comments_only() -> None:
    write("x/a.yaml", "# nothing\n---\n")


def _big() -> None:
    Path("x").write_bytes(b"#" * 10_000_000)


def _broken_link() -> None:
    Path("x").symlink_to("nowhere")


def _link_to_itself() -> None:
    Path("x").mkdir()
    Path("x/l.yaml").symlink_to("l.yaml")


def _pipe_in_a_tree() -> None:
    Path("x").mkdir()
    os.mkfifo("x/p.yaml")


UNREADABLE = [
    pytest.param(_empty_folder, "x: there are no manifests in x", id="an empty folder"),
    pytest.param(_comments_only, "x: there are no manifests in x", id="a folder with nothing but comments"),
    pytest.param(_big, "x: is larger than 1 MiB", id="10 MB"),
    pytest.param(lambda: None, "x: cannot be read: No such file", id="nothing there"),
    pytest.param(_broken_link, "x: cannot be read: No such file", id="a link to nowhere"),
    pytest.param(_link_to_itself, "x/l.yaml: cannot be read: Too many levels", id="a link to itself"),
    pytest.param(_pipe_in_a_tree, "x/p.yaml: cannot be read: it is not a regular file", id="a pipe in a tree"),
]  # fmt: skip


@pytest.mark.parametrize(("prepare", "message"), UNREADABLE)
def test_what_cannot_be_read_is_a_problem_and_no_more(
    prepare: Callable[[], None], message: str
) -> None:
    prepare()
    write("good.yaml")
    machines, problems = found("x", "good.yaml")
    assert machines == ["good"]
    assert len(problems) == 1
    assert problems[0].startswith(message)


def test_a_folder_that_may_not_be_listed_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    write("d/a.yaml")
    write("d/closed/b.yaml")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list anything
    assert found("d") == (["a"], ["d/closed: cannot be read: Permission denied"])


def test_a_name_that_is_not_text_can_be_printed() -> None:
    Path(os.fsdecode(b"\xff.yaml")).write_text("a: [", encoding="utf-8")
    (_, (problem,)) = found(".")
    assert problem.encode().startswith(b"./\\udcff.yaml:")


def test_a_name_with_a_nul_is_refused() -> None:
    assert "not a valid file name" in found("a\0b")[1][0]


def test_a_syntax_error_takes_its_whole_file_and_no_other() -> None:
    write("d/a.yaml", f"{machine('one')}---\na: [\n")
    write("d/b.yaml")
    machines, problems = found("d")
    assert (machines, len(problems)) == (["b"], 1)


def test_every_problem_is_listed_sorted_by_place() -> None:
    write("d/b.yaml", machine("b", cpus=0, memory=4096))
    write("d/a.yaml", "a: b: c")
    problems = load_manifests(["d", "e"]).problems
    places = [str(problem).split(": ", maxsplit=1)[0] for problem in problems]
    assert places == ["d/a.yaml:1:5", "d/b.yaml:6:9", "d/b.yaml:7:11", "e"]
