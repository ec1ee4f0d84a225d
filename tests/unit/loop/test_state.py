"""The daemon's memory on disk: whole or not at all, and no file can stop anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.state import FolderStore
from reconciler.adapters.state.files import file_name, object_name
from reconciler.core.loop.record import LastChange, Record, SourceRecord, Suspension
from reconciler.core.status import Condition
from reconciler.errors import RefusedError, TransientError

RECORD = Record(
    "vm",
    "running",
    "g2",
    "g1",
    "abc",
    (Condition("Ready", holds=None, reason="why"), Condition("Stalled", holds=True)),
    LastChange(12.5, "abc", "created"),
    "no",
    3,
    99.0,
    "uuid",
    "abc",
    "vm.yaml:1:1: bad",
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "state"))


def test_nothing_is_there_at_first(store: FolderStore) -> None:
    assert store.load_records() == {}
    assert store.load_source() == SourceRecord()
    assert store.suspended() == {}
    assert store.confirmed_prune() == ""
    assert store.find_daemon() is None


def test_records_come_back_as_they_were_written(store: FolderStore) -> None:
    source = SourceRecord("abc", "abc", 1.0, problems=("a", "b"), prune_held=("vm",))
    store.save_record(RECORD)
    store.save_source(source)
    assert store.load_records() == {"vm": RECORD}
    assert (store.load_source(), store.read_source()) == (source, source)
    store.forget_record("vm")
    store.forget_record("vm")
    assert store.load_records() == {}


def test_files_can_be_read_by_people_and_not_by_everybody(
    store: FolderStore, tmp_path: Path
) -> None:
    store.save_record(RECORD)
    path = tmp_path / "state" / "objects" / "vm.json"
    assert json.loads(path.read_text(encoding="utf-8"))["observedGeneration"] == "g1"
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o750 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=40))
def test_every_name_has_a_file_name_of_its_own(name: str) -> None:
    file = file_name(name)
    assert object_name(file) == name
    assert "/" not in file
    assert not file.startswith(".")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"formatVersion": 2}', '{"formatVersion": 1, "name": "other"}']
)
def test_a_file_that_makes_no_sense_counts_as_not_there(
    store: FolderStore, tmp_path: Path, content: str
) -> None:
    store.save_record(RECORD)
    (tmp_path / "state" / "objects" / "odd.json").write_text(content, encoding="utf-8")
    (tmp_path / "state" / "source.json").write_text(content, encoding="utf-8")
    assert list(store.load_records()) == ["vm"]
    assert store.load_source().revision is None


def test_what_a_newer_version_has_written_is_read_as_far_as_it_is_known(
    store: FolderStore, tmp_path: Path
) -> None:
    store.save_record(RECORD)
    path = tmp_path / "state" / "objects" / "vm.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, "future": 1}), encoding="utf-8")
    assert store.load_records() == {"vm": RECORD}


def test_a_failed_write_leaves_the_former_file(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.save_record(RECORD)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(TransientError, match=r"vm.json: cannot be written: No space left"):
            store.save_record(Record("vm"))
    assert store.load_records() == {"vm": RECORD}
    assert [one.name for one in (tmp_path / "state" / "objects").iterdir()] == ["vm.json"]


def test_a_suspension_holds_even_if_its_file_makes_no_sense(
    store: FolderStore, tmp_path: Path
) -> None:
    store.suspend(Suspension("vm", 5.0, "root", "maintenance"))
    assert store.suspended() == {"vm": Suspension("vm", 5.0, "root", "maintenance")}
    (tmp_path / "state" / "suspended" / "vm.json").write_text("", encoding="utf-8")
    assert list(store.suspended()) == ["vm"]
    assert store.resume("vm")
    assert not store.resume("vm")
    assert store.suspended() == {}


def test_a_confirmation_is_used_up_by_other_manifests(store: FolderStore) -> None:
    store.save_source(SourceRecord("a", "a"))
    store.confirm_prune("a")
    store.save_source(SourceRecord("a", "a", error="for a moment"))
    assert store.confirmed_prune() == "a"
    store.save_source(SourceRecord("b", "b"))
    store.save_source(SourceRecord("a", "a"))
    assert store.confirmed_prune() == ""


def test_only_one_daemon_runs_on_a_state(store: FolderStore, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom reconciler.adapters.state import FolderStore\n"
        "with FolderStore(sys.argv[1]).lock():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RefusedError, match=rf"process {other.pid}\)"), store.lock():
            pass
        assert store.find_daemon() == other.pid
        other.kill()
    assert store.find_daemon() is None
    with store.lock():
        pass
