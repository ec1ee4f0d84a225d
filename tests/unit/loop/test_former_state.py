"""A state folder that a version wrote which knew objects by name alone: read, moved, never misread.

`tests/unit/former/state` was written by such a version. One of its machines is called like a kind.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import List

import pytest

from reconciler.adapters.state.folder import FolderStore
from reconciler.adapters.state.history import FolderHistory
from reconciler.core.history import DONE, ChangeCause, ChangeRecord, LastKnown
from reconciler.core.key import Key
from reconciler.core.records import Record, Suspension
from tests.lab.keys import vm

FORMER = Path(__file__).parents[1] / "former" / "state"
MACHINES = {vm("VirtualMachine"), vm("db.1"), vm("web01")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy that may be written to."""
    return Path(shutil.copytree(FORMER, tmp_path / "state"))


@pytest.fixture(params=["where it was", "moved"])
def store(folder: Path, request: pytest.FixtureRequest) -> FolderStore:
    """Return the store before and after a daemon of this version has started on it."""
    store = FolderStore(str(folder))
    if request.param == "moved":
        with store.lock():
            pass
        assert list_files(folder / "objects") == [
            "VirtualMachine/VirtualMachine.json", "VirtualMachine/db%2E1.json",
            "VirtualMachine/web01.json",
        ]  # fmt: skip
    return store


def list_files(folder: Path) -> List[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_records_and_orders_are_those_of_machines(store: FolderStore) -> None:
    records = store.load_records()
    assert set(records) == MACHINES
    web = records[vm("web01")]
    assert (web.uuid, web.condition("Ready").holds) == (
        "11111111-2222-3333-4444-555555555555",
        True,
    )
    assert records[vm("db.1")].failures == 3
    suspended = store.suspended()
    assert set(suspended) == {vm("web01"), vm("Host")}
    assert (suspended[vm("web01")].by, suspended[vm("web01")].why) == ("alice", "hands off")
    assert store.take_retries() == {vm("db.1")}
    assert store.take_retries() == frozenset()
    assert store.load_placements() == {vm("db.1"): "kvm02"}
    assert store.confirmed_prune() == store.read_source().identity
    assert store.read_source().prune_held == ("db.1", "web01")
    assert store.find_broken() == ()


def test_what_is_written_takes_the_place_of_what_was(store: FolderStore, folder: Path) -> None:
    store.save_record(Record("web01", "off"))
    store.save_record(Record("web01", "", kind="Host"))
    store.suspend(Suspension("web01", 7.0, "bob"))
    store.forget_record(vm("db.1"))
    records = store.load_records()
    assert set(records) == {Key("Host", "web01"), vm("web01"), vm("VirtualMachine")}
    assert (records[vm("web01")].state, records[Key("Host", "web01")].state) == ("off", "")
    assert store.suspended()[vm("web01")].by == "bob"
    assert "web01.json" not in os.listdir(folder / "objects")
    with store.lock():
        assert set(store.load_records()) == set(records)


def test_a_suspension_ends_wherever_it_was_written(store: FolderStore) -> None:
    assert not store.resume(Key("Host", "Host"))
    assert store.resume(vm("Host"))
    assert set(store.suspended()) == {vm("web01")}
    store.suspend(Suspension("Host", 7.0, kind="Host"))
    assert set(store.suspended()) == {vm("web01"), Key("Host", "Host")}


def test_a_placement_is_written_with_its_kind(store: FolderStore) -> None:
    placed = {**store.load_placements(), Key("Note", "db.1"): "kvm03"}
    store.save_placements(placed)
    assert store.load_placements() == placed


def test_a_history_is_read_and_goes_on_with_the_next_number(folder: Path) -> None:
    history = FolderHistory(str(folder / "history"))
    assert history.list_keys() == {vm("web01"), vm("VirtualMachine")}
    entries = history.list(vm("web01"))
    assert [(past.number, past.action, past.outcome) for past in entries] == [
        (2, "update", DONE), (1, "create", DONE),
    ]  # fmt: skip
    last = history.find_last(vm("web01"))
    assert last is not None
    assert "<name>web01</name>" in last.xml
    begun = history.begin(ChangeRecord("web01", 9.0, ChangeCause("alice", "apply"), "update"))
    assert [past.number for past in history.list(vm("web01"))] == [3, 2, 1]
    assert history.list(vm("web01"))[1:] == entries
    history.end(replace(entries[0], error="x"))
    assert [past.error for past in history.list(vm("web01"))] == ["", "x", ""]
    assert begun.number == 3
    assert list_files(folder / "history") == [
        "VirtualMachine/last.json", "VirtualMachine/web01/1.json", "VirtualMachine/web01/2.json",
        "VirtualMachine/web01/3.json", "VirtualMachine/web01/last.json",
    ]  # fmt: skip


def test_a_machine_that_is_called_like_a_kind_keeps_its_history(folder: Path) -> None:
    history = FolderHistory(str(folder / "history"))
    machine = vm("VirtualMachine")
    former = history.find_last(machine)
    history.begin(ChangeRecord("web01", 9.0, ChangeCause("alice", "apply"), "update"))
    assert former is not None
    assert history.find_last(machine) == former
    history.keep(LastKnown("VirtualMachine", former.at + 5, former.uuid, "<domain/>"))
    again = history.find_last(machine)
    assert again is not None
    assert again.xml == "<domain/>"
    assert history.list_keys() == {vm("web01"), machine}
    assert history.list(Key("Host", "web01")) == ()
