"""`suspend` and `resume`: what a person ordered is written down, and nothing by mistake."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Dict, Optional

import pytest

from reconciler.adapters.state.folder import FolderStore
from reconciler.cli.console import find_caller
from reconciler.control.service_ports import DaemonMemory
from reconciler.core.conditions import Conditions, failed
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.errors import TransientError
from tests.lab.keys import vm

from .fakes import FakeMemory, FakeServices, call

FORMER = Suspension("web02", 900_000.0, "bob", "broken fan")


def memory(daemon: Optional[int] = 812) -> FakeMemory:
    """Return the memory of a daemon that knows two machines, and left a third alone."""
    ready = Conditions(ready=True).conditions()
    records = {vm(one): Record(one, conditions=ready) for one in ("web01", "web02")}
    return FakeMemory(records, SourceRecord("r", "r"), {FORMER.key: FORMER}, daemon)


@pytest.fixture
def called_by_alice(monkeypatch: pytest.MonkeyPatch) -> Dict[str, str]:
    """Return what sudo tells of alice."""
    monkeypatch.setattr(os, "getuid", lambda: 0)
    return {"SUDO_USER": "alice"}


def test_who_when_and_why_are_written_down(called_by_alice: Dict[str, str]) -> None:
    services = FakeServices(memory=memory())
    done = call(services, "suspend", "web01", "--reason", "new disks", environ=called_by_alice)
    assert (done.status, done.err) == (0, "")
    assert done.out == (
        "web01: suspended\n"
        "Within seconds the daemon leaves alone what is suspended; "
        "what is under way already is finished.\n"
    )
    expected = Suspension("web01", services.clock.wall(), "alice", "new disks")
    assert services.memory.suspensions == {vm("web01"): expected, FORMER.key: FORMER}


def test_without_a_daemon_it_holds_from_its_next_start() -> None:
    services = FakeServices(memory=memory(daemon=None))
    done = call(services, "suspend", "web01")
    assert done.status == 0
    assert done.out.endswith(
        "The daemon does not run; once it does, it leaves alone what is suspended.\n"
    )
    assert vm("web01") in services.memory.suspensions


def test_a_second_suspension_changes_nothing() -> None:
    services = FakeServices(memory=memory())
    done = call(services, "suspend", "web02")
    assert done.out == "web02: is suspended already, 27h ago by bob: broken fan\n"
    assert services.memory.suspensions == {FORMER.key: FORMER}


def test_another_reason_does_not_make_it_younger(called_by_alice: Dict[str, str]) -> None:
    services = FakeServices(memory=memory())
    call(services, "suspend", "web02", "--reason", "and no power", environ=called_by_alice)
    assert services.memory.suspensions[vm("web02")] == Suspension(
        "web02", FORMER.at, "alice", "and no power"
    )


@pytest.mark.parametrize("verb", ["suspend", "resume", "retry"])
def test_a_name_that_is_not_known_lists_near_ones_and_nothing_is_done(verb: str) -> None:
    services = FakeServices(memory=memory())
    done = call(services, verb, "web02", "web1", "xyz", "web01")
    assert done.status == 1
    assert done.out == ""
    first, second, third = done.err.splitlines()
    assert first.endswith(
        "error: web1: the daemon knows no virtual machine of this name; did you mean web01 or web02?"
    )
    assert second.endswith("xyz: the daemon knows no virtual machine of this name")
    past = {"suspend": "suspended", "resume": "resumed", "retry": "retried"}[verb]
    assert third.endswith(f"nothing was {past}")
    assert services.memory.suspensions == {FORMER.key: FORMER}


def test_an_order_to_another_host_ends_with_the_whole_command_for_this_one() -> None:
    services = FakeServices(memory=memory())
    done = call(services, "-c", "qemu+ssh://kvm02/system", "suspend", "web01", "web 02")
    assert (done.status, done.out) == (64, "")
    assert done.err.endswith("--connect qemu:///system suspend web01 'web 02'\n")


def test_before_any_daemon_ran_every_name_may_be_right() -> None:
    services = FakeServices()
    done = call(services, "suspend", "web01")
    assert done.status == 0
    assert done.err == (
        "virt-reconciler: note: no daemon has run here yet, so web01 may be misspelt\n"
    )
    assert vm("web01") in services.memory.suspensions
    assert call(services, "suspend", "web01").err == ""
    assert call(services, "suspend", "").status == 64


def test_what_is_resumed_is_no_longer_suspended() -> None:
    services = FakeServices(memory=memory())
    done = call(services, "resume", "web02", "web01")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:2] == ["web02: resumed", "web01: not suspended; nothing to do"]
    assert done.out.splitlines()[2].startswith("Within seconds the daemon reconciles")
    assert services.memory.suspensions == {}
    assert services.memory.retries == []
    assert call(services, "resume", "web01").out == "web01: not suspended; nothing to do\n"


def stall(services: FakeServices, name: str) -> None:
    conditions = failed("libvirt refuses it", again=False).conditions()
    services.memory.records[vm(name)] = Record(name, conditions=conditions)


def test_resume_has_what_is_stalled_tried_again() -> None:
    services = FakeServices(memory=memory())
    stall(services, "web01")
    stall(services, "web02")
    done = call(services, "resume", "web01", "web02")
    assert done.out.splitlines()[:2] == ["web01: not suspended; is tried again", "web02: resumed"]
    assert services.memory.retries == [vm("web01"), vm("web02")]


def test_retry_orders_it_and_leaves_a_suspension() -> None:
    services = FakeServices(memory=memory())
    done = call(services, "retry", "web01")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("web01: is tried again\nWithin seconds the daemon tries")
    assert services.memory.retries == [vm("web01")]
    done = call(services, "retry", "web02")
    assert done.status == 1
    assert "virt-reconciler resume web02" in done.err
    assert services.memory.retries == [vm("web01")]
    assert vm("web02") in services.memory.suspensions


def test_retry_without_a_daemon_says_what_to_start() -> None:
    services = FakeServices(memory=memory(daemon=None))
    done = call(services, "retry", "web01")
    assert done.status == 1
    assert "systemctl start virt-reconciler" in done.err
    assert services.memory.retries == []


def test_what_is_suspended_without_a_record_can_be_resumed() -> None:
    services = FakeServices(memory=memory())
    del services.memory.records[vm("web02")]
    assert call(services, "resume", "web02").status == 0
    assert services.memory.suspensions == {}


def test_a_memory_that_cannot_be_read_is_one_line() -> None:
    services = FakeServices(memory=memory())
    services.memory.unreadable = TransientError("/state: cannot be read: Permission denied")
    done = call(services, "suspend", "web01")
    assert (done.status, done.out) == (1, "")
    assert done.err == "virt-reconciler: error: /state: cannot be read: Permission denied\n"


def test_what_a_terminal_obeys_is_escaped() -> None:
    services = FakeServices()
    done = call(services, "suspend", "a\x1b[2J", "--reason", "\x1b[31m")
    again = call(services, "suspend", "a\x1b[2J")
    assert "\x1b" not in done.out + done.err + again.out + again.err


def test_the_folder_of_the_configuration_is_where_it_is_kept(tmp_path: Path) -> None:
    class Parts(FakeServices):
        def reach_memory(self, state: str) -> DaemonMemory:
            return FolderStore(str(tmp_path / "state"))

    store = FolderStore(str(tmp_path / "state"))
    services = Parts()
    assert call(services, "suspend", "web01", "--reason", "why").status == 0
    assert store.suspended()[vm("web01")].why == "why"
    with store.lock():
        assert "Within seconds" in call(services, "resume", "web01").out
    assert store.suspended() == {}
    assert store.load_records() == {}


def test_sudo_is_believed_as_root_only(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"SUDO_USER": "alice"}
    nobody = pwd.getpwnam("nobody").pw_uid
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert find_caller(environ) == "alice"
    assert find_caller({}) == "root"
    monkeypatch.setattr(os, "getuid", lambda: nobody)
    assert find_caller(environ) == "nobody"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert find_caller(environ) == "4000000000"
