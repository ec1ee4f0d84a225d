"""What a start of the host changes is nobody's doing: it is brought back, and told as that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.adapters.state.files import to_data, to_record
from reconciler.control.loop import Loop
from reconciler.core import metrics
from reconciler.core.records import Suspension
from reconciler.core.settings import Settings
from reconciler.core.world import GuestState

from .test_guests import KEY, World


class RestartedHost(World):
    """A machine that is ready, and whose host and daemon can be restarted."""

    def __init__(self, boot: str = "first", **spec: Any) -> None:
        super().__init__(**spec)
        self.start_daemon(boot)

    def start_daemon(self, boot: str) -> None:
        """Begin again with what was written down."""
        for key, record in self.store.records.items():
            self.store.records[key] = to_record(to_data(record))
        services = replace(self.loop.shared.services, boot=boot)
        self.loop = Loop(services, Settings())
        for driver in ("qemu", "storage", "network"):
            self.loop.reached(driver)
        self.publish()
        self.work()

    def stop(self) -> None:
        self.host.change("web01", state=GuestState.OFF, live_xml=None)

    def told(self, kind: str) -> str:
        return "\n".join(self.journal.lines(kind))


def test_a_guest_that_is_off_after_a_restart_of_the_host_was_changed_by_nobody() -> None:
    world = RestartedHost()
    world.stop()
    world.start_daemon("second")
    assert world.host.views["web01"].state is GuestState.RUNNING
    assert world.told("drift") == ""
    assert "web01: power: stopped -> running; the host was restarted" in world.told("changed")
    assert world.meter.total(metrics.DRIFT_FOUND) == 0
    assert world.meter.total(metrics.DRIFT_REPAIRED) == 0


def test_a_guest_that_the_host_has_started_was_started_by_nobody() -> None:
    world = RestartedHost(power="stopped", lifecycle={"disruption": "restart", "forceOff": True})
    world.host.domains.start("web01")
    world.start_daemon("second")
    assert world.host.views["web01"].state is GuestState.OFF
    assert world.told("drift") == ""
    assert "power: running -> stopped; the host was restarted" in world.told("changed")


def test_what_somebody_changes_after_that_is_told_as_theirs() -> None:
    world = RestartedHost()
    world.start_daemon("second")  # libvirt has started it
    assert world.told("changed") == ""
    world.stop()
    world.loop.domain_changed("web01")
    world.work()
    assert world.told("drift") == "web01: power: stopped -> running; someone had changed it"


@pytest.mark.parametrize("boot", ["first", ""])
def test_without_a_restart_of_the_host_it_was_someone(boot: str) -> None:
    world = RestartedHost(boot)
    world.stop()
    world.start_daemon(boot)
    assert world.told("drift") == "web01: power: stopped -> running; someone had changed it"


def test_another_field_was_changed_by_someone_also_while_the_host_was_off() -> None:
    world = RestartedHost(autostart=False)
    world.stop()
    world.host.change("web01", autostart=True)
    world.start_daemon("second")
    assert "autostart: true -> false; someone had changed it" in world.told("drift")
    assert "power" not in world.told("drift")


def test_a_start_that_had_to_wait_still_belongs_to_the_restart_of_the_host() -> None:
    world = RestartedHost()
    world.stop()
    world.store.suspensions[KEY] = Suspension("web01", 0.0)
    world.start_daemon("second")
    assert world.told("changed") == ""
    world.store.suspensions.clear()
    world.loop.reread_orders()
    world.work()
    assert "the host was restarted" in world.told("changed")
    assert world.told("drift") == ""


def test_a_manifest_that_changed_meanwhile_is_the_cause_of_the_change() -> None:
    world = RestartedHost(power="stopped")
    world.say(power="running")
    world.start_daemon("second")
    assert world.told("changed") == "web01: power: stopped -> running"
