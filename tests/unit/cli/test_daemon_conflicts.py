"""`apply` and `adopt` beside a running daemon: nothing is done that it would undo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.core.conditions import Conditions, unknown
from reconciler.core.records import Record, SourceRecord, Suspension
from reconciler.core.settings import Settings
from reconciler.kinds.machine.domain.mark import drop_owner
from tests.lab.keys import vm

from .fakes import FakeMemory, FakeServices, applied, call, manifests

READY = Conditions(ready=True).conditions()
CONFIG = ("--config", "config.yaml")
APPLY = (*CONFIG, "apply", "-y", "p")


def generation_of(services: FakeServices, name: str) -> str:
    """Return the generation of a manifest."""
    [found] = [
        machine
        for machine in services.load_manifests(["p"]).desired.machines
        if machine.name == name
    ]
    return found.generation


@pytest.fixture
def beside(tmp_path: Path) -> FakeServices:
    """Return a daemon that has another manifest of vm1 in force, and its configuration."""
    services = applied(vm1={}, vm2={})
    services.files = manifests(vm1={"autostart": True}, vm2={"autostart": True})
    records = {
        vm("vm1"): Record("vm1", generation="another", conditions=READY),
        vm("vm2"): Record("vm2", generation=generation_of(services, "vm2"), conditions=READY),
    }
    services.memory = FakeMemory(records, SourceRecord("0123456789abcdef", "c"), daemon=812)
    services.settings = Settings(state=str(tmp_path))
    return services


def autostarted(services: FakeServices) -> str:
    """Return which of the machines are changed."""
    return " ".join(sorted(name for name, view in services.host.views.items() if view.autostart))


def test_what_the_daemon_would_undo_is_withheld_and_the_rest_is_done(beside: FakeServices) -> None:
    done = call(beside, *APPLY)
    assert done.status == 4
    assert autostarted(beside) == "vm2"
    assert "1 withheld" in done.out
    text = " ".join(done.out.split())
    assert (
        "the daemon (process 812) follows commit 0123456789ab and would undo this: change the "
        "manifest there, or first: virt-reconciler suspend vm1"
    ) in text


def test_after_a_suspension_it_is_done(beside: FakeServices) -> None:
    beside.memory.suspensions[vm("vm1")] = Suspension("vm1", 5.0)
    assert call(beside, *APPLY).status == 0
    assert autostarted(beside) == "vm1 vm2"


def test_a_daemon_that_does_not_run_undoes_nothing(beside: FakeServices) -> None:
    beside.memory.daemon = None
    assert call(beside, *APPLY).status == 0
    assert autostarted(beside) == "vm1 vm2"


@pytest.mark.parametrize("record", ["orphaned", "none"])
def test_a_daemon_that_has_no_manifest_of_it_undoes_nothing(
    beside: FakeServices, record: str
) -> None:
    former = beside.memory.records.pop(vm("vm1"))
    if record == "orphaned":
        gone = unknown("orphaned: its manifest is gone").conditions()
        beside.memory.records[vm("vm1")] = replace(former, conditions=gone)
    assert call(beside, *APPLY).status == 0
    assert autostarted(beside) == "vm1 vm2"


def test_another_hypervisor_than_the_daemons_is_no_conflict(beside: FakeServices) -> None:
    assert call(beside, "-c", "qemu+ssh://other/system", "apply", "-y", "p").status == 0
    assert autostarted(beside) == "vm1 vm2"


def test_nothing_is_adopted_that_the_daemon_would_change(beside: FakeServices) -> None:
    beside.files = manifests(vm1={})
    view = beside.host.views["vm1"]
    beside.host.change("vm1", persistent_xml=drop_owner(view.persistent_xml))
    done = call(beside, *CONFIG, "adopt", "vm1", "-f", "p")
    assert (done.status, beside.host.writes) == (4, [])
    assert "virt-reconciler suspend vm1" in done.err
