"""Every effect word, on a running guest: what the plan promises is what the guest then shows.

For each row of the effect table: the plan names the effect; the apply does just that; the next
plan is empty; a guest that was promised to go on running did; and after a cold start everything is
as the manifest says. A guest carries the rows of one group, one change after another, each looked at
before the next is planned; then one cold start shows them all.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Iterator, List, Set

import pytest

from reconciler.core.machine import Machine
from reconciler.core.plan import Effect
from reconciler.kinds.machine.planning.effects import TABLE
from tests.lab.guest import Guest, boot_overlays
from tests.real.booting import Bench
from tests.real.groups import GROUPS, SCENARIOS, SEALED
from tests.real.scenarios import BASE, Scenario

ELSEWHERE = {
    "uuid": "test_refusals",
    "machine-chipset": "test_refusals",
    "firmware": "test_refusals",
    "power-on": "test_power",
    "power-off": "test_power",
    "power-restore": "test_states",
    "power-resume": "test_states",
    "power-wake": "test_states",
    "power-crashed": "test_states",
    "power-leaving": "test_states",
    "cpus-unplug": "test_power",
    "memory-undeflated": "test_power",
    "disk-bus-staged": "test_refusals",
    "interface-model-staged": "test_staged_bus_change",
    "disk-size-unknown": "test_refusals",
    "disk-shrink": "test_refusals",
    "disk-format": "test_refusals",
    "disk-format-other": "test_images",
    "disk-grow-other": "test_images",
    "interface-foreign": "test_adoption",
    "metadata": "test_power",
    "credentials": "test_ignition",
    "graphics-password": "test_secrets",
    "graphics-password-first": "test_secrets",
}


@dataclass(frozen=True)
class Done:
    """One change that was made: what was stored, and what the guest saw before and after it."""

    scenario: Scenario
    stored: Any
    before: Any
    noticed: Any


@dataclass
class Trial:
    """One running guest, the machine that is wanted of it, and what was done to it so far."""

    bench: Bench
    guest: Guest
    machine: Machine
    boot_id: str
    waiting: Set[str] = field(default_factory=set)
    done: List[Done] = field(default_factory=list)

    def change(self, one: Scenario) -> None:
        """Plan and apply one scenario's change, and look at it while the guest runs."""
        former = self.bench.manifest(self.machine)
        self.machine = one.after(self.machine)
        after = self.bench.manifest(self.machine)
        seen = look(one, self.guest)
        lived = one.read(self.bench.read(former, live=True))
        planned = self.bench.change(former, after, self.waiting).changes
        assert {change.path: change.effect for change in planned}.get(one.path) is one.effect

        self.bench.apply(after)
        assert self.guest.boot_id() == self.boot_id, "the guest was restarted"
        stored = one.read(self.bench.read(after, live=False))
        live = one.read(self.bench.read(after, live=True))
        wanted = one.read(after.machine)
        assert stored == wanted or wanted is None
        self.waiting = set(self.bench.pending(after))
        if one.effect is Effect.LIVE:
            assert live == stored
            assert one.path not in self.waiting
            if one.seen is not None:
                self.bench.wait(lambda: look(one, self.guest) != seen, "the guest sees the change")
        else:
            assert live == lived
            assert one.path in self.waiting
            assert look(one, self.guest) == seen, "the guest was disturbed before its restart"
        self.done.append(Done(one, stored, seen, self.settle(one)))

    def settle(self, one: Scenario) -> Any:
        """Return what the guest shows once two looks agree: a medium is not readable at once."""
        shown = [look(one, self.guest)]

        def is_settled() -> bool:
            shown.append(look(one, self.guest))
            return bool(shown[-1] == shown[-2])

        self.bench.wait(is_settled, "the guest settles")
        return shown[-1]

    def restart(self) -> None:
        """Shut the guest down and start it: now nothing waits any more."""
        self.guest = self.bench.cold_start(self.bench.manifest(self.machine))
        assert self.guest.boot_id() != self.boot_id

    def look_again(self, one: Done) -> None:
        """Look at a change in the guest that was started anew."""
        scenario, manifest = one.scenario, self.bench.manifest(self.machine)
        # Waited for, as a balloon shrinks only once the guest's driver is there.
        self.bench.wait(
            lambda: scenario.read(self.bench.read(manifest, live=True)) == one.stored,
            "the guest runs with what was stored",
        )
        if scenario.effect is Effect.LIVE:  # waited for, as a USB disk is found late
            self.bench.wait(lambda: look(scenario, self.guest) == one.noticed, "it is as it was")
        elif scenario.seen is not None:
            self.bench.wait(lambda: look(scenario, self.guest) != one.before, "the guest sees it")


def look(scenario: Scenario, guest: Guest) -> Any:
    """Return what the guest shows of it."""
    return scenario.seen(guest) if scenario.seen else None


@contextmanager
def said_of(scenario: Scenario) -> Iterator[None]:
    """Name the row that fails, among those that share a guest."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"row {scenario.row}: {type(error).__name__}: {error}") from error


def test_every_row_of_the_table_is_proved() -> None:
    proved = {
        re.sub(r"-(scsi|usb|serial|readonly|change|eject|up|empty)$", "", scenario.row)
        for scenario in SCENARIOS
    }
    assert {row.id for row in TABLE} == proved | set(ELSEWHERE)
    assert len({scenario.row for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("group", GROUPS)
def test_the_effect_words_are_what_happens(group: str, bench: Bench) -> None:
    if GROUPS[group] is SEALED:
        bench = replace(bench, boot_overlays=boot_overlays(packed=True))
    machine = BASE
    for scenario in GROUPS[group]:
        machine = scenario.before(machine)
    guest = bench.boot(bench.manifest(machine))
    trial = Trial(bench, guest, machine, guest.boot_id())
    for scenario in GROUPS[group]:
        with said_of(scenario):
            trial.change(scenario)
    if trial.machine.guest_agent is False:
        return  # such a guest cannot be asked any more
    trial.restart()
    for done in trial.done:
        with said_of(done.scenario):
            trial.look_again(done)
