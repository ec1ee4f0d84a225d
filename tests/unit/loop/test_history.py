"""What was done to machines, on disk: in order, bounded, and never in the way of the work."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Optional, cast

import pytest

from reconciler.adapters.state.history import KEPT, FolderHistory
from reconciler.control.change_recorder import ChangeRecorder, DaemonRecorder, RecordingReporter
from reconciler.control.ports import Host
from reconciler.control.state import LoopServices
from reconciler.core.history import (
    DONE,
    FAILED,
    UNFINISHED,
    ChangeCause,
    ChangeRecord,
    FormerDomain,
    RecordedChange,
    choose,
    conclude,
    find_former_sizes,
)
from reconciler.core.key import Key
from reconciler.core.plan import Action, ActionKind, Before, Change, Effect, Outcome
from reconciler.core.world import DomainView, GuestState
from reconciler.core.xmltree import digest
from reconciler.errors import NotFoundError, RefusedError, TransientError
from tests.lab.keys import vm
from tests.unit.fake_clock import FakeClock
from tests.unit.full_disk import full_disk

from .fakes import ListJournal, MemoryHistory

XML = "<domain><name>vm</name><graphics type='vnc' passwd='hunter2'/></domain>"
VIEW = DomainView("vm", "uuid", GuestState.RUNNING, XML, XML, autostart=True)
CHANGE = RecordedChange("memory.size", 1, 2, "live", "why")
PAST = ChangeRecord(
    "vm", 12.5, ChangeCause("alice", "apply", "abc"), "update", (CHANGE,), ("Define",), ("a note",),
    FormerDomain("<domain/>", "uuid", running=True),
)  # fmt: skip


@pytest.fixture
def history(tmp_path: Path) -> FolderHistory:
    return FolderHistory(str(tmp_path / "state" / "history"))


def fill(history: FolderHistory, count: int) -> List[ChangeRecord]:
    return [history.begin(replace(PAST, at=float(number))) for number in range(count)]


def test_entries_come_back_as_they_were_written_newest_first(history: FolderHistory) -> None:
    first, second = fill(history, 2)
    ended = conclude(second, Outcome("vm", ActionKind.UPDATE))
    history.end(ended)
    assert [one.number for one in (first, second)] == [1, 2]
    assert history.list(vm("vm")) == (ended, first)
    assert (ended.outcome, first.outcome) == (DONE, UNFINISHED)
    assert history.list(vm("other")) == ()


def test_the_newest_are_kept_and_no_number_is_given_twice(history: FolderHistory) -> None:
    fill(history, KEPT + 5)
    numbers = [one.number for one in history.list(vm("vm"))]
    assert numbers == list(range(KEPT + 5, 5, -1))


def test_a_full_disk_costs_the_new_entry_and_nothing_that_was_there(
    history: FolderHistory, tmp_path: Path
) -> None:
    [first] = fill(history, 1)
    with full_disk(), pytest.raises(TransientError, match="vm: cannot be written: File too large"):
        history.begin(PAST)
    with full_disk(), pytest.raises(TransientError, match=r"1\.json: cannot be written"):
        history.end(conclude(first, Outcome("vm", ActionKind.UPDATE)))
    assert history.list(vm("vm")) == (first,)
    assert [
        one.name for one in (tmp_path / "state" / "history" / "VirtualMachine" / "vm").iterdir()
    ] == ["1.json"]
    assert history.begin(PAST).number == 2


def test_people_can_read_them_and_not_everybody(history: FolderHistory, tmp_path: Path) -> None:
    fill(history, 1)
    path = tmp_path / "state" / "history" / "VirtualMachine" / "vm" / "1.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    assert (data["cause"]["who"], data["changes"][0]["path"]) == ("alice", "memory.size")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"formatVersion": 1, "name": "other"}', "\0"])
def test_a_file_that_makes_no_sense_counts_as_not_there(
    history: FolderHistory, tmp_path: Path, text: str
) -> None:
    fill(history, 2)
    (tmp_path / "state" / "history" / "VirtualMachine" / "vm" / "2.json").write_text(
        text, encoding="utf-8"
    )
    assert [one.number for one in history.list(vm("vm"))] == [1]
    assert history.begin(PAST).number == 3


def test_one_more_try_takes_the_place_of_the_failed_one(history: FolderHistory) -> None:
    [done] = fill(history, 1)
    history.end(conclude(done, Outcome("vm", ActionKind.UPDATE)))
    for at in range(50):
        again = history.begin(replace(PAST, at=100.0 + at))
        history.end(conclude(again, Outcome("vm", ActionKind.UPDATE, "no space")))
    assert [(one.number, one.at, one.error) for one in history.list(vm("vm"))] == [
        (2, 149.0, "no space"), (1, 0.0, ""),
    ]  # fmt: skip
    assert history.begin(replace(PAST, action="adopt")).number == 3


def test_numbers_are_not_shared_by_those_who_write_at_once(history: FolderHistory) -> None:
    threads = [threading.Thread(target=fill, args=(history, 5)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.number for one in history.list(vm("vm"))] == list(range(20, 0, -1))


@pytest.mark.parametrize("name", ["a.b", "..", "a/b", "Prüfstand"])
def test_any_name_has_a_folder_of_its_own(history: FolderHistory, name: str) -> None:
    history.begin(replace(PAST, name=name))
    assert [one.name for one in history.list(vm(name))] == [name]
    assert len(os.listdir(os.path.join(history.folder, "VirtualMachine"))) == 1
    assert history.list_keys() == {vm(name)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_is_the_daemons(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 4711, 4712)
    fill(FolderHistory(str(state / "history")), 1)
    made = [
        state / "history",
        state / "history" / "VirtualMachine",
        state / "history" / "VirtualMachine" / "vm",
        state / "history" / "VirtualMachine" / "vm" / "1.json",
    ]
    assert {(one.stat().st_uid, one.stat().st_gid) for one in made} == {(4711, 4712)}


class Domains:
    """One domain, or none."""

    def __init__(self, view: Optional[DomainView]) -> None:
        self.view = view

    def read_domain(self, name: str) -> DomainView:
        if self.view is None:
            raise NotFoundError(name)
        return self.view


class OneHost:
    """A host that has it."""

    def __init__(self, view: Optional[DomainView] = VIEW) -> None:
        self.domains = Domains(view)


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.words: List[str] = []

    def started(self, action: Action) -> None:
        self.words.append("started")

    def progress(self, what: str, done: int, total: int) -> None:
        self.words.append(what)

    def finished(self, outcome: Outcome) -> None:
        self.words.append("finished")


ACTION = Action(
    "VirtualMachine", "vm", ActionKind.UPDATE,
    (
        Change("xml[/domain/devices/graphics/@passwd]", "hunter1", "hunter2", Effect.LIVE),
        Change("xml[/domain/x[@token='hunter3']]", "1", "2", Effect.LIVE, "no password=hunter4"),
    ),
    before=Before(digest(XML), GuestState.RUNNING),
    notes=("https://me:hunter5@host/ cannot be opened",),
)  # fmt: skip


def record(history: MemoryHistory, told: Told, host: Optional[OneHost] = None) -> RecordingReporter:
    chronicle = ChangeRecorder(
        history, ChangeCause("alice", "apply"), lambda: 7.0, told.words.append
    )
    return chronicle.on(cast("Host", host or OneHost()), told)


def test_what_was_there_is_written_down_before_the_work_and_without_secrets() -> None:
    history, told = MemoryHistory(), Told()
    recording = record(history, told)
    recording.started(ACTION)
    [begun] = history.entries
    assert begun.former is not None
    assert (begun.at, begun.outcome, begun.former.running, begun.former.autostart) == (
        7.0, UNFINISHED, True, True,
    )  # fmt: skip
    assert "hunter" not in repr(begun)
    recording.progress("50 %", 1, 2)
    recording.finished(Outcome("vm", ActionKind.UPDATE, "passwd='hunter2' is refused"))
    assert history.entries[0].outcome == FAILED
    assert "hunter" not in repr(history.entries)
    assert told.words == ["started", "50 %", "finished"]


def test_what_has_moved_on_leaves_nothing() -> None:
    history, told = MemoryHistory(), Told()
    recording = record(history, told, OneHost(replace(VIEW, persistent_xml="<domain/>")))
    recording.started(ACTION)
    recording.finished(Outcome("vm", ActionKind.UPDATE, "moved on"))
    assert history.entries == []
    assert told.words == ["started", "finished"]


def test_what_is_done_to_a_host_is_written_down_with_what_was_before() -> None:
    history = MemoryHistory()
    recording = record(history, Told(), OneHost(None))
    recording.started(replace(ACTION, kind="Host", name="kvm01"))
    recording.finished(Outcome("kvm01", ActionKind.UPDATE))
    [entry] = history.list(Key("Host", "kvm01"))
    assert (entry.outcome, entry.former) == (DONE, None)
    assert entry.changes[1].observed == "1"
    assert history.last == {}


def test_a_creation_has_nothing_before_it() -> None:
    history = MemoryHistory()
    recording = record(history, Told(), OneHost(None))
    recording.started(replace(ACTION, action=ActionKind.CREATE, before=Before(None)))
    assert history.entries[0].former is None


def test_a_history_that_cannot_be_written_is_told_and_stops_nothing() -> None:
    history, told = MemoryHistory(), Told()
    history.broken = TransientError("no space left")
    recording = record(history, told)
    recording.started(ACTION)
    recording.finished(Outcome("vm", ActionKind.UPDATE))
    assert told.words == [
        "the history cannot be written; the change is applied without a record: no space left", "started", "finished",
    ]  # fmt: skip


def test_the_daemon_tells_that_once() -> None:
    history, journal = MemoryHistory(), ListJournal()
    history.broken = TransientError("no space left")
    none = cast("Any", None)
    services = LoopServices(
        host=cast("Host", OneHost()),
        news=none,
        store=none,
        journal=journal,
        meter=none,
        clock=FakeClock(),
        chance=lambda: 0.0,
        history=history,
    )
    book = DaemonRecorder(services)
    for _ in range(3):
        book.on(Told(), "abc").started(ACTION)
    assert journal.lines("failed") == [
        "the history cannot be written; the change is applied without a record: no space left"
    ]


def entry(number: int, outcome: str = DONE, **size: int) -> ChangeRecord:
    changes = tuple(
        RecordedChange(f"disks[{disk}].size", observed, observed * 2, "live")
        for disk, observed in size.items()
    )
    return replace(PAST, number=number, outcome=outcome, changes=changes)


def test_the_last_change_is_the_last_that_was_carried_out() -> None:
    entries = [entry(4, FAILED), entry(3, UNFINISHED), entry(2), entry(1)]
    assert choose(entries, None, "vm").number == 3
    assert choose(entries, 2, "vm").number == 2
    with pytest.raises(RefusedError, match="no change 9 in its history; there are: 4, 3, 2, 1"):
        choose(entries, 9, "vm")
    with pytest.raises(RefusedError, match="no change is known"):
        choose([entry(1, FAILED)], None, "vm")


def rolled(number: int, outcome: str, back_to: int) -> ChangeRecord:
    return replace(entry(number, outcome), cause=ChangeCause("root", "rollback", back_to=back_to))


def test_an_interrupted_rollback_goes_on_to_where_it_was_going() -> None:
    entries = [rolled(5, UNFINISHED, 2), rolled(4, UNFINISHED, 2), entry(3), entry(2), entry(1)]
    assert choose(entries, None, "vm").number == 2
    assert choose(entries, 5, "vm").number == 5, "a number is obeyed"
    with pytest.raises(RefusedError, match="no change 2"):
        choose(entries[:3], None, "vm")


def test_what_was_finished_by_a_second_try_is_taken_back_from_before_the_first() -> None:
    assert choose([rolled(5, DONE, 2), rolled(4, UNFINISHED, 2), entry(3)], None, "vm").number == 4
    assert choose([entry(3), entry(2, UNFINISHED), entry(1)], None, "vm").number == 2
    assert choose([entry(3), rolled(2, UNFINISHED, 1), entry(1)], None, "vm").number == 3


def test_a_disk_had_the_size_from_before_the_first_growth_that_is_taken_back() -> None:
    entries = [entry(4, root=40), entry(3, FAILED, root=1), entry(2, root=20, data=5), entry(1, root=10)]  # fmt: skip
    assert find_former_sizes(entries, 2) == {"root": 20, "data": 5}
    assert find_former_sizes(entries, 4) == {"root": 40}
