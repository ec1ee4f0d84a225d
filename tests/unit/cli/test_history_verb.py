"""`history` and `rollback`: what a person reads, what is asked, and what the daemon is told first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Tuple, cast

import pytest

from reconciler.control.ports import Host, Reporter
from reconciler.core.history import (
    DONE,
    FAILED,
    UNFINISHED,
    ChangeCause,
    ChangeRecord,
    FormerDomain,
    LastKnown,
    RecordedChange,
)
from reconciler.core.plan import ActionKind, Change, Define, Effect, Outcome, Plan
from reconciler.core.records import Suspension
from reconciler.core.settings import Settings
from reconciler.errors import TransientError
from tests.lab.keys import vm

from .fakes import FakeMemory, FakeParts, action, call, fail, plan_of, succeed

URI = "qemu:///system"
XML = "<domain type='kvm'>\n  <name>web01</name>\n</domain>\n"
CHANGES = (
    RecordedChange("memory.size", 2**30, 2**31, "next-boot", "above the running guest's maximum"),
    RecordedChange("disks[root].size", 2**31, 2**30, "withheld", "a disk is never shrunk"),
)
PASTS = (
    ChangeRecord("web01", 1_000_000.0, ChangeCause("daemon", "run", "a" * 40), "create", number=1, outcome=DONE),
    ChangeRecord(
        "web01", 1_000_100.0, ChangeCause("alice", "apply"), "update", CHANGES, ("Define",),
        former=FormerDomain(XML, "uuid", running=True), number=2, outcome=DONE,
    ),
    ChangeRecord(
        "web01", 1_000_200.0, ChangeCause("root", "rollback", back_to=2), "update", CHANGES[:1],
        ("Define",), former=FormerDomain(XML, "uuid"), number=3, outcome=FAILED, error="no space",
    ),
)  # fmt: skip
BACK = plan_of(
    action(
        "web01",
        ActionKind.UPDATE,
        changes=(Change("memory.size", 2**31, 2**30, Effect.NEXT_BOOT),),
        steps=(Define(XML),),
    )
)


@dataclass
class Drivers:
    """A host that can say who it is."""

    host: str = "kvm01"
    uri: str = URI
    domains: Any = None


@dataclass
class Parts(FakeParts):
    """Parts with a history, and a state folder where the daemon's memory lies."""

    drivers: Drivers = field(default_factory=Drivers)
    orders: List[str] = field(default_factory=list)

    def connect(self, uri: Any) -> Host:
        self.uris.append(uri)
        return cast("Host", Drivers(domains=self.drivers))


def parts_in(folder: Path, **more: Any) -> Parts:
    parts = Parts(settings=Settings(state=str(folder), connect=URI), planned=BACK, **more)
    parts.history.entries = list(PASTS)
    return parts


def config(*words: str) -> Tuple[str, ...]:
    return ("--config", "c.yaml", *words)


def test_the_newest_change_comes_first_on_a_line_of_its_own(tmp_path: Path) -> None:
    done = call(parts_in(tmp_path), *config("history", "web01"))
    assert done.status == 0
    assert done.out.splitlines() == [
        "N  WHEN                  BY                REVISION      OUTCOME  WHAT",
        "3  1970-01-12T13:50:00Z  rollback by root  -             failed   back to before 2, memory.size (next-boot)",
        "2  1970-01-12T13:48:20Z  apply by alice    -             done     memory.size (next-boot)",
        "1  1970-01-12T13:46:40Z  daemon            aaaaaaaaaaaa  done     created",
    ]  # fmt: skip


def test_one_change_is_shown_with_its_plan_and_what_was_before(tmp_path: Path) -> None:
    done = call(parts_in(tmp_path), *config("history", "web01", "2"))
    assert done.out.splitlines() == [
        "change 2 of web01, 1970-01-12T13:48:20Z, apply by alice",
        "",
        "~ web01: 1 change, 1 withheld",
        "    ~ next-boot  memory.size: 1GiB → 2GiB  # above the running guest's maximum",
        "    ! withheld   disks[root].size: 2GiB → 1GiB  # a disk is never shrunk",
        "",
        "It succeeded.",
        "Before it the guest was running, autostart was off, and its definition was:",
        "",
        *XML.splitlines(),
    ]


def test_for_programs_there_is_all_of_it(tmp_path: Path) -> None:
    done = call(parts_in(tmp_path), *config("history", "web01", "--format", "json"))
    document = json.loads(done.out)
    assert [one["number"] for one in document["changes"]] == [3, 2, 1]
    last, middle, first = document["changes"]
    assert (last["backTo"], last["error"], first["former"]) == (2, "no space", None)
    assert middle["former"]["definition"] == XML
    assert middle["changes"][0]["effect"] == "next-boot"


def test_what_is_not_known_is_an_error(tmp_path: Path) -> None:
    done = call(parts_in(tmp_path), *config("history", "web02"))
    assert (done.status, done.out) == (1, "")
    assert f"web02: no change of it is recorded in {tmp_path}/history" in done.err
    assert call(parts_in(tmp_path), *config("history", "web01", "9")).status == 4


OWN = "{home}/virt-reconciler/qemu-system-kvm01/history"
PLACES: Dict[str, Tuple[Tuple[str, ...], str, str]] = {
    "the daemon's": (("--config", "c.yaml"), ".", "{state}/history"),
    "another host": (("--connect", "qemu+ssh://root@kvm02/system"), ".", OWN),
    "no daemon here": (("--config", "c.yaml"), "nowhere", OWN),
}


@pytest.mark.parametrize("case", PLACES)
def test_the_history_is_the_daemons_or_ones_own(tmp_path: Path, case: str) -> None:
    options, folder, expected = PLACES[case]
    parts = parts_in(tmp_path / folder)
    call(parts, *options, "history", "web01", environ={"XDG_STATE_HOME": "/home/alice/state"})
    assert parts.histories == [expected.format(state=tmp_path, home="/home/alice/state")]


def test_a_rollback_shows_the_plan_asks_suspends_and_goes_back(tmp_path: Path) -> None:
    parts = parts_in(tmp_path)
    orders: List[str] = []

    def carry(plan: Plan, report: Reporter) -> Tuple[Outcome, ...]:
        orders.append(parts.memory.suspensions[vm("web01")].why)
        return succeed(plan, report)

    parts.carry = carry
    environ = {"NO_COLOR": "1"}
    done = call(parts, *config("rollback", "web01"), answers="y\n", terminal=True, environ=environ)
    assert done.status == 0, done
    assert "~ next-boot  memory.size: 2GiB → 1GiB" in done.out
    assert (
        "note: back to before change 2 (by alice, 1970-01-12T13:48:20Z); takes back change 2"
        in done.out
    )
    assert "Roll back? [y/N]" in done.out
    assert done.out.splitlines()[-1] == (
        "web01: suspended, so that the daemon does not change it back; `resume web01` brings it back to its manifest"
    )
    assert orders == ["rolled back to before change 2"]
    [chronicle] = parts.chronicles
    assert (chronicle.cause.verb, chronicle.cause.back_to) == ("rollback", 2)
    assert parts.taken_back == [2]


@pytest.mark.parametrize(
    ("words", "answers", "status"),
    [
        pytest.param(("--dry-run",), None, 0, id="only looked at"),
        pytest.param(("--dry-run", "--format", "json"), None, 0, id="for programs"),
        pytest.param(("--format", "json"), None, 64, id="json changes nothing"),
        pytest.param((), "n\n", 1, id="not wanted"),
        pytest.param((), None, 64, id="nobody to ask"),
    ],
)
def test_nothing_is_touched_unless_it_is_wanted(
    tmp_path: Path, words: Tuple[str, ...], answers: Any, status: int
) -> None:
    parts = parts_in(tmp_path)
    done = call(parts, *config("rollback", "web01", *words), answers=answers)
    assert (done.status, parts.executed, parts.memory.suspensions) == (status, [], {})


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        pytest.param(
            ActionKind.NONE, 0, "the definition is the same as then", id="nothing differs"
        ),
        pytest.param(ActionKind.WITHHELD, 4, "every difference is withheld", id="withheld"),
    ],
)
def test_without_work_nobody_is_suspended(
    tmp_path: Path, kind: ActionKind, status: int, words: str
) -> None:
    parts = parts_in(tmp_path)
    parts.planned = plan_of(action("web01", kind))
    done = call(parts, *config("rollback", "web01", "--yes"))
    assert (done.status, parts.executed, parts.memory.suspensions) == (status, [], {})
    assert words in done.out


def test_an_interrupted_rollback_that_had_done_all_is_written_down_as_done(tmp_path: Path) -> None:
    parts = parts_in(tmp_path)
    parts.history.entries[2] = replace(PASTS[2], outcome=UNFINISHED, error="")
    parts.planned = plan_of(action("web01", ActionKind.NONE))
    done = call(parts, *config("rollback", "web01", "--yes"))
    assert "resumes the interrupted rollback (change 3)" in done.out
    assert done.status == 0
    assert parts.history.entries[2].outcome == DONE


def test_the_last_known_definition_is_printed_as_virsh_takes_it(tmp_path: Path) -> None:
    parts = parts_in(tmp_path)
    kept = XML.replace("<name>", "<!-- kept --><graphics passwd='(hidden)'/><name>")
    parts.history.keep(LastKnown("web01", 2_000_000.0, "uuid", kept))
    done = call(parts, *config("history", "web01", "--definition"))
    assert done.status == 0
    assert "(hidden)" not in done.out
    assert "<name>web01</name>" in done.out
    assert "graphics/@passwd: the former secret is not stored" in done.err
    before = call(parts, *config("history", "web01", "2", "--definition"))
    assert before.out.strip() == XML.strip()
    assert call(parts, *config("history", "web02", "--definition")).status == 1
    assert call(parts, *config("history", "web01", "1", "--definition")).status == 1


def test_after_a_failure_the_daemon_goes_on_unless_it_was_told_not_to_before(
    tmp_path: Path,
) -> None:
    parts = parts_in(tmp_path, carry=fail("web01"))
    assert call(parts, *config("rollback", "web01", "--yes")).status == 1
    assert parts.memory.suspensions == {}
    parts.memory.suspensions[vm("web01")] = Suspension("web01", 5.0, "bob", "holiday")
    assert call(parts, *config("rollback", "web01", "--yes")).status == 1
    assert parts.memory.suspensions[vm("web01")].at == 5.0


class Sealed(FakeMemory):
    """A memory that this user may not write to."""

    def suspend(self, suspension: Suspension) -> None:
        raise TransientError("may this user write there?")


def test_where_the_daemon_cannot_be_told_nothing_is_changed(tmp_path: Path) -> None:
    parts = parts_in(tmp_path, memory=Sealed())
    done = call(parts, *config("rollback", "web01", "--yes"))
    assert (done.status, parts.executed) == (1, [])
    assert "the daemon could not be suspended for it" in done.err


def test_where_no_daemon_is_there_is_nobody_to_tell(tmp_path: Path) -> None:
    parts = parts_in(tmp_path / "nowhere")
    done = call(parts, *config("rollback", "web01", "--yes"))
    assert (done.status, len(parts.executed), parts.memory.suspensions) == (0, 1, {})
    assert "nothing was suspended" in done.err


def test_a_definition_that_libvirt_keeps_otherwise_is_an_error(tmp_path: Path) -> None:
    parts = parts_in(tmp_path, kept_otherwise="without /domain/on_crash: destroy")
    done = call(parts, *config("rollback", "web01", "--yes"))
    assert done.status == 1
    assert "libvirt stored another definition: without /domain/on_crash: destroy" in done.err


def test_apply_says_whom_it_changes_though_the_daemon_leaves_it_alone(tmp_path: Path) -> None:
    parts = parts_in(tmp_path)
    parts.memory.suspensions[vm("web01")] = Suspension("web01", parts.time - 180, "alice", "moving")
    done = call(parts, *config("apply", "p"), answers="n\n")
    assert (
        "    note: suspended 3m ago by alice: moving; the daemon does not change it, but this command does"
        in done.out.splitlines()
    )
    parts.planned = replace(BACK, actions=(action("web01", ActionKind.NONE),))
    assert "suspended" not in call(parts, *config("apply", "p", "-v")).out


@pytest.mark.parametrize("verb", [("apply", "p", "--yes")])
def test_what_is_done_by_hand_is_written_down(tmp_path: Path, verb: Tuple[str, ...]) -> None:
    parts = parts_in(tmp_path)
    call(parts, *config(*verb))
    [chronicle] = parts.chronicles
    assert (chronicle.cause.verb, chronicle.cause.revision) == ("apply", "0123456789abcdef")
    assert parts.histories == [f"{tmp_path}/history"]
