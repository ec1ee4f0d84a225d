"""`apply --wait`: for whom it waits, what it shows meanwhile, and how it ends."""

from __future__ import annotations

from typing import Any, Mapping, Optional

import pytest

from reconciler.core.frozen import replace
from reconciler.core.guest import (
    AgentState,
    CloudInitReport,
    CloudInitState,
    DriverProbe,
    GuestReport,
)

from .fakes import FakeServices, call, manifests

SPEC: Mapping[str, Any] = {"power": "running", "guestAgent": True, "interfaces": []}
READY = GuestReport(AgentState.ANSWERS)


def services_with(**specs: Mapping[str, Any]) -> FakeServices:
    """Return services for these machines, none of which is there."""
    return FakeServices(manifests(**specs))


def test_it_waits_until_the_guest_is_ready() -> None:
    services = services_with(vm1=SPEC)
    services.host.guests.reports["vm1"] = READY
    result = call(services, "apply", "--yes", "--wait", "p")
    assert result.status == 0
    assert "vm1: guest ready after" in result.out


def test_a_guest_that_is_late_is_named_with_the_reason() -> None:
    services = services_with(vm1=SPEC, vm2=SPEC)
    services.host.guests.reports["vm2"] = READY
    result = call(services, "apply", "--yes", "--wait=2m", "p")
    assert result.status == 1
    assert "vm1: its guest is not ready after 2m: the guest agent is not connected" in result.err
    assert "vm2: guest ready after" in result.out


def test_a_guest_whose_cloud_init_failed_is_not_waited_for_any_longer() -> None:
    services = services_with(vm1=SPEC, vm2=SPEC)
    failed = CloudInitReport(CloudInitState.FAILED, errors=("no such user",))
    services.host.guests.reports["vm1"] = replace(READY, cloud_init=failed)
    services.host.guests.reports["vm2"] = READY
    result = call(services, "apply", "--yes", "--wait=30m", "p")
    assert result.status == 1
    assert "vm1: its guest is not ready after 0s: cloud-init failed: no such user" in result.err


def test_its_progress_is_one_line_on_a_terminal() -> None:
    result = call(services_with(vm1=SPEC), "apply", "--yes", "--wait=2m", "p", terminal=True)
    assert "waiting for vm1 since" in result.out


@pytest.mark.parametrize(
    ("spec", "note"),
    [
        ({"power": "running"}, "vm1 is not waited for"),
        ({"power": "running", "guestAgent": False}, "vm1 is not waited for"),
        ({"guestAgent": True}, ""),
    ],
)
def test_it_waits_only_for_who_can_answer(spec: Mapping[str, Any], note: str) -> None:
    services = services_with(vm1=spec)
    result = call(services, "apply", "--yes", "--wait=2m", "p")
    assert (result.status, note in result.err) == (0, True)
    assert services.host.guests.asked == []


def test_it_does_not_wait_where_nothing_was_done() -> None:
    services = services_with(vm1=SPEC)
    call(services, "apply", "--yes", "p")
    services.host.guests.asked.clear()
    assert call(services, "apply", "--yes", "--wait=2m", "p").status == 0
    assert services.host.guests.asked == []


def test_what_is_no_time_is_refused_before_anything_is_done() -> None:
    services = services_with(vm1=SPEC)
    result = call(services, "apply", "--yes", "--wait=soon", "p")
    assert (result.status, services.host.writes) == (64, [])
    assert "like --wait=30m" in result.err


def test_an_interrupted_wait_leaves_what_was_applied() -> None:
    services = services_with(vm1=SPEC)

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    def read(name: str, instance: str = "", probe: Optional[DriverProbe] = None) -> GuestReport:
        services.clock.sleep = interrupt  # type: ignore[method-assign]
        return GuestReport(AgentState.DISCONNECTED)

    services.host.guests.read = read  # type: ignore[method-assign]
    result = call(services, "apply", "--yes", "--wait", "p")
    assert (result.status, "what was applied stays" in result.err) == (130, True)
