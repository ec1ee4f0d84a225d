"""What plans ask of the recorded hosts: enough for the plan, and each thing once for all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Tuple, cast

import pytest

from reconciler.adapters.recorded import RecordedHost
from reconciler.core.faults import Fact, HostQuestion, Section
from reconciler.core.machine import Disk, Interface
from reconciler.core.manifest import Desired
from reconciler.core.plan import ActionKind, PlanOptions
from reconciler.core.planner import find_planners
from reconciler.core.world import World
from reconciler.kinds.machine.answers import ANSWERS
from reconciler.kinds.machine.observe import ObservedHost, observe
from tests.unit.corpus.worlds import RecordedWorld, list_worlds, read_world
from tests.unit.memory_host import MemoryHost
from tests.unit.planning.asking import find_guess

WHOLE = (
    Section.POOLS,
    Section.CLAIMS,
    Section.IMAGES,
    Section.NETWORKS,
    Section.DEVICES,
    Section.MEMORY,
)
OF_A_DOMAIN = (Section.JOB, Section.OFF_REASON, Section.SNAPSHOTS)


def read_all(seen: ObservedHost, recorded: RecordedWorld) -> World:
    """Return the world in which all of the host was read, so that nothing is asked."""
    snapshot = recorded.snapshot
    facts = [Fact(section) for section in WHOLE]
    facts += [Fact(section, name) for section in OF_A_DOMAIN for name in snapshot.domains]
    facts += [
        Fact(Section.SIZE, name, key) for name, size in snapshot.sizes.items() for key in size
    ]
    facts += [Fact(Section.POOL, name) for name in snapshot.pools]
    facts += [Fact(Section.IMAGE, path) for path in snapshot.images]
    facts += [Fact(Section.FILE, path) for path in snapshot.files]
    facts += [Fact(Section.MACHINE_TYPE, name) for name in snapshot.machines]
    facts += [Fact(Section.REFLINK, *pair) for pair in snapshot.shared]
    seen.make(lambda world: world.ask(*facts))
    world = seen.world
    return replace(world, known=None, images=replace(world.images, known=None))


@pytest.mark.parametrize("name", list_worlds())
def test_a_plan_depends_on_nothing_that_it_does_not_ask(name: str) -> None:
    recorded = read_world(name)
    seen = observe(RecordedHost(recorded.snapshot), recorded.desired)
    plan = seen.plan(recorded.options)
    whole = read_all(seen, recorded)
    planners = find_planners(recorded.desired, whole.host, recorded.options)
    assert sorted(action.name for action in plan.actions) == sorted(
        planner(whole).name for planner in planners
    )
    for planner in planners:
        assert planner(whole) in plan.actions
        assert find_guess(planner, whole) == ""


class CountedDriver:
    """Notes each method that is called, and lets the driver answer."""

    def __init__(self, driver: Any, calls: List[str]) -> None:
        """Note nothing yet."""
        self._driver, self._calls = driver, calls

    def __getattr__(self, name: str) -> Any:
        """Return the attribute; one that is a method notes that it is called."""
        value = getattr(self._driver, name)
        if not callable(value):
            return value

        def call(*arguments: object) -> object:
            self._calls.append(name)
            return value(*arguments)

        return call


class CountedHost:
    """A host in memory, and what was read of it."""

    def __init__(self, host: MemoryHost) -> None:
        """Count nothing yet."""
        self.calls: List[str] = []
        self.domains = CountedDriver(host.domains, self.calls)
        self.storage = CountedDriver(host.storage, self.calls)
        self.networks = CountedDriver(host.networks, self.calls)
        self.units, self.locks, self.secrets = host.units, host.locks, host.secrets
        self.downloads, self.preparer = host.downloads, host.preparer
        self.importer = host.importer

    def count(self) -> Dict[str, int]:
        """Return how often each method was called."""
        return {name: self.calls.count(name) for name in sorted(set(self.calls))}


def grow(recorded: RecordedWorld, count: int) -> Tuple[MemoryHost, RecordedWorld]:
    """Return the host of a world, and manifests of so many new machines with a disk each."""
    [manifest] = recorded.desired.machines
    machine = replace(
        manifest.machine,
        disks=(Disk("root", bus="virtio", size=2**30, pool="default"),),
        interfaces=(Interface("lan", network="default"),),
    )
    names = [f"new{number}" for number in range(count)]
    manifests = [replace(manifest, machine=replace(machine, name=name)) for name in names]
    return MemoryHost(recorded.snapshot), replace(recorded, desired=Desired.of(*manifests))


def plan_counted(host: MemoryHost, world: RecordedWorld, kind: ActionKind) -> Dict[str, int]:
    """Return what a plan reads, in which this becomes of every machine."""
    counted = CountedHost(host)
    plan = observe(cast("Any", counted), world.desired).plan(PlanOptions())
    assert {action.action for action in plan.actions} == {kind}
    return counted.count()


def test_what_many_machines_need_is_read_once() -> None:
    host, world = grow(read_world("adopt-off"), 30)
    counts = plan_counted(host, world, ActionKind.CREATE)
    assert counts.pop("read_images") <= 3  # of all domains and pools, then of what is new
    assert counts.pop("list_pools") <= 2  # for the one by its name, then for all
    assert counts == {
        "list_domains": 1,
        "list_networks": 1,
        "read_caps": 1,
        "read_memory": 1,
        "read_pool": 1,
    }


def test_where_nothing_is_to_be_done_only_domains_and_managed_sizes_are_read() -> None:
    host, world = grow(read_world("adopt-off"), 30)
    outcomes = world.apply(host, world.plan(host))
    assert [outcome.error for outcome in outcomes] == [None] * 30
    counts = plan_counted(host, world, ActionKind.NONE)
    assert counts.pop("read_disk_sizes") <= 2
    assert counts == {"list_domains": 1}


def test_each_kind_of_question_has_an_answer() -> None:
    assert set(ANSWERS) == set(Section)


def test_what_several_ask_is_answered_together() -> None:
    host, world = grow(read_world("adopt-off"), 1)
    counted = CountedHost(host)
    seen = observe(cast("Any", counted), world.desired)

    def ask(fact: Fact) -> Callable[[World], Fact]:
        def make(known: World) -> Fact:
            known.ask(fact)
            return fact

        return make

    facts = [Fact(Section.MEMORY), *(Fact(Section.FILE, f"/{number}") for number in range(9))]
    assert seen.make_all(map(ask, facts)) == tuple(facts)
    assert counted.count() == {"list_domains": 1, "read_memory": 1, "read_files": 1}
    with pytest.raises(HostQuestion):
        seen.world.ask(Fact(Section.NETWORKS))
