"""From files to a snapshot: one bad manifest among ten, and nothing at all."""

from __future__ import annotations

from typing import Optional, Tuple, cast

import pytest

from reconciler.adapters.manifests.reader import load_files
from reconciler.control.manifest_follower import ParsedFiles
from reconciler.control.ports import Host
from reconciler.core.history import LastKnown
from reconciler.core.key import Key
from reconciler.core.manifest_files import FileSet, InForce, ManifestFile, merge
from reconciler.core.plan import Define, PlanOptions
from reconciler.core.xmltree import parse
from reconciler.errors import Problem, RefusedError
from reconciler.kinds.api import PassTask, Surroundings
from reconciler.kinds.machine.domain.mark import read_owner
from reconciler.kinds.machine.sightings import look
from tests.unit.corpus.worlds import list_worlds, read_world
from tests.unit.manifests.documents import machine, template
from tests.unit.memory_host import MemoryHost


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
    lines = [str(problem) for problem in loaded.problems]
    assert [line.split(":")[0] for line in lines] == ["b.yaml", "c.yaml"]
    assert "already used at a.yaml:4:9" in lines[1]
    assert loaded.desired.machines == ()


def vm(name: str) -> Key:
    return Key("VirtualMachine", name)


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
    assert after.objects[vm("m3")] is before.objects[vm("m3")]
    assert after.objects[vm("m4")].generation != before.objects[vm("m4")].generation
    assert after.problems[vm("m3")].startswith("m3.yaml:2:1: not YAML")
    assert [key.name for key in after.problems] == ["m3"]
    assert (after.absent, after.is_complete) == (frozenset(), False)
    files.texts["m3"] = machine("m3", cpus=1, memory="1GiB")
    mended = merge(after, source.take())
    assert (mended.problems, len(mended.objects), mended.is_complete) == ({}, 10, True)


def test_an_object_is_absent_only_from_a_complete_snapshot() -> None:
    files = ten()
    source = ParsedFiles(files, load_files)
    before = merge(InForce(), source.take())
    del files.texts["m1"]
    files.problems = (Problem("sub", 0, 0, "", "cannot be read: Input/output error"),)
    unsure = merge(before, source.take())
    assert (vm("m1") in unsure.objects, unsure.absent) == (True, frozenset())
    assert unsure.problems[vm("m1")] == "sub: cannot be read: Input/output error"
    files.problems = ()
    files.texts["m2"] += "\n"
    sure = merge(unsure, source.take())
    assert (vm("m1") in sure.objects, sure.absent) == (False, frozenset({vm("m1")}))


def test_a_template_stays_while_anything_is_unreadable() -> None:
    files = Files(t=template("base"), m=machine("m", cpus=1, memory="1GiB"))
    source = ParsedFiles(files, load_files)
    before = merge(InForce(), source.take())
    files.texts["t"] = "nonsense"
    assert [one.name for one in merge(before, source.take()).desired.templates] == ["base"]
    del files.texts["t"]
    assert merge(before, source.take()).desired.templates == ()


def test_two_of_the_same_name_keep_the_former_one_in_force() -> None:
    files = Files(a=machine("m", cpus=1, memory="1GiB"), b=machine("n", cpus=1, memory="1GiB"))
    source = ParsedFiles(files, load_files)
    before = merge(InForce(), source.take())
    files.texts["b"] = machine("m", cpus=2, memory="1GiB")
    after = merge(before, source.take())
    assert after.objects[vm("m")] is before.objects[vm("m")]
    assert {key.name for key in after.problems} == {"m", "n"}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n"])
def test_files_with_nothing_in_them_are_refused(text: str) -> None:
    with pytest.raises(
        RefusedError, match="there are no manifests in here: the manifests in force stay"
    ):
        ParsedFiles(Files(a=text), load_files).take()


class NoMemory:
    """Remembers nothing."""

    def keep(self, last: Optional[LastKnown], seen: object) -> None: ...

    def find_last(self, key: Key) -> None: ...


def test_a_pass_over_a_machine_writes_the_commit_in_its_mark() -> None:
    files = ten()
    files.revision = "abc"
    taken = ParsedFiles(files, load_files).take()
    assert taken.revision == "abc"
    in_force = merge(InForce(), taken)
    host = cast("Host", MemoryHost(read_world(list_worlds()[0]).snapshot))
    task = PassTask(in_force.objects[vm("m1")], in_force)
    action = look(Surroundings(host, NoMemory(), lambda: 0.0), task).plan(PlanOptions())
    defined = [step.xml for step in action.steps if isinstance(step, Define)]
    assert [read_owner(parse(xml)).revision for xml in defined] == ["abc"]  # type: ignore[union-attr]


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
    one = source.take().desired.objects[vm("m1")]
    files.revision, files.texts["m2"] = "abc", files.texts["m2"] + "\n"
    assert source.take().desired.objects[one.key].generation == one.generation
