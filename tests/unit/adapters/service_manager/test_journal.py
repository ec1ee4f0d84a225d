"""What an event is in the journal, and as a line elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
import systemd.journal

from reconciler.adapters.systemd import open_journal
from reconciler.core import events
from reconciler.core.events import Event
from tests.lab.keys import vm

CHANGED = Event(
    events.CHANGED,
    "cpus.count: 2 -> 4",
    object=vm("web01"),
    action="update",
    effect="live",
    revision="0123abc",
    fields={"path": "cpus.count", "two words": "x"},
)


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> List[Dict[str, str]]:
    """Return what is sent to the journal, as the library is given it."""
    sent: List[Dict[str, str]] = []

    def sendv(*parts: bytes) -> None:
        pairs = [part.decode().partition("=") for part in parts]
        sent.append({name: value for name, _, value in pairs})

    monkeypatch.setattr(systemd.journal, "sendv", sendv)
    return sent


def tell(event: Event, folder: Path) -> str:
    """Tell an event where standard error goes to the journal; return what else was written."""
    with (folder / "stderr").open("w+", encoding="ascii") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        open_journal(stream, environ).tell(event)
        stream.seek(0)
        return stream.read()


def tell_line(event: Event) -> str:
    """Tell an event where there is no journal; return what was written."""
    stream = io.StringIO()
    open_journal(stream, {}).tell(event)
    return stream.getvalue()


def test_an_event_has_fields_to_filter_by(entries: List[Dict[str, str]], tmp_path: Path) -> None:
    assert tell(CHANGED, tmp_path) == ""
    assert entries == [
        {
            "MESSAGE": "web01: cpus.count: 2 -> 4",
            "MESSAGE_ID": events.CHANGED.message_id,
            "PRIORITY": "5",
            "SYSLOG_IDENTIFIER": "virt-reconciler",
            "VIRT_RECONCILER_KIND": "changed",
            "VIRT_RECONCILER_OBJECT": "web01",
            "VIRT_RECONCILER_OBJECT_KIND": "VirtualMachine",
            "VIRT_RECONCILER_ACTION": "update",
            "VIRT_RECONCILER_EFFECT": "live",
            "VIRT_RECONCILER_REVISION": "0123abc",
            "VIRT_RECONCILER_PATH": "cpus.count",
            "VIRT_RECONCILER_TWO_WORDS": "x",
        }
    ]


def test_what_an_event_does_not_say_is_no_field(
    entries: List[Dict[str, str]], tmp_path: Path
) -> None:
    tell(Event(events.STARTED, "follows /etc/vms"), tmp_path)
    assert entries == [
        {
            "MESSAGE": "follows /etc/vms",
            "MESSAGE_ID": events.STARTED.message_id,
            "PRIORITY": "5",
            "SYSLOG_IDENTIFIER": "virt-reconciler",
            "VIRT_RECONCILER_KIND": "started",
        }
    ]


def test_nothing_of_others_can_pretend_to_be_more(
    entries: List[Dict[str, str]], tmp_path: Path
) -> None:
    """Names, errors and extra fields come from elsewhere."""
    event = Event(
        events.FAILED,
        "no\nPRIORITY=0\x1b[31m\udcff <graphics passwd='secret'/>",
        object=vm("a\nb"),
        fields={"object": "another", "x\n=" + 80 * "y": "1\n2"},
    )
    tell(event, tmp_path)
    (entry,) = entries
    assert entry["MESSAGE"] == r"a b: no PRIORITY=0\x1b[31m\udcff <graphics passwd='(hidden)'/>"
    assert entry["VIRT_RECONCILER_OBJECT"] == "a b"
    assert entry["PRIORITY"] == "3"
    assert entry["VIRT_RECONCILER_X__" + 45 * "Y"] == "1 2"
    assert len(entry) == 8
    assert all(re.fullmatch("[A-Z][A-Z_]{0,63}", name) for name in entry)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        pytest.param(CHANGED, "notice: web01: cpus.count: 2 -> 4\n", id="with-object"),
        pytest.param(Event(events.WATCH, "polling: x"), "warning: polling: x\n", id="without"),
        pytest.param(Event(events.INVALID, "a\nb\x07"), "error: a b\\x07\n", id="one-line"),
    ],
)
def test_elsewhere_an_event_is_a_line(
    event: Event, line: str, entries: List[Dict[str, str]]
) -> None:
    assert tell_line(event) == line
    assert entries == []


def test_a_terminal_gets_the_time_too() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        open_journal(terminal, {}).tell(CHANGED)
    line = os.read(ours, 1000).decode()
    os.close(ours)
    assert re.fullmatch(r"\d\d:\d\d:\d\d notice: web01: cpus.count: 2 -> 4\r\n", line)


def _environments(path: Path) -> List[Tuple[str, str]]:
    found = path.stat()
    return [
        ("another-file", f"{found.st_dev}:{found.st_ino + 1}"),
        ("nonsense", "journal"),
        ("empty", ""),
    ]


@pytest.mark.parametrize("index", range(3))
def test_a_redirected_standard_error_is_not_the_journal(
    index: int, entries: List[Dict[str, str]], tmp_path: Path
) -> None:
    """The variable that systemd sets is inherited; what it says of standard error need not hold any more."""
    path = tmp_path / "stderr"
    with path.open("w", encoding="utf-8") as stream:
        _, value = _environments(path)[index]
        open_journal(stream, {"JOURNAL_STREAM": value}).tell(CHANGED)
    assert path.read_text(encoding="utf-8").startswith("notice: web01")
    assert entries == []


def test_a_journal_that_does_not_take_it_leaves_a_line_with_priority(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def sendv(*_: bytes) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(systemd.journal, "sendv", sendv)
    assert tell(CHANGED, tmp_path) == "<5>web01: cpus.count: 2 -> 4\n"


class FullDisk(io.StringIO):
    """A stream that takes nothing."""

    def write(self, text: str) -> int:
        """Refuse."""
        raise OSError(28, "No space left on device")


def test_telling_never_fails(tmp_path: Path) -> None:
    closed = io.StringIO()
    closed.close()
    open_journal(closed, {"JOURNAL_STREAM": "1:2"}).tell(CHANGED)
    open_journal(FullDisk(), {}).tell(CHANGED)
    with (tmp_path / "narrow").open("w", encoding="ascii") as narrow:
        open_journal(narrow, {}).tell(Event(events.FAILED, "é"))


def test_every_kind_has_an_id_of_its_own() -> None:
    ids = [kind.message_id for kind in events.KINDS]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert len(set(ids)) == len({kind.name for kind in events.KINDS}) == len(ids)
    assert {one for one in vars(events).values() if isinstance(one, events.EventKind)} == set(
        events.KINDS
    )
