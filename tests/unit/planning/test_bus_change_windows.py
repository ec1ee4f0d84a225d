"""A staged bus change within `lifecycle.disruption`: when a guest is shut down for it, and said so."""

from __future__ import annotations

import pytest

from reconciler.core.machine import Disruption, Power
from reconciler.core.manifest import Desired, MachineManifest, Window
from reconciler.core.plan import Effect, PlanOptions
from reconciler.core.render.text import Style, render_text
from reconciler.core.world import GuestState
from reconciler.errors import TransientError
from reconciler.kinds.machine.observe import observe
from tests.unit.planning.walking import Walk, manifest_on

# The clock begins on Monday, 1970-01-12 at 13:46.
NIGHT = Window((5,), 23 * 60, 120)  # Saturday, 23:00 to 01:00
UNTIL_SATURDAY = ((5 * 24 + 23) * 60 - (13 * 60 + 46)) * 60  # seconds until it is open
IN_WINDOW = manifest_on(disruption=Disruption.WINDOW, windows=(NIGHT,))
OPENS = "the next maintenance window, which opens Sat 1970-01-17 23:00"


def proved(manifest: MachineManifest) -> Walk:
    """Return a running machine whose guest has shown the driver, with that manifest."""
    walk = Walk().prove()
    walk.manifest = manifest
    return walk


def print_plan(walk: Walk) -> str:
    """Return the plan as a person reads it."""
    options = PlanOptions(now=walk.clock.local())
    plan = observe(walk.host, Desired.of(walk.manifest)).plan(options)
    return render_text(plan, Style(colour=False))


def test_outside_of_its_window_the_guest_is_left_alone_and_the_plan_says_when() -> None:
    walk = proved(IN_WINDOW)
    walk.host.writes.clear()
    action = walk.apply()
    assert (walk.host.writes, walk.buses) == ([], ("sata",))
    assert action.awaits_window
    text = print_plan(walk)
    assert "! withheld  disks[root].bus: sata → virtio  # step 3 of 5: the guest has shown" in text
    assert f"the disks are moved when the guest is off, or restarted in {OPENS}" in text


def test_in_its_window_the_guest_is_shut_down_moved_and_started() -> None:
    walk = proved(IN_WINDOW)
    walk.clock.time += UNTIL_SATURDAY - 60
    assert walk.plan().steps == (), "a minute before it opens"
    walk.clock.time += 60
    assert "~ restart  disks[root].bus: sata → virtio" in print_plan(walk)
    assert "it is shut down, moved and started (a maintenance window is open)" in print_plan(walk)
    walk.host.writes.clear()
    walk.apply()
    assert walk.host.writes == [
        "set_metadata vm", "shut_down vm", "define vm", "start vm", "set_metadata vm",
    ]  # fmt: skip
    assert (walk.buses, walk.view.state) == (("virtio",), GuestState.RUNNING)


def test_the_driver_is_noted_outside_of_the_window_and_used_in_it() -> None:
    walk = Walk(IN_WINDOW).prepare()
    walk.show_helper()
    walk.apply()
    assert (bool(walk.mark.proved), walk.buses) == (True, ("sata",))
    walk.clock.time += UNTIL_SATURDAY + 119 * 60
    walk.apply()
    assert walk.buses == ("virtio",)


@pytest.mark.parametrize("disruption", Disruption)
@pytest.mark.parametrize("power", [None, Power.RUNNING, Power.STOPPED])
def test_a_guest_that_someone_else_turned_off_is_moved_at_once(
    disruption: Disruption, power: Power
) -> None:
    walk = proved(manifest_on(disruption=disruption, windows=(NIGHT,), power=power))
    walk.turn_off()
    [change] = [change for change in walk.plan().changes if change.path == "disks[root].bus"]
    assert (change.effect, change.reason) == (
        Effect.OFFLINE,
        "step 3 of 5: the disks are moved while the guest is off",
    )
    walk.apply()
    assert walk.buses == ("virtio",)
    is_started = power is Power.RUNNING
    assert walk.view.state is (GuestState.RUNNING if is_started else GuestState.OFF)


@pytest.mark.parametrize(
    ("disruption", "words"),
    [
        (Disruption.NEVER, "moved when the guest is off (lifecycle.disruption is never)"),
        (Disruption.WHEN_OFF, "moved when the guest is off (lifecycle.disruption is whenOff)"),
        (Disruption.WINDOW, "moved when the guest is off, or restarted in the next maintenance"),
        (Disruption.RESTART, "moved and started (lifecycle.disruption allows the restart)"),
    ],
)
def test_the_plan_says_by_what_the_guest_is_restarted_or_not(
    disruption: Disruption, words: str
) -> None:
    walk = proved(manifest_on(disruption=disruption))
    assert words in print_plan(walk)
    walk.apply()
    assert walk.buses == (("virtio",) if disruption is Disruption.RESTART else ("sata",))


def test_the_way_back_waits_for_the_window_too() -> None:
    walk = Walk().switch()
    walk.manifest = IN_WINDOW
    walk.clock.time += 600
    assert f"comes back when the guest is off, or restarted in {OPENS}" in print_plan(walk)
    walk.apply()
    assert (walk.buses, walk.plan().steps) == (("virtio",), ())
    walk.clock.time = UNTIL_SATURDAY
    assert "# in 10m since its start on virtio at 1970-01-12T13:46:40Z" in print_plan(walk)
    walk.apply()
    assert (walk.buses, walk.view.state) == (("sata",), GuestState.RUNNING)


def test_a_guest_that_did_not_shut_down_in_its_window_is_a_persons_again() -> None:
    walk = proved(IN_WINDOW)
    walk.clock.time += UNTIL_SATURDAY
    walk.host.failures["shut_down"] = TransientError("it did not shut down")
    assert walk.carry_out(walk.plan()).error is not None
    assert (walk.buses, walk.view.state) == (("sata",), GuestState.RUNNING)
    walk.clock.time += 3 * 3600
    assert "who turns it off now, keeps it off" in print_plan(walk)
    walk.apply()
    assert walk.plan().steps == ()
    walk.turn_off()
    walk.apply()
    assert (walk.buses, walk.view.state) == (("virtio",), GuestState.OFF)
