"""`apply` and `adopt` beside a running daemon: nothing is done that it would undo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Tuple

import pytest

from reconciler.core.conditions import Conditions, unknown
from reconciler.core.manifest import Desired
from reconciler.core.plan import ActionKind, Change, Effect, SetAutostart, SetMetadata
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.core.settings import Settings
from tests.lab.keys import vm

from .fakes import FakeLoaded, FakeMemory, FakeParts, action, call, manifest, plan_of

CHANGE = Change("autostart", observed=False, desired=True, effect=Effect.LIVE)
STEPS = (SetAutostart(enabled=True),)
PLAN = plan_of(
    action("vm1", ActionKind.UPDATE, changes=(CHANGE,), steps=STEPS),
    action("vm2", ActionKind.UPDATE, changes=(CHANGE,), steps=STEPS),
)
READY = Conditions(ready=True).conditions()


@pytest.fixture
def beside(tmp_path: Path) -> Tuple[FakeParts, str]:
    """Return a daemon that has another manifest of vm1 in force, and its configuration."""
    records = {
        vm("vm1"): Record("vm1", generation="g0", conditions=READY),
        vm("vm2"): Record("vm2", generation="g1", conditions=READY),
    }
    memory = FakeMemory(records, SourceRecord("0123456789abcdef", "c"), daemon=812)
    desired = Desired.of(manifest("vm1"), manifest("vm2"))
    settings = Settings(state=str(tmp_path))
    return FakeParts(FakeLoaded(desired), PLAN, settings=settings, memory=memory), "config.yaml"


def test_what_the_daemon_would_undo_is_withheld_and_the_rest_is_done(
    beside: Tuple[FakeParts, str],
) -> None:
    parts, config = beside
    done = call(parts, "--config", config, "apply", "-y", "p")
    assert done.status == 4
    assert [one.name for one in parts.executed[0].actions if one.steps] == ["vm2"]
    assert "1 withheld" in done.out
    text = " ".join(done.out.split())
    assert (
        "the daemon (process 812) follows commit 0123456789ab and would undo this: change the "
        "manifest there, or first: virt-reconciler suspend vm1"
    ) in text


def test_after_a_suspension_it_is_done(beside: Tuple[FakeParts, str]) -> None:
    parts, config = beside
    parts.memory.suspensions[vm("vm1")] = Suspension("vm1", 5.0)
    done = call(parts, "--config", config, "apply", "-y", "p")
    assert done.status == 0
    assert all(one.steps for one in parts.executed[0].actions)


def test_a_daemon_that_does_not_run_or_has_no_manifest_of_it_undoes_nothing(
    beside: Tuple[FakeParts, str],
) -> None:
    parts, config = beside
    parts.memory.daemon = None
    assert call(parts, "--config", config, "apply", "-y", "p").status == 0
    parts.memory.daemon = 812
    gone = unknown("orphaned: its manifest is gone").conditions()
    parts.memory.records[vm("vm1")] = replace(parts.memory.records[vm("vm1")], conditions=gone)
    assert call(parts, "--config", config, "apply", "-y", "p").status == 0
    del parts.memory.records[vm("vm1")]
    assert call(parts, "--config", config, "apply", "-y", "p").status == 0


def test_another_hypervisor_than_the_daemons_is_no_conflict(
    beside: Tuple[FakeParts, str],
) -> None:
    parts, _ = beside
    assert call(parts, "-c", "qemu+ssh://other/system", "apply", "-y", "p").status == 0


def test_nothing_is_adopted_that_the_daemon_would_change(beside: Tuple[FakeParts, str]) -> None:
    parts, config = beside
    mark = Change("metadata.owner", None, "vm1", Effect.LIVE)
    parts.planned = plan_of(
        action("vm1", ActionKind.ADOPT, changes=(mark,), steps=(SetMetadata("<m/>", live=False),))
    )
    done = call(parts, "--config", config, "adopt", "vm1", "-f", "p")
    assert (done.status, parts.executed) == (4, [])
    assert "virt-reconciler suspend vm1" in done.err
