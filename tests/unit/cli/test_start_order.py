"""`lifecycle.startAfter`: what is refused, what the plan says, and for whom `apply` waits."""

from __future__ import annotations

import json
import signal
from typing import Any, Dict, Mapping, Optional, Sequence, Set

import pytest

from reconciler.control.guest_looks import POLL, GuestLooks
from reconciler.core.guest import AgentState, DriverProbe, GuestReport
from reconciler.core.world import GuestState
from reconciler.errors import TransientError

from .fakes import FakeServices, Result, call, manifests

AGENT: Dict[str, Any] = {"power": "running", "guestAgent": True, "interfaces": []}
AFTER: Dict[str, Any] = {
    "power": "running",
    "interfaces": [],
    "lifecycle": {"startAfter": ["db01"]},
}
READY = GuestReport(AgentState.ANSWERS)
NOTE = "starts after db01 is ready"


def services_with(**specs: Mapping[str, Any]) -> FakeServices:
    """Return services for these machines, none of which is there."""
    return FakeServices(manifests(**specs))


def apply(services: FakeServices, *words: str) -> Result:
    """Apply all manifests unasked."""
    return call(services, "apply", "--yes", *words, "p")


def state_of(services: FakeServices, name: str) -> GuestState:
    """Return what the guest does."""
    return services.host.domains.read_domain(name).state


def volumes_of(services: FakeServices) -> Set[str]:
    """Return the names of all volumes."""
    return {
        volume.name for pool in services.host.pools.values() for volume in pool.volumes.values()
    }


def actions_of(services: FakeServices) -> Dict[str, Dict[str, Any]]:
    """Return what the plan does with each machine."""
    plan = json.loads(call(services, "plan", "--format", "json", "p").out)
    return {resource["name"]: resource for resource in plan["resources"]}


ELSEWHERE = {**AGENT, "placement": {"host": "kvm02"}}


@pytest.mark.parametrize(
    ("database", "words"),
    [
        (None, "no VirtualMachine 'db01' among the given manifests; there are: web01"),
        ({"power": "maybe"}, "VirtualMachine 'db01' is itself invalid"),
        ({"power": "running"}, "write `guestAgent: true` in the manifest of db01"),
        ({**AGENT, "guestAgent": False}, "write `guestAgent: true` in the manifest of db01"),
        (ELSEWHERE, "db01 is placed on kvm02, and aa01 on kvm01; only a guest of the same host"),
        ({**AGENT, "lifecycle": {"startAfter": ["aa01"]}}, "aa01 -> db01 -> aa01"),
    ],
)
def test_validate_says_what_to_write(database: Any, words: str) -> None:
    first = {**AGENT, **AFTER, "placement": {"host": "kvm01"}}
    here = {"placement": {"host": "kvm01"}}
    given = {} if database is None else {"db01": {**here, **database}}
    result = call(services_with(aa01=first, web01=here, **given), "validate", "p")
    assert (result.status, words in result.err) == (65, True), result.err


def test_a_machine_that_waits_for_itself_is_told_where_it_says_so() -> None:
    first = {**AGENT, "lifecycle": {"startAfter": ["db01", "aa01"]}}
    services = services_with(aa01=first, db01=AGENT)
    result = call(services, "validate", "p")
    assert result.status == 65
    [line] = [line for line in result.err.splitlines() if "aa01" in line]
    place, path, message = line.split(": ")
    assert (path, message) == (
        "spec.lifecycle.startAfter[1]",
        "aa01 cannot start after itself; take it out of this list",
    )
    name, number, _column = place.split(":")
    assert services.files[name].splitlines()[int(number) - 1].strip() == '"aa01"'


def test_what_libvirt_starts_by_itself_is_warned_of() -> None:
    result = call(services_with(aa01={**AFTER, "autostart": True}, db01=AGENT), "validate", "p")
    assert result.status == 0
    assert "spec.autostart: libvirt starts it with the host and waits for nobody" in result.err


@pytest.mark.parametrize("form", ["text", "json", "markdown", "html"])
def test_the_plan_says_it_in_every_format(form: str) -> None:
    services = services_with(aa01=AFTER, db01=AGENT)
    assert NOTE in call(services, "plan", "--format", form, "p").out


def test_it_is_started_when_the_other_guest_is_ready() -> None:
    services = services_with(aa01=AFTER, db01=AGENT)
    services.host.guests.reports["db01"] = READY
    result = apply(services)
    assert (result.status, services.host.guests.asked) == (0, ["db01"])
    assert state_of(services, "aa01") is GuestState.RUNNING
    assert services.clock.now() == 0.0
    services.host.guests.reports.clear()
    after = call(services, "plan", "--detailed-exitcode", "p")
    assert (after.status, NOTE in after.out) == (0, False)


def test_it_is_made_and_stays_off_where_the_other_is_never_ready() -> None:
    services = services_with(aa01=AFTER, db01=AGENT)
    result = apply(services)
    assert result.status == 1
    assert "aa01: waits until db01 is ready: the guest agent is not connected" in result.out
    assert "aa01: defined but not started: db01 was not ready within 10m" in result.err
    assert "2 created (1 not started)" in result.out
    assert state_of(services, "db01") is GuestState.RUNNING
    assert state_of(services, "aa01") is GuestState.OFF
    assert actions_of(services)["aa01"]["notes"] == [NOTE]
    services.host.guests.reports["db01"] = READY
    assert apply(services).status == 0
    assert state_of(services, "aa01") is GuestState.RUNNING


@pytest.mark.parametrize(("words", "limit"), [(("--wait=2m",), "2m"), (("--wait",), "30m")])
def test_it_waits_as_long_as_the_person_says(words: Sequence[str], limit: str) -> None:
    result = apply(services_with(aa01=AFTER, db01=AGENT), *words)
    assert f"aa01: defined but not started: db01 was not ready within {limit}" in result.err


def test_a_guest_that_runs_waits_for_nobody() -> None:
    services = services_with(aa01={"power": "running", "interfaces": []}, db01=AGENT)
    assert apply(services).status == 0
    services.files = manifests(aa01=AFTER, db01=AGENT)
    assert apply(services).status == 0
    assert services.host.guests.asked == []
    assert call(services, "plan", "--detailed-exitcode", "p").status == 0


def test_a_restart_is_not_kept_off_meanwhile() -> None:
    services = services_with(aa01={**AFTER, "cpus": 1}, db01=AGENT)
    services.host.guests.reports["db01"] = READY
    assert apply(services).status == 0
    services.host.guests.reports.clear()
    services.host.guests.asked.clear()
    lifecycle = {"startAfter": ["db01"], "disruption": "restart"}
    services.files = manifests(aa01={**AFTER, "cpus": 2, "lifecycle": lifecycle}, db01=AGENT)
    [plan] = [actions_of(services)["aa01"]]
    assert (plan["changes"][0]["effect"], plan["notes"]) == ("restart", [])
    result = apply(services)
    assert (result.status, services.host.guests.asked) == (0, [])
    assert "aa01: 1 change applied, restarted" in result.out


def test_a_rollback_does_not_wait() -> None:
    lifecycle = {"startAfter": ["db01"], "disruption": "restart"}
    services = services_with(aa01={**AFTER, "cpus": 1, "lifecycle": lifecycle}, db01=AGENT)
    services.host.guests.reports["db01"] = READY
    assert apply(services).status == 0
    services.files = manifests(aa01={**AFTER, "cpus": 2, "lifecycle": lifecycle}, db01=AGENT)
    assert apply(services).status == 0
    services.host.guests.reports.clear()
    services.host.guests.asked.clear()
    services.host.change("aa01", state=GuestState.OFF, live_xml=None)
    result = call(services, "rollback", "--yes", "aa01")
    assert (result.status, services.host.guests.asked) == (0, []), result.err + result.out


def test_one_that_failed_to_start_is_not_waited_for() -> None:
    services = services_with(aa01=AFTER, db01=AGENT)
    services.host.failures["start db01"] = TransientError("no memory")
    result = apply(services)
    assert result.status == 1
    assert (
        "aa01: defined but not started: db01 is not ready: the guest does not run (it failed in "
        "this run); correct that, and the next apply starts it"
    ) in result.err
    assert services.clock.now() < 10
    del services.host.failures["start db01"]
    services.host.guests.reports["db01"] = READY
    assert apply(services).status == 0
    assert state_of(services, "aa01") is GuestState.RUNNING


def test_one_that_cannot_be_planned_is_not_waited_for() -> None:
    database = {**AGENT, "interfaces": [{"name": "lan", "network": "nope"}]}
    services = services_with(aa01=AFTER, db01=database)
    result = apply(services)
    assert (
        "aa01: defined but not started: db01 is not ready: there is no such domain on this host "
        "(its plan says: interfaces[lan].network: no network 'nope'"
    ) in result.err
    assert services.clock.now() < 10


def test_one_without_a_channel_for_its_agent_is_not_waited_for() -> None:
    services = services_with(aa01=AFTER, db01=AGENT)
    services.host.guests.reports["db01"] = GuestReport(AgentState.NONE)
    assert "has no channel for the guest agent yet" in apply(services).err
    assert services.clock.now() < 10


def test_one_that_is_kept_off_by_its_manifest_withholds_the_start() -> None:
    services = services_with(aa01=AFTER, db01={**AGENT, "power": "stopped"})
    reason = "starts after db01, which is kept off by its manifest (power: stopped)"
    action = actions_of(services)["aa01"]
    [power] = [change for change in action["changes"] if change["path"] == "power"]
    assert (power["effect"], power["reason"].startswith(reason)) == ("withheld", True)
    assert apply(services).status == 0
    assert state_of(services, "aa01") is GuestState.OFF
    again = actions_of(services)["aa01"]
    assert [change["path"] for change in again["changes"]] == ["power"]
    assert again["action"] == "withheld"
    services.files = manifests(aa01=AFTER, db01=AGENT)
    services.host.guests.reports["db01"] = READY
    assert apply(services).status == 0
    assert state_of(services, "aa01") is GuestState.RUNNING
    services.files = manifests(aa01=AFTER, db01={**AGENT, "power": "stopped"})
    assert actions_of(services)["aa01"]["action"] == "none"
    stopped = {"power": "stopped"}
    services.files = manifests(aa01={**AFTER, **stopped}, db01={**AGENT, **stopped})
    assert apply(services).status == 0
    assert state_of(services, "aa01") is GuestState.OFF


@pytest.mark.parametrize("lanes", ["1", "4"])
def test_ctrl_c_in_the_wait_keeps_the_machine_and_the_next_apply_starts_it(lanes: str) -> None:
    disks = [{"name": "root", "size": "1GiB"}]
    services = services_with(aa01={**AFTER, "disks": disks}, db01=AGENT, zz01={})
    asked = services.host.guests.read

    def read(name: str, instance: str = "", probe: Optional[DriverProbe] = None) -> GuestReport:
        if not services.host.guests.asked:
            signal.raise_signal(signal.SIGINT)
        return asked(name, instance)

    services.host.guests.read = read  # type: ignore[method-assign]
    result = apply(services, f"--parallel={lanes}", "--wait=30h")
    assert result.status == 130
    assert (
        "aa01: defined but not started: interrupted while it waited until db01 is ready"
    ) in result.err
    assert "the next apply starts it" in result.err
    assert state_of(services, "aa01") is GuestState.OFF
    assert "aa01-root.qcow2" in volumes_of(services)
    services.host.guests.reports["db01"] = READY
    assert apply(services).status == 0
    assert state_of(services, "aa01") is GuestState.RUNNING


def test_who_waits_takes_no_lane_from_others() -> None:
    services = services_with(aa01=AFTER, db01=AGENT, zz01={})
    asked = services.host.guests.read

    def read(name: str, instance: str = "", probe: Optional[DriverProbe] = None) -> GuestReport:
        if "zz01" in services.host.domains.list_domains():
            services.host.guests.reports[name] = READY
        return asked(name, instance)

    services.host.guests.read = read  # type: ignore[method-assign]
    assert apply(services, "--parallel=1", "--wait=30h").status == 0
    assert state_of(services, "aa01") is GuestState.RUNNING


def test_a_machine_that_somebody_starts_meanwhile_is_as_it_shall_be() -> None:
    services = services_with(aa01=AFTER, db01=AGENT)
    asked = services.host.guests.read

    def read(name: str, instance: str = "", probe: Optional[DriverProbe] = None) -> GuestReport:
        if services.clock.now() > 60 and name not in services.host.guests.reports:
            services.host.domains.start("aa01")
            services.host.guests.reports[name] = READY
        return asked(name, instance)

    services.host.guests.read = read  # type: ignore[method-assign]
    assert apply(services).status == 0
    assert state_of(services, "aa01") is GuestState.RUNNING


def test_a_guest_is_looked_into_once_for_all_that_wait() -> None:
    services = services_with(db01=AGENT)
    assert apply(services).status == 0
    [machine] = services.load_manifests(()).desired.machines
    looks = GuestLooks(services.host, services.clock)
    assert looks.look(machine) == looks.look(machine)
    assert services.host.guests.asked == ["db01"]
    services.clock.sleep(POLL)
    looks.look(machine)
    assert services.host.guests.asked == ["db01", "db01"]
