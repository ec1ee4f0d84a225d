"""The daemon's memory on disk: whole or not at all, and no file can stop anything."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.adapters.state import folder
from reconciler.adapters.state.files import (
    file_name,
    object_name,
    to_data,
    to_record,
    to_source,
    to_suspension,
)
from reconciler.adapters.state.folder import FolderStore
from reconciler.core.conditions import Condition
from reconciler.core.records import LastChange, Record, SourceRecord, Suspension
from reconciler.errors import RefusedError, TransientError
from tests.lab.keys import vm

ROOT = Path(__file__).parents[3]

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
    assert store.load_records() == {vm("vm"): RECORD}
    assert (store.load_source(), store.read_source()) == (source, source)
    store.forget_record(vm("vm"))
    store.forget_record(vm("vm"))
    assert store.load_records() == {}


def test_files_can_be_read_by_people_and_not_by_everybody(
    store: FolderStore, tmp_path: Path
) -> None:
    store.save_record(RECORD)
    path = tmp_path / "state" / "objects" / "VirtualMachine" / "vm.json"
    assert json.loads(path.read_text(encoding="utf-8"))["observedGeneration"] == "g1"
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.parent.stat().st_mode & 0o777 == 0o750 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# Whatever libvirt or a command line may hold: bytes that are no text come as lone surrogates.
NAMES = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=40) | st.binary(
    min_size=1, max_size=40
).map(os.fsdecode)


@given(NAMES)
@example(".")
@example("..")
@example("../../etc/passwd")
@example("a%2Fb")
@example("\x00\n")
@example("\udcff")
def test_every_name_has_a_file_name_of_its_own(name: str) -> None:
    file = file_name(name)
    assert object_name(file) == name
    assert "/" not in file
    assert "\x00" not in file
    assert not file.startswith(".")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vm006-win2016", "vm006-win2016.json"),
        ("web 01_b", "web 01_b.json"),
        ("a.example.org", "a%2Eexample%2Eorg.json"),
        ("..", "%2E%2E.json"),
        ("a/b", "a%2Fb.json"),
        ("Prüfstand-試験", "Prüfstand-試験.json"),
    ],
)
def test_people_find_an_object_by_its_file_name(name: str, file: str) -> None:
    assert file_name(name) == file


def test_a_name_of_eighty_letters_of_another_script_has_a_file(store: FolderStore) -> None:
    name = "試" * 80  # 240 bytes; libvirt's own file takes 251
    store.save_record(Record(name))
    assert list(store.load_records()) == [vm(name)]


@pytest.mark.parametrize("file", ["vm", "a%2fb.json", "a.b.json", ".vm.json", "%zz.json"])
def test_what_no_object_is_named_like_is_none_of_ours(file: str) -> None:
    assert object_name(file) is None


SENSELESS = [
    "",
    "{",
    "[]",
    "[" * 100_000,
    "null",
    "\x00",
    '{"formatVersion": 2}',
    '{"formatVersion": 1, "name": "other", "revision": 7}',
    '{"formatVersion": 1, "name": "odd", "problems": "no list", "conditions": {}}',
    '{"formatVersion": 1, "name": "odd", "since": NaN, "nextTry": NaN}',
    '{"formatVersion": 1, "name": "odd", "since": true, "nextTry": true}',
    '{"formatVersion": 1, "name": "odd", "since": 1e999, "nextTry": 1e300}',
    '{"formatVersion": 1, "name": "odd", "since": "x", "lastChange": {"at": "x"}}',
]


@pytest.mark.parametrize("content", SENSELESS, ids=lambda one: one[:50])
def test_a_file_that_makes_no_sense_counts_as_not_there_and_is_named(
    store: FolderStore, tmp_path: Path, content: str
) -> None:
    store.save_record(RECORD)
    odd, source = (
        tmp_path / "state" / "objects" / "VirtualMachine" / "odd.json",
        tmp_path / "state" / "source.json",
    )
    for path in (odd, source):
        path.write_text(content, encoding="utf-8")
    assert list(store.load_records()) == [vm("vm")]
    assert store.load_source() == SourceRecord()
    assert [one.partition(": ")[0] for one in store.find_broken()] == [str(odd), str(source)]
    store.save_record(Record("odd"))
    store.save_source(SourceRecord("abc"))
    assert store.find_broken() == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["at", "what", "type", "holds"]), inner),
    max_leaves=4,
)
FIELDS = sorted({*to_data(RECORD), *to_data(SourceRecord()), *to_data(Suspension("vm", 1.0))})


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_a_file_holds_is_used_or_named_and_never_more(data: Dict[str, Any]) -> None:
    for build in (to_record, to_source, to_suspension):
        try:
            value: object = build(data)
        except ValueError:
            continue
        assert build(json.loads(json.dumps(to_data(value)))) == value


def test_what_is_none_of_ours_is_named_and_left_there(store: FolderStore, tmp_path: Path) -> None:
    store.save_record(RECORD)
    foreign = tmp_path / "state" / "objects" / "VirtualMachine" / "notes.txt"
    foreign.write_text("mine", encoding="utf-8")
    assert store.find_broken() == (f"{foreign}: was not written by virt-reconciler",)
    with store.lock():
        assert foreign.exists()


def test_a_folder_that_cannot_be_read_is_an_error_and_not_empty(
    store: FolderStore, tmp_path: Path
) -> None:
    (tmp_path / "state").mkdir()
    for name in ("objects", "suspended"):
        (tmp_path / "state" / name).write_text("", encoding="utf-8")
    for read in (store.load_records, store.suspended, store.find_broken):
        with pytest.raises(TransientError, match="cannot be read: Not a directory"):
            read()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    store = FolderStore(str(tmp_path / "file" / "state"))
    writes: List[Callable[[], None]] = [
        lambda: store.save_record(RECORD),
        lambda: store.suspend(Suspension("vm", 1.0)),
        lambda: store.confirm_prune("abc"),
    ]
    for write in writes:
        with pytest.raises(TransientError, match=r"/file/state.*: cannot be written: (Not a|File)"):
            write()
    with pytest.raises(TransientError, match=r"/file/state: cannot be written"), store.lock():
        store.touch()  # the daemon runs all the same


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_orders_can_be_read_by_the_daemon(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 12345, 54321)
    store.suspend(Suspension("vm", 1.0))
    store.confirm_prune("abc")
    for name in (
        "suspended",
        "suspended/VirtualMachine",
        "suspended/VirtualMachine/vm.json",
        "prune.json",
    ):
        found = (tmp_path / "state" / name).stat()
        assert (found.st_uid, found.st_gid) == (12345, 54321), name


def test_what_a_newer_version_has_written_is_read_as_far_as_it_is_known(
    store: FolderStore, tmp_path: Path
) -> None:
    store.save_record(RECORD)
    path = tmp_path / "state" / "objects" / "VirtualMachine" / "vm.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, "future": 1}), encoding="utf-8")
    assert store.load_records() == {vm("vm"): RECORD}


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
    assert store.load_records() == {vm("vm"): RECORD}
    assert [one.name for one in (tmp_path / "state" / "objects" / "VirtualMachine").iterdir()] == [
        "vm.json"
    ]


def test_who_is_killed_while_writing_leaves_the_former_file(
    store: FolderStore, tmp_path: Path
) -> None:
    store.save_record(RECORD)
    code = (
        "import os, signal, sys\n"
        "from reconciler.adapters.state.folder import FolderStore\n"
        "from reconciler.core.records import Record\n"
        "def half(handle, _mode):\n"
        "    os.ftruncate(handle, os.fstat(handle).st_size // 2)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.fchmod = half\n"
        "FolderStore(sys.argv[1]).save_record(Record('vm', 'off'))\n"
    )
    run = subprocess.run([sys.executable, "-c", code, store.folder], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert store.load_records() == {vm("vm"): RECORD}
    assert store.find_broken() == ()
    [left] = [
        one
        for one in (tmp_path / "state" / "objects" / "VirtualMachine").iterdir()
        if one.name != "vm.json"
    ]
    with store.lock():
        assert left.exists()  # somebody may be writing it
    os.utime(left, (1.0, 1.0))
    with store.lock():
        assert not left.exists()
    assert store.load_records() == {vm("vm"): RECORD}


def test_readers_never_see_half_a_record(store: FolderStore) -> None:
    long = Record("vm", last_error="x" * 100_000)
    store.save_record(long)
    stop = threading.Event()

    def write(record: Record) -> None:
        while not stop.is_set():
            store.save_record(record)

    writers = [threading.Thread(target=write, args=(one,)) for one in (RECORD, long)]
    for one in writers:
        one.start()
    seen = [store.load_records().get(vm("vm")) for _ in range(200)]
    stop.set()
    for one in writers:
        one.join()
    assert set(seen) <= {RECORD, long}


def test_a_suspension_holds_even_if_its_file_makes_no_sense(
    store: FolderStore, tmp_path: Path
) -> None:
    store.suspend(Suspension("vm", 5.0, "root", "maintenance"))
    assert store.suspended() == {vm("vm"): Suspension("vm", 5.0, "root", "maintenance")}
    (tmp_path / "state" / "suspended" / "VirtualMachine" / "vm.json").write_text(
        "", encoding="utf-8"
    )
    assert list(store.suspended()) == [vm("vm")]
    assert store.resume(vm("vm"))
    assert not store.resume(vm("vm"))
    assert store.suspended() == {}


def test_a_confirmation_is_used_up_by_other_manifests(store: FolderStore) -> None:
    store.save_source(SourceRecord("a", "a"))
    store.confirm_prune("a")
    store.save_source(SourceRecord("a", "a", error="for a moment"))
    assert store.confirmed_prune() == "a"
    store.save_source(SourceRecord("b", "b"))
    store.save_source(SourceRecord("a", "a"))
    assert store.confirmed_prune() == ""


@contextmanager
def other_daemon(store: FolderStore) -> Iterator[int]:
    """Run another process that holds the lock."""
    code = (
        "import sys, time\nfrom reconciler.adapters.state.folder import FolderStore\n"
        "with FolderStore(sys.argv[1]).lock():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, store.folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield other.pid
        other.kill()


def test_only_one_daemon_runs_on_a_state(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "TRIES", 2)
    with other_daemon(store) as process:
        holder = rf"another virt-reconciler \(process {process}, since \d{{4}}-"
        with pytest.raises(RefusedError, match=holder), store.lock():
            pass
        assert store.find_daemon() == process
    assert store.find_daemon() is None
    with store.lock():
        assert store.find_daemon() == os.getpid()


def test_who_looks_whether_a_daemon_runs_keeps_none_from_starting(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.lock():
        pass
    looking = os.open(os.path.join(store.folder, "lock"), os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _seconds: os.close(looking))
    with store.lock():
        assert store.find_daemon() == os.getpid()


def test_a_lock_that_says_nothing_is_still_held(store: FolderStore) -> None:
    with store.lock():
        Path(store.folder, "lock").write_text("", encoding="ascii")
        assert store.find_daemon() == 0


def test_the_last_sign_of_life_is_the_newest_file(store: FolderStore) -> None:
    assert store.find_last_sign() is None
    store.save_record(RECORD)
    store.save_source(SourceRecord())
    for number, name in enumerate(("source.json", "objects/VirtualMachine/vm.json")):
        os.utime(Path(store.folder, name), (number, 100.0 + number))
    assert store.find_last_sign() == 101.0
    with store.lock():
        os.utime(Path(store.folder, "lock"), (1.0, 1.0))
        assert store.find_last_sign() == 101.0
    ended = store.find_last_sign()
    assert ended is not None
    assert ended > 101.0


def test_an_order_to_try_again_is_kept_until_it_is_taken(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    store.order_retry(vm("my/vm"))
    store.order_retry(vm("my/vm"))
    assert store.take_retries() == {vm("my/vm")}
    assert store.take_retries() == frozenset()
