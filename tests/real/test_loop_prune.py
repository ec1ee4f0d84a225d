"""The loop on real libvirt: what becomes of a machine whose manifest is gone."""

from __future__ import annotations

from reconciler.core.loop.verdict import READY
from reconciler.core.manifest import Lifecycle, MachineManifest
from reconciler.core.model import Power
from reconciler.errors import Problem
from tests.real.looping import Looping, manifest, stored

GOES = Lifecycle(deletion="undefine")


def doomed(*names: str) -> list[MachineManifest]:
    return [manifest(name, GOES, power=Power.STOPPED) for name in names]


def resync(looping: Looping, times: int = 1) -> None:
    for _ in range(times):
        looping.loop.resync()
        looping.wait_quiet()


def test_a_machine_goes_once_its_manifest_is_gone_for_a_whole_resync(looping: Looping) -> None:
    names = [f"vm{number}" for number in range(6)]
    looping.publish(*doomed(*names))
    for name in names:
        looping.wait_ready(name)
    resync(looping)
    looping.loop.prune.settle = 3600
    looping.publish(*doomed(*names[:-1]))
    resync(looping, 3)
    assert "vm5" in stored(looping), "it was only away for a moment, for all we know"
    looping.loop.prune.settle = 0
    resync(looping)
    assert sorted(stored(looping)) == names[:-1]
    assert looping.journal.lines("pruned") == ["vm5: deleted, as its manifest is gone"]
    assert "vm5" not in looping.store.records


def test_an_orphan_stays_and_is_reported(looping: Looping) -> None:
    looping.publish(manifest(power=Power.STOPPED), *doomed("other"))
    looping.wait_ready("vm")
    looping.wait_ready("other")
    looping.publish(*doomed("other"))
    resync(looping, 3)
    assert "vm" in stored(looping)
    assert "orphaned" in looping.record("vm").condition(READY).reason
    looping.publish(manifest(power=Power.STOPPED), *doomed("other"))
    looping.wait_ready("vm")  # the commit was reverted: nothing has to be adopted


def test_too_many_at_once_wait_for_a_person(looping: Looping) -> None:
    looping.publish(*doomed("one", "two", "three"))
    for name in ("one", "two", "three"):
        looping.wait_ready(name)
    looping.publish(revision="empty")
    resync(looping, 3)
    assert sorted(stored(looping)) == ["one", "three", "two"]
    assert "virt-reconciler prune" in looping.store.source.prune_blocked
    assert len(looping.journal.lines("prune-blocked")) == 1
    looping.store.confirmed = "empty"
    looping.loop.reread_orders()
    assert looping.loop.resync_due.is_set()
    resync(looping)
    assert stored(looping) == [], looping.record("two")
    assert looping.store.source.prune_blocked == ""


def test_nothing_goes_while_a_manifest_cannot_be_read(looping: Looping) -> None:
    looping.publish(*doomed("one", "two", "three", "four", "five", "six"))
    for name in ("one", "two", "three", "four", "five", "six"):
        looping.wait_ready(name)
    problem = Problem("other.yaml", 1, 1, "", "not YAML")
    looping.publish(*doomed("one", "two", "three", "four", "five"), problems=(problem,))
    resync(looping, 3)
    assert "six" in stored(looping)
