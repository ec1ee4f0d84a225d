"""Several objects at a time: the order that is kept, Ctrl-C, and faults of our own."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from typing import Callable, Dict, List, Sequence, Tuple

import pytest

from reconciler.control.executor import (
    ActionLanes,
    Interruption,
    LaneClock,
    Order,
    find_order,
)
from reconciler.core.machine import Disk, Machine
from reconciler.core.manifest import Desired, MachineManifest, Place, TemplateManifest
from reconciler.core.plan import Action, ActionKind, CreateVolume, Outcome, Start
from reconciler.kinds.host.planning import KIND as HOST
from tests.unit.fake_clock import FakeClock
from tests.unit.planning.worlds import manifest_of

LIMIT = 30.0  # seconds after which a test that waits for another lane has failed
NO_ORDER = Order({}, {})
ACTIONS = tuple(Action("VirtualMachine", f"vm{number}", ActionKind.CREATE) for number in range(6))
Carry = Callable[[Action, Interruption], Outcome]


def done(action: Action, error: str = "") -> Outcome:
    return Outcome(action.name, action.action, error or None)


def run(
    carry: Carry, actions: Sequence[Action] = ACTIONS, order: Order = NO_ORDER, lanes: int = 4
) -> Tuple[Outcome, ...]:
    return ActionLanes(actions, order, carry, lambda _action, _outcome: None).run(lanes)


def test_as_many_are_under_way_as_there_are_lanes_and_no_more() -> None:
    together = threading.Barrier(3)
    lock, running, most = threading.Lock(), [0], [0]

    def carry(action: Action, _: Interruption) -> Outcome:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(LIMIT)
        with lock:
            running[0] -= 1
        return done(action)

    run(carry, lanes=3)
    assert most[0] == 3


def test_outcomes_come_in_the_plans_order_whatever_ends_first() -> None:
    ended = threading.Event()

    def carry(action: Action, _: Interruption) -> Outcome:
        if action.name == "vm0":
            assert ended.wait(LIMIT)
        elif action.name == "vm5":
            ended.set()
        return done(action, "no space" if action.name == "vm3" else "")

    outcomes = run(carry)
    assert [outcome.name for outcome in outcomes] == [action.name for action in ACTIONS]
    assert [outcome.name for outcome in outcomes if outcome.error] == ["vm3"]


def test_one_lane_works_in_the_thread_that_ctrl_c_comes_to() -> None:
    threads = []

    def carry(action: Action, _: Interruption) -> Outcome:
        threads.append(threading.current_thread())
        return done(action)

    run(carry, lanes=1)
    assert set(threads) == {threading.main_thread()}


def machine(name: str, *disks: Disk) -> MachineManifest:
    return manifest_of(Machine(name, disks=disks))


def clone_of(template: str, name: str = "root") -> Disk:
    return Disk(name, template=template)


def making(name: str, origin: str = "/base.qcow2") -> Action:
    step = CreateVolume("root", "default", f"{name}.qcow2", "qcow2", None, "linked", origin)
    return Action("VirtualMachine", name, ActionKind.CREATE, steps=(step, Start()))


BASE = Action("VirtualMachine", "zz-base", ActionKind.UPDATE, steps=(Start(),))
TEMPLATE = TemplateManifest("t", Place("t.yaml", 1, 1), domain="zz-base")
DESIRED = Desired.of(
    machine("a1", clone_of("t")),
    machine("a2", clone_of("t")),
    machine("b"),
    machine("zz-base"),
    TEMPLATE,
)
PLAIN = Action("VirtualMachine", "b", ActionKind.CREATE, steps=(Start(),))
CLONES = (making("a1"), making("a2"))
DAEMONS = Action(HOST, "kvm", ActionKind.UPDATE, steps=(Start(),))


def carried_order(*actions: Action, broken: str = "") -> Tuple[List[str], Dict[str, str]]:
    """Return the names in the order they began, and the errors."""
    begun: List[str] = []

    def carry(action: Action, _: Interruption) -> Outcome:
        begun.append(action.name)
        return done(action, "broken" if action.name == broken else "")

    order = find_order(actions, DESIRED)
    outcomes = run(carry, actions, order, lanes=1)
    return begun, {outcome.name: outcome.error for outcome in outcomes if outcome.error}


def test_a_domain_comes_before_what_is_cloned_from_it() -> None:
    assert carried_order(*CLONES, PLAIN, BASE)[0] == ["b", "zz-base", "a1", "a2"]


def test_what_is_cloned_from_a_domain_that_failed_is_not_begun_and_says_why() -> None:
    begun, errors = carried_order(*CLONES, PLAIN, BASE, broken="zz-base")
    assert begun == ["b", "zz-base"]
    assert errors["a1"] == (
        "not begun: zz-base, which a disk is cloned from, failed; correct that, then apply again"
    )


def test_a_machine_whose_clone_is_there_already_waits_for_nobody() -> None:
    there = replace(CLONES[0], action=ActionKind.UPDATE, steps=(Start(),))
    assert carried_order(there, BASE)[0] == ["a1", "zz-base"]


def test_a_domain_is_deleted_after_its_clones() -> None:
    gone = [replace(clone, action=ActionKind.DELETE, steps=(Start(),)) for clone in (BASE, *CLONES)]
    assert carried_order(*gone)[0] == ["a1", "a2", "zz-base"]
    begun, errors = carried_order(*gone, broken="a1")
    assert errors["zz-base"] == (
        "not begun: a1, which is cloned from it, was not deleted; apply again"
    )
    assert begun == ["a1", "a2"]


def test_the_hosts_daemons_come_before_its_machines_and_keep_none_from_being_done() -> None:
    begun, errors = carried_order(PLAIN, DAEMONS, broken="kvm")
    assert (begun, list(errors)) == (["kvm", "b"], ["kvm"])


def test_machines_cloned_from_each_other_are_done_all_the_same() -> None:
    templates = (
        TemplateManifest(f"of-{name}", Place("t.yaml", 1, 1), domain=name) for name in ("a1", "a2")
    )
    machines = (machine("a1", clone_of("of-a2")), machine("a2", clone_of("of-a1")))
    desired = Desired.of(*machines, *templates)
    order = find_order(CLONES, desired)
    outcomes = run(lambda action, _: done(action), CLONES, order)
    assert [outcome.error for outcome in outcomes] == [None, None]


def test_ctrl_c_ends_each_lane_once_and_nothing_is_begun_after_it() -> None:
    begun, put_back = [], []
    together = threading.Barrier(3)

    def carry(action: Action, interruption: Interruption) -> Outcome:
        begun.append(action.name)
        clock = LaneClock(FakeClock(), interruption)
        if together.wait(LIMIT) == 0:
            signal.raise_signal(signal.SIGINT)
        try:
            while True:
                clock.sleep(0.01)
        except KeyboardInterrupt:
            clock.sleep(0.01)  # what puts back may wait too
            put_back.append(action.name)
            raise

    # Whoever started the tests may have had Ctrl-C ignored, and then no lane would ever end.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(carry, lanes=3)
    finally:
        signal.signal(signal.SIGINT, former)
    assert sorted(begun) == sorted(put_back) == ["vm0", "vm1", "vm2"]


def test_a_long_copy_sees_ctrl_c_at_its_next_report() -> None:
    asked = threading.Event()
    told: List[int] = []

    progress = Interruption(asked).watch(lambda _what, done, _total: told.append(done))
    progress("root", 1, 10)
    asked.set()
    with pytest.raises(KeyboardInterrupt):
        progress("root", 2, 10)
    progress("root", 3, 10)
    assert told == [1, 2, 3]


def test_a_fault_of_ours_lets_the_others_end_and_is_raised() -> None:
    together = threading.Barrier(2)
    begun, ended = [], []
    broken = threading.Event()

    def carry(action: Action, _: Interruption) -> Outcome:
        begun.append(action.name)
        together.wait(LIMIT)
        if action.name == "vm0":
            broken.set()
            raise ZeroDivisionError
        assert broken.wait(LIMIT)
        ended.append(action.name)
        return done(action)

    with pytest.raises(ZeroDivisionError):
        run(carry, lanes=2)
    assert (sorted(begun), ended) == (["vm0", "vm1"], ["vm1"])
