"""The loop on real libvirt: what becomes of a machine whose manifest is gone."""

from __future__ import annotations

import json
from dataclasses import replace

from reconciler.core.conditions import READY
from reconciler.core.machine import Power
from reconciler.core.manifest import Desired, Lifecycle, MachineManifest
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.records import Suspension
from reconciler.errors import Problem, TransientError
from tests.lab.keys import vm
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
    assert looping.journal.lines("pruned") == ["vm5: deleted: its manifest is gone"]
    assert vm("vm5") not in looping.store.records


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


def test_how_new_manifests_are_is_not_asked_of_a_clock_that_is_set(looping: Looping) -> None:
    names = [f"vm{number}" for number in range(6)]
    looping.publish(*doomed(*names))
    for name in names:
        looping.wait_ready(name)
    looping.loop.prune.settle = 3600
    looping.publish(*doomed(*names[1:]))
    ledger = looping.loop.shared.ledger
    ledger.change_source(lambda source: replace(source, since=0.0))  # for ages, by today's clock
    resync(looping)
    # A resync comes between the taking of new manifests and the writing down of when that was.
    looping.loop.shared.wanted.replace(ManifestSet("new", Desired.of(*doomed(*names[2:]))))
    resync(looping)
    assert sorted(stored(looping)) == names


def fail_to_go(looping: Looping, name: str) -> None:
    """Have a deletion decided and begun, and the last step of it fail from now on."""

    def hold(call: str) -> None:
        if call == "undefine":
            raise TransientError("not now")

    looping.hold = hold
    names = ["a", "b", "c", "d", "e", name]
    looping.publish(*doomed(*names))
    for one in names:
        looping.wait_ready(one)
    looping.publish(*doomed(*names[:-1]))
    looping.loop.resync()
    looping.wait(lambda: "not now" in looping.record(name).last_error, "it was tried")


def let_go(looping: Looping, name: str) -> None:
    """Have nothing fail any more, and what was begun tried again."""
    looping.hold = lambda _: None
    looping.loop.look_at([vm(name)])
    looping.wait_quiet()


def test_what_was_decided_once_is_forgotten_when_the_manifest_is_back(looping: Looping) -> None:
    fail_to_go(looping, "vm")
    looping.publish(*doomed("a", "b", "c", "d", "e", "vm"))
    looping.wait_ready("vm")
    resync(looping)
    looping.loop.prune.settle = 3600
    looping.hold = lambda _: None
    looping.publish(*doomed("a"))  # far too many at once, and that only now
    looping.wait_quiet()
    resync(looping)
    assert sorted(stored(looping)) == ["a", "b", "c", "d", "e", "vm"]


def test_other_manifests_have_a_deletion_that_waits_decided_anew(looping: Looping) -> None:
    fail_to_go(looping, "vm")
    problem = Problem("vm.yaml", 1, 1, "", "not YAML")  # it is back, with a slip of the pen
    looping.publish(*doomed("a", "b", "c", "d", "e"), problems=(problem,))
    let_go(looping, "vm")
    assert "vm" in stored(looping)


def test_a_suspension_holds_for_a_deletion_that_waits(looping: Looping) -> None:
    fail_to_go(looping, "vm")
    looping.store.suspensions[vm("vm")] = Suspension("vm", 1.0)
    let_go(looping, "vm")
    assert "vm" in stored(looping)
    looping.store.suspensions.clear()
    resync(looping)
    assert "vm" not in stored(looping)


def test_a_manifest_that_is_back_before_the_guest_is_off_keeps_everything(
    looping: Looping,
) -> None:
    policy = {"deletion": "undefine", "forceOff": True, "shutdownTimeout": "1s"}
    goes = Lifecycle(deletion="undefine", force_off=True)
    running = replace(manifest("vm", goes), spec=json.dumps({"lifecycle": policy}))
    others = doomed("a", "b", "c", "d", "e")
    looping.publish(running, *others)
    for one in ("vm", "a", "b", "c", "d", "e"):
        looping.wait_ready(one)

    def hold(call: str) -> None:
        if call == "power_off":
            looping.publish(running, *others)

    looping.hold = hold
    looping.publish(*others)
    resync(looping)
    assert "power_off" in looping.writes
    assert "undefine" not in looping.writes
    looping.wait_ready("vm")
    assert looping.virsh("domstate", "vm").stdout.strip() == "running"
