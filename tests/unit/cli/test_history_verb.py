"""`history` and `rollback`: what a person reads, what is asked, and what the daemon is told first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Tuple

import pytest

from reconciler.adapters.state.measurements import FolderMeasurements
from reconciler.cli.console import find_caller
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
from reconciler.core.measurements.values import DiskSetup
from reconciler.core.records import Suspension
from reconciler.core.settings import Settings
from reconciler.core.units import show_time
from reconciler.core.xmltree import parse
from reconciler.errors import TerminalError, TransientError
from tests.lab.keys import vm
from tests.unit.measurements.samples import HOST as MEASURED_ON
from tests.unit.measurements.samples import make_measurement, make_result, make_run

from .fakes import REVISION, FakeMemory, FakeServices, applied, call, manifests

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


def services_in(folder: Path) -> FakeServices:
    """Return services with a history, and a state folder where the daemon's memory lies."""
    services = FakeServices(settings=Settings(state=str(folder), connect=URI))
    services.history.entries = list(PASTS)
    return services


FORMER: Mapping[str, Any] = {"power": "running", "memory": "1GiB"}
LATER: Mapping[str, Any] = {"power": "running", "memory": "2GiB"}


def changed_in(folder: Path) -> FakeServices:
    """Return a host with a machine that was changed, and a history that knows it (change 1)."""
    services = applied(web01=FORMER)
    services.settings = Settings(state=str(folder), connect=URI)
    services.files = manifests(web01=LATER)
    assert call(services, *config("apply", "--yes", "p")).status == 0
    services.host.domains.power_off("web01")
    services.host.domains.start("web01")
    services.host.writes.clear()
    services.histories.clear()
    return services


def memory_of(services: FakeServices) -> str:
    """Return the memory in the definition, in KiB."""
    return str(parse(services.host.views["web01"].persistent_xml).findtext("memory"))


def config(*words: str) -> Tuple[str, ...]:
    return ("--config", "c.yaml", *words)


def test_the_newest_change_comes_first_on_a_line_of_its_own(tmp_path: Path) -> None:
    done = call(services_in(tmp_path), *config("history", "web01"))
    assert done.status == 0
    assert done.out.splitlines() == [
        "N  WHEN                  BY                REVISION      OUTCOME  WHAT",
        "3  1970-01-12T13:50:00Z  rollback by root  -             failed   back to before 2, memory.size (next-boot)",
        "2  1970-01-12T13:48:20Z  apply by alice    -             done     memory.size (next-boot)",
        "1  1970-01-12T13:46:40Z  daemon            aaaaaaaaaaaa  done     created",
    ]  # fmt: skip


def test_one_change_is_shown_with_its_plan_and_what_was_before(tmp_path: Path) -> None:
    done = call(services_in(tmp_path), *config("history", "web01", "2"))
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
    done = call(services_in(tmp_path), *config("history", "web01", "--format", "json"))
    document = json.loads(done.out)
    assert [one["number"] for one in document["changes"]] == [3, 2, 1]
    last, middle, first = document["changes"]
    assert (last["backTo"], last["error"], first["former"]) == (2, "no space", None)
    assert middle["former"]["definition"] == XML
    assert middle["changes"][0]["effect"] == "next-boot"


def test_what_is_not_known_is_an_error(tmp_path: Path) -> None:
    done = call(services_in(tmp_path), *config("history", "web02"))
    assert (done.status, done.out) == (1, "")
    assert f"web02: no change of it is recorded in {tmp_path}/history" in done.err
    assert call(services_in(tmp_path), *config("history", "web01", "9")).status == 4


OWN = "{home}/virt-reconciler/qemu-system-kvm01/history"
PLACES: Dict[str, Tuple[Tuple[str, ...], str, str]] = {
    "the daemon's": (("--config", "c.yaml"), ".", "{state}/history"),
    "another host": (("--connect", "qemu+ssh://root@kvm02/system"), ".", OWN),
    "no daemon here": (("--config", "c.yaml"), "nowhere", OWN),
}


@pytest.mark.parametrize("case", PLACES)
def test_the_history_is_the_daemons_or_ones_own(tmp_path: Path, case: str) -> None:
    options, folder, expected = PLACES[case]
    services = services_in(tmp_path / folder)
    call(services, *options, "history", "web01", environ={"XDG_STATE_HOME": "/home/alice/state"})
    assert services.histories == [expected.format(state=tmp_path, home="/home/alice/state")]


def test_a_rollback_shows_the_plan_asks_suspends_and_goes_back(tmp_path: Path) -> None:
    services = changed_in(tmp_path)
    seen: List[str] = []
    services.host.watch = lambda _call: seen.append(services.memory.suspensions[vm("web01")].why)
    environ = {"NO_COLOR": "1"}
    done = call(
        services, *config("rollback", "web01"), answers="y\n", terminal=True, environ=environ
    )
    assert done.status == 0, done
    assert "~ live       memory.size: 2GiB → 1GiB" in done.out
    assert (
        f"note: back to before change 1 (by {find_caller({})} at 0123456789ab, "
        "1970-01-12T13:46:40Z); takes back change 1" in done.out
    )
    assert "Roll back? [y/N]" in done.out
    assert done.out.splitlines()[-1] == (
        "web01: suspended, so that the daemon does not change it back; `resume web01` brings it back to its manifest"
    )
    assert set(seen) == {"rolled back to before change 1"}
    assert memory_of(services) == "1048576"
    last = services.history.entries[-1]
    assert (last.cause.verb, last.cause.back_to, last.outcome) == ("rollback", 1, DONE)


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
    services = changed_in(tmp_path)
    done = call(services, *config("rollback", "web01", *words), answers=answers)
    assert (done.status, services.host.writes, services.memory.suspensions) == (status, [], {})


def back_already(services: FakeServices) -> None:
    """Have somebody else take the change back."""
    former = services.history.entries[0].former
    assert former is not None
    services.host.change("web01", persistent_xml=former.xml)


def snapshot_taken(services: FakeServices) -> None:
    """Have a backup at work on the guest, which nothing must disturb."""
    services.host.change("web01", job="backup")


@pytest.mark.parametrize(
    ("happened", "status", "words"),
    [
        pytest.param(back_already, 0, "the definition is the same as then", id="nothing differs"),
        pytest.param(snapshot_taken, 4, "every difference is withheld", id="withheld"),
    ],
)
def test_without_work_nobody_is_suspended(
    tmp_path: Path, happened: Callable[[FakeServices], None], status: int, words: str
) -> None:
    services = changed_in(tmp_path)
    happened(services)
    done = call(services, *config("rollback", "web01", "--yes"))
    assert (done.status, services.host.writes, services.memory.suspensions) == (status, [], {})
    assert words in done.out


def test_an_interrupted_rollback_that_had_done_all_is_written_down_as_done(tmp_path: Path) -> None:
    services = changed_in(tmp_path)
    call(services, *config("rollback", "web01", "--yes"))
    entries = services.history.entries
    entries[1] = replace(entries[1], outcome=UNFINISHED, error="")
    done = call(services, *config("rollback", "web01", "--yes"))
    assert "resumes the interrupted rollback (change 2)" in done.out
    assert done.status == 0
    assert entries[1].outcome == DONE


def test_the_last_known_definition_is_printed_as_virsh_takes_it(tmp_path: Path) -> None:
    services = services_in(tmp_path)
    kept = XML.replace("<name>", "<!-- kept --><graphics passwd='(hidden)'/><name>")
    services.history.keep(LastKnown("web01", 2_000_000.0, "uuid", kept))
    done = call(services, *config("history", "web01", "--definition"))
    assert done.status == 0
    assert "(hidden)" not in done.out
    assert "<name>web01</name>" in done.out
    assert "graphics/@passwd: the former secret is not stored; set it again" in done.err
    before = call(services, *config("history", "web01", "2", "--definition"))
    assert before.out.strip() == XML.strip()
    assert call(services, *config("history", "web02", "--definition")).status == 1
    assert call(services, *config("history", "web01", "1", "--definition")).status == 1


def test_after_a_failure_the_daemon_goes_on_unless_it_was_told_not_to_before(
    tmp_path: Path,
) -> None:
    services = changed_in(tmp_path)
    services.host.failures["define"] = TerminalError("no space left")
    assert call(services, *config("rollback", "web01", "--yes")).status == 1
    assert services.memory.suspensions == {}
    services.memory.suspensions[vm("web01")] = Suspension("web01", 5.0, "bob", "holiday")
    assert call(services, *config("rollback", "web01", "--yes")).status == 1
    assert services.memory.suspensions[vm("web01")].at == 5.0


class Sealed(FakeMemory):
    """A memory that this user may not write to."""

    def suspend(self, suspension: Suspension) -> None:
        raise TransientError("may this user write there?")


def test_where_the_daemon_cannot_be_told_nothing_is_changed(tmp_path: Path) -> None:
    services = changed_in(tmp_path)
    services.memory = Sealed()
    done = call(services, *config("rollback", "web01", "--yes"))
    assert (done.status, services.host.writes) == (1, [])
    assert "the daemon could not be suspended for it" in done.err


def test_where_no_daemon_is_there_is_nobody_to_tell(tmp_path: Path) -> None:
    services = changed_in(tmp_path / "nowhere")
    done = call(services, *config("rollback", "web01", "--yes"))
    assert (done.status, services.host.writes, services.memory.suspensions) == (
        0,
        ["set_metadata web01", "define web01", "set_memory web01"],
        {},
    )
    assert "nothing was suspended" in done.err


def test_a_definition_that_libvirt_keeps_otherwise_is_an_error(tmp_path: Path) -> None:
    services = changed_in(tmp_path)
    former = services.history.entries[0].former
    assert former is not None
    xml = former.xml.replace("<devices>", "<on_crash>destroy</on_crash><devices>")
    services.history.entries[0] = replace(
        services.history.entries[0], former=replace(former, xml=xml)
    )
    services.host.missing.append("on_crash")
    done = call(services, *config("rollback", "web01", "--yes"))
    assert done.status == 1
    assert "libvirt stored another definition: without /domain/on_crash: destroy" in done.err


def test_apply_says_whom_it_changes_though_the_daemon_leaves_it_alone(tmp_path: Path) -> None:
    services = applied(web01=FORMER)
    services.settings = Settings(state=str(tmp_path), connect=URI)
    services.files = manifests(web01=LATER)
    services.memory.suspensions[vm("web01")] = Suspension(
        "web01", services.clock.wall() - 180, "alice", "moving"
    )
    done = call(services, *config("apply", "p"), answers="n\n")
    assert (
        "    note: suspended 3m ago by alice: moving; the daemon does not change it, but this command does"
        in done.out.splitlines()
    )
    services.files = manifests(web01=FORMER)
    assert "suspended" not in call(services, *config("apply", "p", "-v")).out


def test_what_is_done_by_hand_is_written_down(tmp_path: Path) -> None:
    services = applied(web01=FORMER)
    services.settings = Settings(state=str(tmp_path), connect=URI)
    services.files = manifests(web01=LATER)
    call(services, *config("apply", "p", "--yes"))
    [entry] = services.history.entries
    assert (entry.cause.verb, entry.cause.revision, entry.outcome) == ("apply", REVISION, DONE)
    assert services.histories == [f"{tmp_path}/history"]


def test_what_was_measured_is_between_the_changes(tmp_path: Path) -> None:
    setup = DiskSetup(
        "root", "vda", bus="virtio", image="/x.qcow2", image_format="qcow2", cache="none"
    )
    place = replace(MEASURED_ON, machine="web01", disk=setup)
    result = make_result([make_run(4096 * 12_300)], direct=True)
    kept = make_measurement(result, environment=place, name="disk-19700112")
    store = FolderMeasurements(str(tmp_path))
    store.keep(replace(kept, taken_at=str(show_time(1_000_050.0))))
    store.keep(replace(kept, id="disk-other", environment=replace(place, machine="db01")))
    lines = call(services_in(tmp_path), *config("history", "web01")).out.splitlines()
    assert [line.split()[0] for line in lines] == ["N", "3", "2", "-", "1"]
    assert lines[3].endswith(
        "measured virtio, qcow2, cache=none: rand_read direct 12.3k IOPS (disk-19700112)"
    )
