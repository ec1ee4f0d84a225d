"""The one word for an object, and what a suspension does to its conditions."""

from __future__ import annotations

from typing import Optional

import pytest

from reconciler.core.conditions import Condition, Conditions, Status, failed, unknown
from reconciler.core.overview import Overview, OverviewEntry, make_entries, mark_suspended
from reconciler.core.records import Record, SourceRecord, Suspension
from tests.lab.keys import vm

SUSPENSION = Suspension("vm", 5.0, "alice", "why")


def entry(verdict: Conditions, suspension: Optional[Suspension] = None) -> OverviewEntry:
    return OverviewEntry(Record("vm", conditions=verdict.conditions(), next_try=9.0), suspension)


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (entry(Conditions(ready=True)), "Ready"),
        (entry(Conditions(ready=True, pending=("tpm",))), "Ready"),
        (entry(Conditions(ready=False, reason="withheld")), "NotReady"),
        (entry(unknown("cannot be read")), "Unknown"),
        (entry(unknown("away", again="away")), "Reconciling"),
        (entry(failed("no", again=True)), "Reconciling"),
        (entry(failed("no", again=False)), "Stalled"),
        (OverviewEntry(Record("vm")), "Unknown"),
        (entry(Conditions(ready=True), SUSPENSION), "Suspended"),
        (entry(failed("no", again=False), SUSPENSION), "Suspended"),
    ],
)
def test_the_word_says_what_matters_most(one: OverviewEntry, word: str) -> None:
    assert one.word == word


@pytest.mark.parametrize(
    ("one", "command"),
    [
        (entry(Conditions(ready=True)), ""),
        (entry(Conditions(ready=False, reason="withheld")), "virt-reconciler retry vm"),
        (entry(Conditions(ready=False, reason="network a is not active (virsh net-start a)")), ""),
        (entry(failed("no", again=True)), "virt-reconciler retry vm"),
        (entry(failed("no", again=False)), "virt-reconciler retry vm"),
        (entry(failed("no", again=False), SUSPENSION), "virt-reconciler resume vm"),
        (OverviewEntry(Record("my vm"), SUSPENSION), "virt-reconciler resume 'my vm'"),
    ],
)
def test_each_state_that_is_not_ready_names_a_command(one: OverviewEntry, command: str) -> None:
    assert one.command == command


def test_what_was_found_before_a_suspension_holds_no_more() -> None:
    one = entry(Conditions(ready=True, reconciling="x", stalled="y", pending=("tpm",)), SUSPENSION)
    assert one.conditions == (
        Condition("Suspended", holds=True, reason="why"),
        Condition("Ready", holds=None, reason="suspended"),
        Condition("Reconciling", holds=False),
        Condition("Stalled", holds=False),
        Condition("RestartRequired", holds=True, reason="tpm"),
    )
    assert one.next_try is None


def test_what_was_resumed_is_not_called_suspended() -> None:
    assert entry(unknown("suspended")).condition("Ready").reason.startswith("resumed")


def test_what_is_suspended_has_an_entry_without_a_record() -> None:
    entries = make_entries({vm("b"): Record("b")}, {vm("a"): SUSPENSION})
    assert [(one.name, one.word) for one in entries.values()] == [
        ("a", "Suspended"),
        ("b", "Unknown"),
    ]


def test_a_memory_that_holds_suspensions_alone_was_written_by_no_daemon() -> None:
    entries = make_entries({}, {vm("a"): SUSPENSION})
    assert not Overview(entries).is_known
    assert Overview(entries, SourceRecord(error="away")).is_known
    assert Overview(entries, daemon=0).is_known
    ready = Record("b", conditions=Conditions(ready=True).conditions())
    assert Overview(make_entries({vm("b"): ready}, {})).is_known


def test_what_is_seen_of_a_suspended_machine_is_not_called_ready() -> None:
    seen = Status("vm", "running", (Condition("Ready", holds=True),))
    assert mark_suspended(seen, None) == seen
    assert mark_suspended(seen, SUSPENSION).condition("Ready").holds is None
