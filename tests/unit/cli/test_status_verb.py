"""`status`: what the daemon remembers, or conditions from live state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple, Union

import pytest

from reconciler.cli import settings as settings_module
from reconciler.core.conditions import Conditions, failed
from reconciler.core.names import Owner
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.core.settings import DirectorySource, Settings
from reconciler.core.world import DomainView, GuestState, Reading, Unknown
from reconciler.errors import TransientError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.status import find_status
from tests.lab.keys import vm
from tests.unit.memory_host import MemoryHost, empty_host

from .domains import LIVE, STORED
from .fakes import FakeMemory, FakeServices, call


def reading(
    name: str = "web01",
    *,
    owner: Optional[Owner] = None,
    live: Optional[str] = None,
    stored: str = STORED,
) -> Reading:
    xml = stored.replace("<name>web01</name>", f"<name>{name}</name>")
    xml = set_owner(xml, owner) if owner else xml
    state = GuestState.RUNNING if live else GuestState.OFF
    return read(DomainView(name, "u", state, xml, live))


def seeing(
    domains: Mapping[str, Union[Reading, Unknown]], memory: Optional[FakeMemory] = None
) -> FakeServices:
    """Return a host with these domains, beside a daemon with this memory."""
    views = {
        name: domain.view if isinstance(domain, Reading) else domain
        for name, domain in domains.items()
    }
    host = MemoryHost(replace(empty_host(), domains=views))
    return FakeServices(host=host, memory=memory or FakeMemory())


def owned(name: str = "web01", spec: str = "{}", creating: Tuple[str, ...] = ()) -> Owner:
    return Owner(name, "g1", spec, "rocky9", creating)


def test_only_owned_machines_are_listed_unless_named() -> None:
    domains: Dict[str, Union[Reading, Unknown]] = {
        "web01": reading(owner=owned()),
        "hand-made": reading("hand-made"),
        "copy": reading("copy", owner=owned("web01")),
        "dark": Unknown("timed out"),
    }
    services = seeing(domains)
    listed = json.loads(call(services, "status", "--format", "json").out)["resources"]
    assert [one["name"] for one in listed] == ["web01"]
    named = call(services, "status", "dark", "hand-made").out.splitlines()
    assert named[1].split(None, 3) == ["dark", "unknown", "Unknown", named[1].split(None, 3)[3]]
    assert named[1].endswith("timed out")
    assert named[2].endswith("not managed")


def test_machine_that_was_renamed_is_listed_with_what_to_do() -> None:
    domains: Dict[str, Union[Reading, Unknown]] = {"new": reading("new", owner=owned("old"))}
    [line] = call(seeing(domains), "status").out.splitlines()[1:]
    assert line.startswith("new ")
    assert "has the mark of old, so it was renamed: virsh domrename new old, or" in line
    both = {**domains, "old": reading("old")}
    [line] = call(seeing(both), "status").out.splitlines()[1:]
    assert line.startswith("new ")
    assert "so it was renamed, and another domain has that name now: rename the manifest" in line
    assert "domrename" not in line
    both = {**domains, "old": reading("old", owner=owned("old"))}
    [line] = call(seeing(both), "status").out.splitlines()[1:]
    assert line.startswith("old ")
    swapped = {"a": reading("a", owner=owned("b")), "b": reading("b", owner=owned("a"))}
    assert len(call(seeing(swapped), "status").out.splitlines()) == 3
    copy = Owner("old", "g1", made=("/images/old-root.qcow2",))  # its disks are others
    services = seeing({"new": reading("new", owner=copy)})
    assert "manages no virtual machine of this host" in call(services, "status").out


def test_name_that_is_not_there_is_an_error_and_the_others_are_shown() -> None:
    result = call(seeing({"web01": reading(owner=owned())}), "status", "web01", "gone")
    assert result.status == 1
    assert result.err == "virt-reconciler: error: gone: no such domain on this host\n"
    assert "web01" in result.out


def test_host_without_owned_machines_says_so() -> None:
    result = call(seeing({"x": reading("x")}), "status")
    assert (result.status, result.err) == (0, "")
    assert result.out == "virt-reconciler manages no virtual machine of this host.\n"


@pytest.mark.parametrize(
    ("one", "ready", "reason"),
    [
        pytest.param(reading(owner=owned()), True, "", id="off-and-nobody-minds"),
        pytest.param(
            reading(owner=owned(spec='{"power":"running"}')),
            False,
            "should be running and is off",
            id="off-though-wanted",
        ),
        pytest.param(
            reading(owner=owned(spec='{"power":"stopped"}'), live=LIVE),
            False,
            "should be stopped and is running",
            id="running-though-not-wanted",
        ),
        pytest.param(
            reading(owner=owned(creating=("/x.qcow2",))),
            False,
            "its disks are not complete",
            id="interrupted-creation",
        ),
        pytest.param(reading(owner=owned(spec="nonsense")), True, "", id="foreign-spec"),
        pytest.param(Unknown("timed out"), None, "timed out", id="unreadable"),
        pytest.param(reading(), None, "not managed", id="not-ours"),
    ],
)
def test_ready(one: Reading | Unknown, ready: Optional[bool], reason: str) -> None:
    condition = find_status("web01", one).condition("Ready")
    assert (condition.holds, condition.reason) == (ready, reason)


RUNS = owned(spec='{"power":"running"}')


@pytest.mark.parametrize(
    ("state", "more", "shown", "reason"),
    [
        ("PAUSED", {"state_reason": "user"}, "paused (user)", "(user): virsh resume web01"),
        ("CRASHED", {"state_reason": "panicked"}, "crashed (panicked)", ": virsh destroy web01"),
        ("PMSUSPENDED", {}, "pmsuspended", ": virsh dompmwakeup web01"),
        ("OFF", {"saved": True}, "off, with a saved state", "is off, with a saved state"),
        ("RUNNING", {"job": "backup"}, "running, backup under way", ""),
        ("RUNNING", {"persistent": False}, "running, transient", "virsh define web01.xml"),
    ],
)
def test_states_between_on_and_off_are_shown_with_what_helps(
    state: str, more: Dict[str, Any], shown: str, reason: str
) -> None:
    live = LIVE if state != "OFF" else None
    found = reading(owner=RUNS, live=live)
    found = replace(found, view=replace(found.view, state=GuestState[state], **more))
    services = seeing({"web01": found})
    [seen] = json.loads(call(services, "status", "--format", "json").out)["resources"]
    assert (seen["state"], seen["guest"]) == (GuestState[state].value, shown)
    [ready] = [one for one in seen["conditions"] if one["type"] == "Ready"]
    assert ready["status"] == str(not reason)
    assert reason in ready["reason"]
    row = call(services, "status").out.splitlines()[1]
    assert row.startswith(f"web01  {shown}  ")


def test_interrupted_creation_is_reconciling() -> None:
    status = find_status("web01", reading(owner=owned(creating=("/x.qcow2",))))
    assert status.condition("Reconciling").holds is True


def test_restart_is_required_while_the_guest_runs_with_something_else() -> None:
    stored = STORED.replace("bus='sata'", "bus='virtio'").replace("dev='sda'", "dev='vda'")
    status = find_status("web01", reading(owner=owned(), live=LIVE, stored=stored))
    condition = status.condition("RestartRequired")
    assert (condition.holds, condition.reason) == (True, "disks[root].bus")


def test_no_restart_is_required_when_off_or_the_same() -> None:
    for live in (None, LIVE):
        status = find_status("web01", reading(owner=owned(), live=live))
        assert status.condition("RestartRequired").holds is False


def test_cpu_that_libvirt_resolved_at_start_needs_no_restart() -> None:
    stored = STORED.replace("<devices>", "<cpu mode='host-model'/><devices>")
    live = LIVE.replace("<devices>", "<cpu mode='custom'><model>EPYC</model></cpu><devices>")
    status = find_status("web01", reading(owner=owned(), live=live, stored=stored))
    assert status.condition("RestartRequired").holds is False


def remembered(**more: object) -> FakeMemory:
    records = {
        vm("db01"): Record(
            "db01", "running", conditions=failed("no pool", again=False).conditions()
        ),
        vm("web01"): Record("web01", "running", conditions=Conditions(ready=True).conditions()),
    }
    source = SourceRecord("f00d" * 10, "f00d" * 10, 999_700.0, watching="inotify")
    known = {"records": records, "source": source, "daemon": 812, **more}
    return FakeMemory(**known)  # type: ignore[arg-type]  # by name


def test_what_the_daemon_remembers_is_shown_without_asking_libvirt() -> None:
    services = FakeServices(memory=remembered(), unreachable=TransientError("libvirt is away"))
    result = call(services, "status")
    assert (result.status, result.err) == (0, "")
    assert "Daemon: running, process 812" in result.out
    assert "in force for 5m" in result.out
    assert "db01: Stalled\n  Stalled: no pool\n" in result.out
    assert result.out.endswith("2 virtual machines: 1 Ready, 1 Stalled.\n")
    document = json.loads(call(services, "status", "--format", "json").out)
    assert (document["from"], document["formatVersion"]) == ("daemon", 1)
    assert [one["status"] for one in document["resources"]] == ["Stalled", "Ready"]
    assert services.uris == []


def test_a_machine_that_is_named_is_shown_in_full() -> None:
    services = FakeServices(memory=remembered())
    out = call(services, "status", "web01").out
    assert "db01" not in out
    assert "RestartRequired: False" in out
    assert "RestartRequired: False" not in call(services, "status").out


def test_a_name_that_the_daemon_does_not_know_is_an_error_and_the_others_are_shown() -> None:
    result = call(FakeServices(memory=remembered()), "status", "web01", "gone")
    assert result.status == 1
    assert result.err.startswith(
        "virt-reconciler: error: gone: the daemon knows no virtual machine"
    )
    assert "web01" in result.out
    assert call(FakeServices(memory=remembered()), "status", "gone").out == ""


def test_live_asks_libvirt_whatever_is_remembered() -> None:
    seen = reading("web09", owner=owned("web09"))
    out = call(seeing({"web09": seen}, memory=remembered()), "status", "--live").out
    assert "web09" in out
    assert "db01" not in out


@pytest.mark.parametrize("memory", [FakeMemory(), remembered()])
def test_a_suspended_machine_is_not_called_ready_by_libvirt_either(memory: FakeMemory) -> None:
    memory.suspensions[vm("web01")] = Suspension("web01", 5.0, "alice", "new disks")
    services = seeing({"web01": reading(owner=owned())}, memory=memory)
    row = call(services, "status", "--live").out.splitlines()[1]
    assert row.split()[:3] == ["web01", "off", "Suspended"]
    assert row.endswith("  suspended: new disks")


def test_who_may_not_read_the_memory_is_told_and_gets_what_libvirt_says() -> None:
    memory = remembered(unreadable=TransientError("/state: cannot be read: Permission denied"))
    services = seeing({"web01": reading(owner=owned())}, memory=memory)
    result = call(services, "status")
    assert result.status == 0
    assert result.err.startswith("virt-reconciler: note: /state: cannot be read: Permission denied")
    assert result.out.splitlines()[1].startswith("web01")


def test_a_daemon_that_has_looked_at_nothing_yet_still_says_what_is_wrong() -> None:
    memory = FakeMemory(source=SourceRecord(error="no such folder: /m"), daemon=812)
    out = call(FakeServices(memory=memory), "status").out
    assert "Not read: no such folder: /m" in out
    assert out.endswith("Nothing has been inspected yet.\n")


def test_another_libvirt_is_none_of_the_daemons() -> None:
    services = seeing({"far": reading("far", owner=owned("far"))}, remembered())
    assert "far" in call(services, "status", "-c", "qemu+ssh://elsewhere/system").out
    assert services.states == []
    assert "db01" in call(services, "status", "-c", "qemu:///system").out


def test_the_memory_and_the_libvirt_are_those_of_the_configuration_that_is_named() -> None:
    settings = Settings(directory=DirectorySource("/m"), connect="test:///x", state="/other")
    services = FakeServices(settings=settings)
    call(services, "status", "--config", "other.yaml")
    assert (services.states, services.uris) == (["/other"], ["test:///x"])


def test_without_a_configuration_libvirt_itself_decides_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "CONFIG_FILE", str(tmp_path / "config.yaml"))
    services = FakeServices()
    call(services, "status")
    assert services.uris == [None]
