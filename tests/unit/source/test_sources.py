"""From files to a snapshot: one bad manifest among ten, and nothing at all."""

from __future__ import annotations

from typing import Optional, Tuple

import pytest

from reconciler.adapters.manifests.reader import load_files
from reconciler.control.manifest_follower import ParsedFiles
from reconciler.core.key import Key
from reconciler.core.manifest_files import FileSet, ManifestFile
from reconciler.core.manifest_sets import InForce, merge
from reconciler.errors import Problem, RefusedError
from tests.unit.manifests.documents import machine, template


class Files:
    """A source of the files that it is given."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts
        self.problems: Tuple[Problem, ...] = ()
        self.revision: Optional[str] = None

    def read(self) -> FileSet:
        files = tuple(
            ManifestFile(f"{name}.yaml", text.encode()) for name, text in self.texts.items()
        )
        return FileSet(str(hash(files)), "here", files, self.problems, self.revision)

    def recall(self) -> Optional[FileSet]:
        return None

    def places(self) -> Tuple[str, ...]:
        return ("here",)


def ten() -> Files:
    return Files(
        **{f"m{number}": machine(f"m{number}", cpus=1, memory="1GiB") for number in range(10)}
    )


def test_files_in_memory_are_read_as_files_on_disk_are() -> None:
    loaded = load_files(
        [
            ManifestFile("a.yaml", machine("a", cpus=1, memory="1GiB").encode()),
            ManifestFile("b.yaml", b"a: [\n"),
            ManifestFile("c.yaml", machine("a", cpus=1, memory="1GiB").encode()),
            ManifestFile("empty.yaml", b"# nothing\n"),
        ]
    )
    lines = [str(one) for one in loaded.problems]
    assert [one.split(":")[0] for one in lines] == ["b.yaml", "c.yaml"]
    assert "already used at a.yaml:4:9" in lines[1]
    assert loaded.desired.machines == ()


def test_one_bad_file_among_ten_leaves_nine_and_keeps_the_tenth_in_force() -> None:
    files = ten()
    source = ParsedFiles(files, load_files)
    before = merge(InForce(), source.take())
    files.texts["m3"] = "apiVersion: [\n"
    files.texts["m4"] = machine("m4", cpus=2, memory="1GiB")
    broken = source.take()
    assert [one.name for one in broken.desired.machines] == [
        f"m{one}" for one in range(10) if one != 3
    ]
    assert not broken.is_complete
    after = merge(before, broken)
    assert after.machines["m3"] is before.machines["m3"]
    assert after.machines["m4"].generation != before.machines["m4"].generation
    assert after.problems[Key("VirtualMachine", "m3")].startswith("m3.yaml:2:1: not YAML")
    assert [key.name for key in after.problems] == ["m3"]
    assert (after.absent, after.is_complete) == (frozenset(), False)
    files.texts["m3"] = machine("m3", cpus=1, memory="1GiB")
    mended = merge(after, source.take())
    assert (mended.problems, len(mended.machines), mended.is_complete) == ({}, 10, True)


def test_an_object_is_absent_only_from_a_complete_snapshot() -> None:
    files = ten()
    source = ParsedFiles(files, load_files)
    before = merge(InForce(), source.take())
    del files.texts["m1"]
    files.problems = (Problem("sub", 0, 0, "", "cannot be read: Input/output error"),)
    unsure = merge(before, source.take())
    assert ("m1" in unsure.machines, unsure.absent) == (True, frozenset())
    assert unsure.problems[Key("VirtualMachine", "m1")] == "sub: cannot be read: Input/output error"
    files.problems = ()
    files.texts["m2"] += "\n"
    sure = merge(unsure, source.take())
    assert ("m1" in sure.machines, sure.absent) == (False, frozenset({Key("VirtualMachine", "m1")}))


def test_a_template_stays_while_anything_is_unreadable() -> None:
    files = Files(t=template("base"), m=machine("m", cpus=1, memory="1GiB"))
    source = ParsedFiles(files, load_files)
    before = merge(InForce(), source.take())
    files.texts["t"] = "nonsense"
    assert [one.name for one in merge(before, source.take()).templates] == ["base"]
    del files.texts["t"]
    assert merge(before, source.take()).templates == ()


def test_two_of_the_same_name_keep_the_former_one_in_force() -> None:
    files = Files(a=machine("m", cpus=1, memory="1GiB"), b=machine("n", cpus=1, memory="1GiB"))
    source = ParsedFiles(files, load_files)
    before = merge(InForce(), source.take())
    files.texts["b"] = machine("m", cpus=2, memory="1GiB")
    after = merge(before, source.take())
    assert after.machines["m"] is before.machines["m"]
    assert {key.name for key in after.problems} == {"m", "n"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n"])
def test_files_with_nothing_in_them_are_refused(text: str) -> None:
    with pytest.raises(
        RefusedError, match="there are no manifests in here: the manifests in force stay"
    ):
        ParsedFiles(Files(a=text), load_files).take()


def test_the_commit_stands_in_each_machine() -> None:
    files = ten()
    files.revision = "abc"
    taken = ParsedFiles(files, load_files).take()
    assert taken.revision == "abc"
    assert {one.revision for one in taken.desired.machines} == {"abc"}


def test_the_same_content_is_parsed_once() -> None:
    files = ten()
    source = ParsedFiles(files, load_files)
    first = source.take()
    assert source.take() is first
    files.texts["m1"] += "\n"
    assert source.take() is not first


def test_generations_do_not_depend_on_the_commit() -> None:
    files = ten()
    source = ParsedFiles(files, load_files)
    one = source.take().desired.objects[Key("VirtualMachine", "m1")]
    files.revision, files.texts["m2"] = "abc", files.texts["m2"] + "\n"
    assert source.take().desired.objects[one.key].generation == one.generation
