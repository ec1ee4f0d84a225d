"""No secret leaves by the doors that are no format of a plan: messages, memory, errors, exports."""

from __future__ import annotations

import io
import json

import pytest

from reconciler.adapters.systemd import describe, make_fields
from reconciler.cli.console import Console
from reconciler.control.journal_reporter import describe as describe_change
from reconciler.control.ledger import Ledger
from reconciler.core import events
from reconciler.core.conditions import Condition, Status
from reconciler.core.plan import Action, ActionKind, Change, Effect
from reconciler.core.records import LastChange, Record, SourceRecord
from reconciler.core.render.json import render_statuses_json
from reconciler.core.render.words import escape, show_path, show_value
from reconciler.core.yaml_text import write_documents
from reconciler.errors import TransientError
from reconciler.kinds.machine.action import _left
from tests.lab.keys import vm
from tests.unit.cli.fakes import FakeServices, call
from tests.unit.loop.fakes import ListJournal, MemoryStore

S = "hunter2"
ERROR = f"libvirt says: cannot start <graphics passwd='{S}'/> with password={S}"
CHANGE = Change("xml[/domain/devices/graphics/@passwd]", S, "hunter3", Effect.LIVE)


def test_a_change_that_is_told_or_not_kept() -> None:
    shown = "xml[/domain/devices/graphics/@passwd]"
    assert describe_change(CHANGE) == f"{shown}: (hidden) -> (hidden, other)"
    action = Action("VirtualMachine", "a", ActionKind.UPDATE, changes=(CHANGE,))
    assert _left(action, frozenset(), frozenset()) == (
        f"{shown} is (hidden), should be (hidden, other)",
    )


def test_an_event_in_the_journal() -> None:
    event = events.Event(events.FAILED, ERROR, object=vm("a"), fields={"error": ERROR})
    assert S not in describe(event)
    assert S not in f"{make_fields(event)}"


def test_what_the_daemon_remembers() -> None:
    store, journal = MemoryStore(), ListJournal()
    ledger = Ledger(store, journal)
    ledger.put(
        Record(
            "password=a",  # a name is a name
            conditions=(Condition("Ready", holds=False, reason=ERROR),),
            last_change=LastChange(1.0, None, ERROR),
            last_error=ERROR,
            problem=ERROR,
        )
    )
    ledger.change_source(
        lambda _: SourceRecord(error=ERROR, refused=ERROR, problems=(ERROR,), libvirt=ERROR)
    )
    assert S not in f"{ledger.all()} {ledger.source} {store.load_records()} {store.load_source()}"
    assert "(hidden)" in ledger.get(vm("password=a")).last_error
    assert "(hidden)" in store.load_source().problems[0]


def test_a_status_of_what_cannot_be_seen() -> None:
    condition = Condition("Ready", holds=None, reason=ERROR)
    text = render_statuses_json([Status("a", "unknown", (condition,), None)])
    assert S not in text
    assert json.loads(text)["resources"][0]["conditions"][0]["reason"].endswith("=(hidden)")


@pytest.mark.parametrize("verbose", [(), ("-v",)])
def test_an_error_and_what_lies_behind_it(verbose: tuple[str, ...]) -> None:
    def connect(_uri: object) -> object:
        raise TransientError(ERROR) from OSError(ERROR)

    services = FakeServices()
    services.connect = connect  # type: ignore[assignment,method-assign]
    result = call(services, *verbose, "export", "a")
    assert result.status == 1
    assert "cannot start <graphics passwd='(hidden)'/>" in result.err
    assert ("because: OSError" in result.err) is bool(verbose)
    assert S not in result.err


def test_a_mistake_of_ours() -> None:
    def connect(_uri: object) -> object:
        raise KeyError(ERROR)

    services = FakeServices()
    services.connect = connect  # type: ignore[assignment,method-assign]
    err = call(services, "export", "a").err
    assert "please report it" in err
    assert "KeyError" in err
    assert S not in err


def test_notes_on_a_terminal() -> None:
    err = io.StringIO()
    console = Console(io.StringIO(), err, io.StringIO(), {})
    console.note(ERROR)
    console.error(ERROR)
    assert S not in err.getvalue()
    assert err.getvalue().count("(hidden)") == 4


def test_remarks_of_an_export() -> None:
    assert S not in write_documents([({"a": 1}, [ERROR])])


def test_paths_and_single_values() -> None:
    assert show_path(f"xml[/domain/devices/graphics[@passwd='{S}']/x]").count(S) == 0
    assert show_value("xml[/domain/devices/graphics/@passwd]", S) == "(hidden)"
    assert S not in escape(f"-----BEGIN PRIVATE KEY-----\n{S}\n-----END PRIVATE KEY-----")
