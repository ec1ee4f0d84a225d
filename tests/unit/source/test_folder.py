"""A plain folder: taken when it rests, whole, and never as empty because of an error."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Dict, List

import pytest

from reconciler.adapters.manifests.files import FolderSource
from reconciler.core.manifest_files import FileSet
from reconciler.errors import RefusedError, TransientError
from tests.unit.manifests.documents import machine
from tests.unit.source.clocks import StillClock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "vms"
    made.mkdir()
    (made / "a.yaml").write_text("a: 1\n", encoding="utf-8")
    (made / "b.yaml").write_text("b: 1\n", encoding="utf-8")
    return made


def contents(found: FileSet) -> Dict[str, bytes]:
    return {os.path.basename(file.name): file.content for file in found.files}


def problems(found: FileSet) -> List[str]:
    return [f"{os.path.basename(problem.file)}: {problem.message}" for problem in found.problems]


def test_two_equal_readings_are_taken_under_the_name_that_was_given(folder: Path) -> None:
    clock = StillClock()
    found = FolderSource(str(folder), clock).read()
    assert [file.name for file in found.files] == [f"{folder}/a.yaml", f"{folder}/b.yaml"]
    assert (clock.slept, found.revision, problems(found)) == (1, None, [])


def test_nothing_new_needs_no_second_reading_and_has_the_same_identity(folder: Path) -> None:
    clock = StillClock()
    source = FolderSource(str(folder), clock)
    first = source.read()
    os.utime(folder / "a.yaml")
    assert source.read().identity == first.identity
    assert clock.slept == 1


def test_a_half_written_file_is_waited_for(folder: Path) -> None:
    text = machine("a", cpus=16, memory="4GiB").encode()
    path = folder / "a.yaml"

    def grow() -> None:
        path.write_bytes(text[: len(path.read_bytes()) + step])

    step = len(text) // 6 + 1
    path.write_bytes(b"")
    clock = StillClock(*[grow] * 6)
    assert contents(FolderSource(str(folder), clock).read())["a.yaml"] == text
    assert clock.slept == 7


def test_a_file_that_is_written_for_ever_holds_up_nobody_else(folder: Path) -> None:
    source = FolderSource(str(folder), StillClock())
    before = source.read()
    path = folder / "a.yaml"

    def grow() -> None:
        path.write_bytes(path.read_bytes() + b"# more\n")

    clock = StillClock(*[grow] * 100)
    (folder / "b.yaml").write_text("b: 2\n", encoding="utf-8")
    restless = FolderSource(str(folder), clock)
    found = restless.read()
    assert contents(found) == {"b.yaml": b"b: 2\n"}
    assert problems(found) == ["a.yaml: changes all the time; it is read when it stops changing"]
    assert clock.now() - 1000 <= 2.5
    clock.things.clear()
    rested = restless.read()
    assert (set(contents(rested)), problems(rested)) == ({"a.yaml", "b.yaml"}, [])
    assert len({before.identity, found.identity, rested.identity}) == 3


def test_a_file_that_vanishes_between_listing_and_reading_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor's rename: gone when it is opened, there again at once."""
    real, times = os.stat, list[str]()

    def stat(path: str, **more: object) -> os.stat_result:
        if str(path).endswith("a.yaml") and not times:
            times.append(path)
            raise FileNotFoundError(2, "No such file or directory")
        return real(path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("reconciler.adapters.manifests.files.os.stat", stat)
    found = FolderSource(str(folder), StillClock()).read()
    assert (set(contents(found)), problems(found), len(times)) == ({"a.yaml", "b.yaml"}, [], 1)


def test_a_file_that_cannot_be_read_is_a_problem_and_the_others_are_taken(folder: Path) -> None:
    (folder / "c.yaml").symlink_to("nothing")
    found = FolderSource(str(folder), StillClock()).read()
    assert set(contents(found)) == {"a.yaml", "b.yaml"}
    assert problems(found) == ["c.yaml: cannot be read: No such file or directory"]


def test_a_missing_folder_is_never_empty(folder: Path) -> None:
    source = FolderSource(str(folder), StillClock())
    source.read()
    shutil.rmtree(folder)
    with pytest.raises(TransientError, match=f"{folder}: cannot be read: No such file"):
        source.read()


def test_a_folder_that_goes_away_between_two_readings_is_never_empty(folder: Path) -> None:
    clock = StillClock(lambda: shutil.rmtree(folder))
    with pytest.raises(TransientError, match="cannot be read"):
        FolderSource(str(folder), clock).read()


def test_an_unreadable_folder_is_never_empty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied")

    source = FolderSource(str(folder), StillClock())
    monkeypatch.setattr("reconciler.adapters.manifests.files.os.scandir", refuse)
    with pytest.raises(TransientError, match=f"{folder}: cannot be read: Permission denied"):
        source.read()


def test_an_unreadable_folder_below_is_a_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir
    (folder / "sub").mkdir()

    def refuse(path: str) -> object:
        if path.endswith("sub"):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr("reconciler.adapters.manifests.files.os.scandir", refuse)
    found = FolderSource(str(folder), StillClock()).read()
    assert problems(found) == ["sub: cannot be read: Input/output error"]
    assert set(contents(found)) == {"a.yaml", "b.yaml"}


@pytest.mark.parametrize("left", [[], ["README.md"], [".a.yaml.swp", "a.yaml~", "#a.yaml#"]])
def test_a_folder_without_manifests_is_refused(tmp_path: Path, left: List[str]) -> None:
    for name in left:
        (tmp_path / name).write_text("x", encoding="utf-8")
    with pytest.raises(
        RefusedError, match=f"there are no manifests in {tmp_path}: the manifests in force stay"
    ):
        FolderSource(str(tmp_path), StillClock()).read()


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(TransientError, match="is a file; set the folder that it is in"):
        FolderSource(str(folder / "a.yaml"), StillClock()).read()


def test_a_change_of_the_same_size_is_seen(folder: Path) -> None:
    source = FolderSource(str(folder), StillClock())
    before = source.read()
    (folder / "a.yaml").write_text("a: 2\n", encoding="utf-8")
    after = source.read()
    assert contents(after)["a.yaml"] == b"a: 2\n"
    assert after.identity != before.identity


def test_what_has_not_changed_is_not_opened_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.adapters.manifests.files.RACY", -1000.0)
    source = FolderSource(str(folder), StillClock())
    before = source.read()
    monkeypatch.setattr("builtins.open", None)
    assert source.read() == before


def test_the_same_content_elsewhere_has_the_same_identity(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    one, other = (
        FolderSource(str(path), StillClock()).read() for path in (folder, tmp_path / "copy")
    )
    assert one.identity == other.identity


def test_a_link_that_is_exchanged_leads_to_the_other_folder_alone(
    folder: Path, tmp_path: Path
) -> None:
    other, link = tmp_path / "other", tmp_path / "current"
    other.mkdir()
    (other / "c.yaml").write_text("c: 1\n", encoding="utf-8")
    link.symlink_to(folder)
    source = FolderSource(str(link), StillClock())
    assert set(contents(source.read())) == {"a.yaml", "b.yaml"}
    link.unlink()
    link.symlink_to(other)
    assert contents(source.read()) == {"c.yaml": b"c: 1\n"}


def test_links_below_are_among_the_places(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (folder / "more").symlink_to(tmp_path / "more")
    (folder / "c.yaml").symlink_to("a.yaml")
    source = FolderSource(str(folder), StillClock())
    assert source.places() == (str(folder),)
    source.read()
    assert source.places() == (str(folder), f"{folder}/c.yaml", f"{folder}/more")
