"""A kind that the product does not know gets every verb by its row alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Tuple, cast
from unittest.mock import patch

import pytest
import yaml

from reconciler.adapters.manifests.reader import load_files
from reconciler.adapters.state.folder import FolderStore
from reconciler.adapters.state.history import FolderHistory
from reconciler.cli.services import Services
from reconciler.control.loop import Loop
from reconciler.control.manifest_follower import ParsedFiles
from reconciler.control.ports import Host, News
from reconciler.control.state import LoopServices
from reconciler.core import kinds
from reconciler.core.key import Key
from reconciler.core.manifest_files import FileSet, ManifestFile
from reconciler.core.records import Record
from reconciler.core.settings import PruneRails, Settings
from tests.toy_kind.row import NoteKind
from tests.unit.cli.fakes import Result, call
from tests.unit.corpus.worlds import list_worlds, read_world
from tests.unit.fake_clock import FakeClock
from tests.unit.loop.fakes import CountingMeter, ListJournal
from tests.unit.memory_host import MemoryHost

FIRST, SECOND = Key("Note", "first"), Key("Note", "second")


class Site(Services):
    """The services of a product that knows notes, a folder of manifests, and a daemon."""

    def __init__(self, folder: Path) -> None:
        """Begin with a host of a recorded world, and without any manifest or note."""
        super().__init__("test", {})
        self.notes, self.manifests, self.state = (
            folder / name for name in ("notes", "manifests", "state")
        )
        for each in (self.notes, self.manifests):
            each.mkdir()
        self.row = NoteKind(self.notes)
        self.host = MemoryHost(read_world(list_worlds()[0]).snapshot)
        self.journal, self.meter = ListJournal(), CountingMeter()
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"apiVersion: virt-reconciler/v1\nkind: Configuration\nspec:\n  state: {self.state}\n"
            f"  source: {{directory: {self.manifests}}}\n",
            encoding="utf-8",
        )
        self.loop = self._make_loop()

    def _make_loop(self) -> Loop:
        services = LoopServices(
            host=cast("Host", self.host),
            news=cast("News", None),
            store=FolderStore(str(self.state)),
            journal=self.journal,
            meter=self.meter,
            clock=FakeClock(),
            chance=lambda: 0.5,
            history=FolderHistory(str(self.state / "history")),
        )
        loop = Loop(services, Settings(prune=PruneRails(most=1, share=1.0), resync=0.0))
        loop.shared.unreached.clear()
        return loop

    def connect(self, uri: Any) -> Host:
        """Return the recorded host."""
        return cast("Host", self.host)

    def write(self, name: str, **spec: str) -> None:
        """Write a manifest of a note."""
        head = {"apiVersion": "virt-reconciler/v1", "kind": "Note", "metadata": {"name": name}}
        text = yaml.safe_dump({**head, "spec": spec})
        (self.manifests / f"{name}.yaml").write_text(text, encoding="utf-8")

    def run(self, *words: str) -> Result:
        """Run a command line."""
        return call(self, "--config", str(self.config), *words)

    def follow(self) -> None:
        """Have the daemon take the manifests, and look at what they concern and at all else."""
        files = tuple(
            ManifestFile(path.name, path.read_bytes()) for path in sorted(self.manifests.iterdir())
        )
        identity = str(hash(files))

        class Files:
            def read(self) -> FileSet:
                return FileSet(identity, "here", files, (), identity)

        self.loop.publish(ParsedFiles(cast("Any", Files()), load_files).take())
        self.work()

    def work(self) -> None:
        """Carry out what waits in the daemon's queue."""
        taken = self.loop.queue.take(0)
        while taken is not None:
            self.loop.work(*taken)
            self.loop.queue.done(taken[0])
            taken = self.loop.queue.take(0)

    def read(self, name: str) -> str:
        """Return what a note says."""
        content = json.loads((self.notes / f"{name}.json").read_text(encoding="utf-8"))
        return str(content["text"])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with patch.dict(kinds._LOADERS), patch.dict(kinds._ROWS):
        kinds.register_kind("Note", lambda: site.row)
        yield site


def test_validate_counts_notes_and_names_what_is_wrong_with_them(site: Site) -> None:
    site.write("first", text="hello")
    assert site.run("validate", str(site.manifests)).out == "Valid: 1 note.\n"
    site.write("second", text=" ", deletion="never")
    site.write("third", text="hello")
    done = site.run("validate", str(site.manifests))
    assert done.status == 65
    assert "spec.deletion: " in done.err
    assert "spec.text: is empty; write what the note says" in done.err
    assert "text hello is already used at" in done.err


def test_notes_in_a_circle_are_refused(site: Site) -> None:
    site.write("first", text="a", after="second")
    site.write("second", text="b", after="first")
    done = site.run("validate", str(site.manifests))
    assert "would have to be there before itself: first -> second -> first" in done.err


def test_plan_and_apply_make_a_note_and_then_there_is_nothing_to_do(site: Site) -> None:
    site.write("first", text="hello", after="second")
    site.write("second", text="world")
    plan = site.run("plan", str(site.manifests))
    assert "Note first" in plan.out
    assert "Plan: 2 to create, 0 to change" in plan.out
    done = site.run("apply", "--yes", str(site.manifests))
    assert done.status == 0, done
    assert "Applied: 2 created" in done.out
    assert site.read("first") == "hello"
    times = {name: (site.notes / f"{name}.json").stat().st_mtime_ns for name in ("first", "second")}
    assert times["second"] < times["first"], "what is needed comes first"
    assert site.run("plan", "--detailed-exitcode", str(site.manifests)).status == 0


def test_a_plan_file_is_refused_if_the_note_has_moved_on(site: Site, tmp_path: Path) -> None:
    site.write("first", text="hello")
    kept = tmp_path / "kept"
    assert site.run("plan", "--out", str(kept), str(site.manifests)).status == 0
    content = {"text": "meanwhile", "deletion": "orphan", "uuid": "u", "generation": "g"}
    (site.notes / "first.json").write_text(json.dumps(content), encoding="utf-8")
    done = site.run("apply", "--yes", str(kept))
    assert done.status == 4, done
    assert site.read("first") == "meanwhile"


def test_the_daemon_makes_a_note_and_brings_it_back(site: Site) -> None:
    site.write("first", text="hello")
    site.follow()
    status = site.run("status")
    assert "note/first" in status.out
    assert "5 letters" in status.out
    assert "1 note: 1 Ready." in status.out
    [shown] = json.loads(site.run("status", "--format", "json").out)["resources"]
    assert (shown["kind"], shown["name"], shown["status"]) == ("Note", "first", "Ready")
    content = json.loads((site.notes / "first.json").read_text(encoding="utf-8"))
    (site.notes / "first.json").write_text(json.dumps({**content, "text": "x"}), encoding="utf-8")
    site.loop.resync()
    site.work()
    assert site.read("first") == "hello"
    assert site.journal.lines("drift") == ["note/first: text: x -> hello; someone had changed it"]
    history = site.run("history", "first").out
    assert "created" in history
    assert "text (live)" in history
    full = site.run("history", "note/first", "2").out
    assert "text: x → hello" in full


def test_a_failure_is_shown_and_tried_again_when_asked(site: Site) -> None:
    site.write("first", text="hello")
    site.row.broken = True
    site.follow()
    assert "the pencil is broken" in site.run("status", "first").out
    site.row.broken = False
    site.loop.shared.services.store.order_retry(FIRST)  # type: ignore[attr-defined]
    site.loop.reread_orders()
    site.work()
    assert site.read("first") == "hello"


def test_news_of_what_a_note_needs_has_it_tried_again(site: Site) -> None:
    site.write("second", text="b")
    site.follow()
    site.row.broken = True
    site.write("first", text="a", after="second")
    site.follow()
    site.row.broken = False
    site.loop.surroundings_changed("note", "third")
    site.work()
    assert [path.stem for path in site.notes.iterdir()] == ["second"]
    site.loop.surroundings_changed("note", "second")
    site.work()
    assert site.read("first") == "a"


def test_a_suspended_note_is_left_alone_until_it_is_resumed(site: Site) -> None:
    site.write("first", text="hello")
    site.follow()
    done = site.run("suspend", "first", "--reason", "why not")
    assert done.out.startswith("note/first: suspended\n"), done
    site.loop.reread_orders()
    site.write("first", text="other")
    site.follow()
    assert site.read("first") == "hello"
    assert "Suspended" in site.run("status").out
    assert site.run("resume", "note/first").out.startswith("note/first: resumed")
    site.loop.reread_orders()
    site.work()
    assert site.read("first") == "other"


def leave(site: Site) -> None: ...


def suspend(site: Site) -> None:
    site.loop.shared.suspended = frozenset({FIRST})


def break_pencil(site: Site) -> None:
    (site.notes / "first.json").unlink()
    site.row.broken = True


def break_reading(site: Site) -> None:
    (site.notes / "first.json").write_text("{}", encoding="utf-8")


def lose_libvirt(site: Site) -> None:
    site.row.drivers = ("qemu",)
    site.loop.shared.unreached["qemu"] = "gone"


def doom(site: Site) -> None:
    (site.manifests / "first.yaml").unlink()
    site.follow()
    site.loop.resync()


def doom_in_vain(site: Site) -> None:
    doom(site)
    site.row.broken = True


WAYS: Mapping[str, Tuple[Callable[[Site], None], List[str]]] = {
    "nothing to do": (leave, ["first"]),
    "suspended": (suspend, ["first"]),
    "failed": (break_pencil, ["first"]),
    "a fault of ours": (break_reading, ["first"]),
    "libvirt is away": (lose_libvirt, ["first"]),
    "deleted": (doom, []),
    "not deleted": (doom_in_vain, ["first"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_out_of_a_pass_writes_the_status_once(way: str, site: Site) -> None:
    site.write("first", text="hello", deletion="delete")
    site.write("second", text="stays")
    site.follow()
    prepare, expected = WAYS[way]
    prepare(site)
    written: List[str] = []
    put = site.loop.shared.ledger.put

    def count(record: Record) -> None:
        written.append(record.name)
        put(record)

    site.loop.shared.ledger.put = count  # type: ignore[method-assign]
    site.loop.work(FIRST, 0.0)
    assert written == expected
    assert (FIRST in site.loop.shared.ledger.all()) == bool(expected)


def test_what_is_exported_is_valid_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    site.write("first", text="hello", deletion="delete")
    site.follow()
    done = site.run("export", "note/first")
    (tmp_path / "exported.yaml").write_text(done.out, encoding="utf-8")
    assert site.run("validate", str(tmp_path / "exported.yaml")).status == 0
    plan = site.run("plan", str(tmp_path / "exported.yaml"))
    assert "0 to create, 0 to change" in plan.out
    assert site.run("export", "note/none").status == 1


def test_a_note_without_a_manifest_is_deleted_as_it_says_itself(site: Site) -> None:
    for name, deletion in (("first", "delete"), ("second", "orphan"), ("third", "delete")):
        site.write(name, text=name, deletion=deletion)
    site.follow()
    site.run("suspend", "third")
    site.loop.reread_orders()
    site.write("fourth", text="stays")
    for name in ("first", "second", "third"):
        (site.manifests / f"{name}.yaml").unlink()
    site.follow()
    site.loop.resync()
    site.work()
    assert sorted(path.stem for path in site.notes.iterdir()) == ["fourth", "second", "third"]
    assert site.journal.lines("pruned") == ["note/first: deleted: its manifest is gone"]


def test_too_many_notes_are_not_deleted_without_a_persons_word(site: Site) -> None:
    for name in ("first", "second", "third"):
        site.write(name, text=name, deletion="delete")
    site.follow()
    for name in ("first", "second"):
        (site.manifests / f"{name}.yaml").unlink()
    site.follow()
    site.loop.resync()
    site.work()
    assert site.read("first") == "first"
    shown = site.run("prune", "--yes")
    assert shown.status == 0, shown
    assert "Note first" in shown.out
    assert "prune.most allows 1 at once" in shown.out
    site.loop.reread_orders()
    site.loop.resync()
    site.work()
    assert [path.stem for path in site.notes.iterdir()] == ["third"]


def test_a_rollback_says_that_it_cannot(site: Site) -> None:
    site.write("first", text="hello")
    site.follow()
    done = site.run("rollback", "first", "--yes")
    assert done.status == 4
    assert "note/first: a change of a note cannot be rolled back" in done.err


def test_its_schema_is_printed(site: Site) -> None:
    assert site.run("schema", "Note").out.lstrip().startswith("{")


def test_an_apply_that_the_daemon_would_undo_is_withheld(site: Site) -> None:
    site.write("first", text="hello")
    site.follow()
    site.write("first", text="other")
    with FolderStore(str(site.state)).lock():
        done = site.run("apply", "--yes", str(site.manifests))
    assert done.status == 4
    assert "would undo this" in done.out
    assert "or first: virt-reconciler suspend note/first" in done.out
    assert site.read("first") == "hello"
