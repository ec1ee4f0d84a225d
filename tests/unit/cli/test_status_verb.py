"""`status`: conditions from live state."""

from __future__ import annotations

import json
from typing import Dict, Optional, Tuple, Union

import pytest

from reconciler.control.observe import read
from reconciler.core.domain import set_owner
from reconciler.core.owner import Owner
from reconciler.core.status import find_status
from reconciler.core.world import DomainView, GuestState, Reading, Unknown

from .domains import LIVE, STORED
from .fakes import FakeParts, call


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


def owned(name: str = "web01", spec: str = "{}", creating: Tuple[str, ...] = ()) -> Owner:
    return Owner(name, "g1", spec, "rocky9", creating)


def test_only_owned_machines_are_listed_unless_named() -> None:
    domains: Dict[str, Union[Reading, Unknown]] = {
        "web01": reading(owner=owned()),
        "hand-made": reading("hand-made"),
        "copy": reading("copy", owner=owned("web01")),
        "dark": Unknown("timed out"),
    }
    parts = FakeParts(domains=domains)
    listed = json.loads(call(parts, "status", "--format", "json").out)["resources"]
    assert [one["name"] for one in listed] == ["web01"]
    named = call(parts, "status", "dark", "hand-made").out.splitlines()
    assert named[1].split(None, 3) == ["dark", "unknown", "Unknown", named[1].split(None, 3)[3]]
    assert named[1].endswith("timed out")
    assert named[2].endswith("not owned")


def test_name_that_is_not_there_is_an_error_and_the_others_are_shown() -> None:
    result = call(FakeParts(domains={"web01": reading(owner=owned())}), "status", "web01", "gone")
    assert result.status == 1
    assert result.err == "virt-reconciler: error: gone: no such domain on this host\n"
    assert "web01" in result.out


def test_host_without_owned_machines_says_so() -> None:
    result = call(FakeParts(domains={"x": reading("x")}), "status")
    assert (result.status, result.err) == (0, "")
    assert result.out == "No virtual machine of this host is owned by virt-reconciler.\n"


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
        pytest.param(reading(), None, "not owned", id="not-ours"),
    ],
)
def test_ready(one: Reading | Unknown, ready: Optional[bool], reason: str) -> None:
    condition = find_status("web01", one).condition("Ready")
    assert (condition.holds, condition.reason) == (ready, reason)


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
