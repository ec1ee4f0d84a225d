"""Every effect word, on a running guest: what the plan promises is what the guest then shows.

For each row of the effect table: the plan names the effect; the apply does just that; the next
plan is empty; a guest that was promised to go on running did; and after a cold start everything is
as the manifest says.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.plan import Effect
from reconciler.core.planning.effects import TABLE
from tests.lab.guest import Guest, boot_overlays
from tests.real.booting import Bench
from tests.real.scenarios import SCENARIOS, Scenario

ELSEWHERE = {
    "uuid": "test_refusals",
    "machine-chipset": "test_refusals",
    "firmware": "test_refusals",
    "power-on": "test_power",
    "power-off": "test_power",
    "cpus-unplug": "test_power",
    "memory-undeflated": "test_power",
    "disk-bus-windows": "test_refusals",
    "disk-size-unknown": "test_refusals",
    "disk-shrink": "test_refusals",
    "disk-format": "test_refusals",
    "metadata": "test_power",
}


def test_every_row_of_the_table_is_proved() -> None:
    proved = {
        re.sub(r"-(scsi|usb|serial|readonly|change|eject|up|empty)$", "", one.row)
        for one in SCENARIOS
    }
    assert {row.id for row in TABLE} == proved | set(ELSEWHERE)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.row)
def test_the_effect_word_is_what_happens(scenario: Scenario, bench: Bench) -> None:
    if scenario.packed:
        bench = replace(bench, boot_overlays=boot_overlays(packed=True))
    before = bench.manifest(scenario.machine(changed=False), scenario.lifecycle)
    after = bench.manifest(scenario.machine(changed=True), scenario.lifecycle)
    guest = bench.boot(before)
    boot_id = guest.boot_id()
    seen = _look(scenario, guest)

    planned = {one.path: one.effect for one in bench.change(before, after).changes}
    assert planned.get(scenario.path) is scenario.effect

    bench.apply(after)
    assert guest.boot_id() == boot_id, "the guest was restarted"
    stored = bench.read(after, live=False)
    live = bench.read(after, live=True)
    wanted = scenario.read(after.machine)
    assert scenario.read(stored) == wanted or wanted is None
    if scenario.effect is Effect.LIVE:
        assert scenario.read(live) == scenario.read(stored)
        if scenario.seen is not None:
            bench.wait(lambda: _look(scenario, guest) != seen, "the guest sees the change")
    else:
        assert scenario.path in bench.pending(after)
        assert _look(scenario, guest) == seen, "the guest was disturbed before its restart"

    noticed = _look(scenario, guest)
    if after.machine.guest_agent is False:
        return  # such a guest cannot be asked any more
    guest = bench.cold_start(after)
    assert bench.pending(after) == ()
    # Waited for, as a balloon shrinks only once the guest's driver is there.
    bench.wait(
        lambda: scenario.read(bench.read(after, live=True)) == scenario.read(stored),
        "the guest runs with what was stored",
    )
    if scenario.seen is not None:
        expected = noticed if scenario.effect is Effect.LIVE else None
        again = _look(scenario, guest)
        assert again == expected if expected is not None else again != seen


def _look(scenario: Scenario, guest: Guest) -> Any:
    return scenario.seen(guest) if scenario.seen else None
