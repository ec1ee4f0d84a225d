"""Every plan for a recorded host is carried out on a host in memory, and each change refused once."""

from __future__ import annotations

import itertools
import posixpath
import re
from dataclasses import replace
from typing import Dict, FrozenSet, Iterator, List, Optional, Tuple, Union

import pytest

from reconciler.core.imports import ConvertMachine, ImportDisk, VerifyImport
from reconciler.core.plan import (
    Action,
    CreateVolume,
    DeletePartial,
    DeleteSeed,
    Effect,
    InstallDriver,
    Outcome,
    Plan,
    ResizeVolume,
)
from reconciler.core.world import DomainView, PoolView
from reconciler.core.xmltree import fragment, parse, serialise
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.mark import drop_owner
from reconciler.kinds.machine.execute import PERFORM
from tests.unit.corpus.worlds import RecordedWorld, list_worlds, read_world
from tests.unit.memory_host import MemoryHost

REFUSAL = "it was refused"
WORLDS = list_worlds()
DELETIONS = [name for name in WORLDS if read_world(name).gone]

# An object of a plan, and all that is to be said of it.
Rest = List[Tuple[str, str, Tuple[Tuple[str, object, object, Effect], ...], Tuple[str, ...]]]


@pytest.mark.parametrize("name", WORLDS)
def test_after_the_plan_is_carried_out_only_what_it_withheld_is_left(name: str) -> None:
    world = read_world(name)
    host = MemoryHost(world.snapshot)
    planned = world.plan(host)
    outcomes = {outcome.name: outcome for outcome in world.apply(host, planned)}
    assert [outcome.error for outcome in outcomes.values() if outcome.error] == []
    for before, after in zip(planned.actions, world.plan(host).actions):
        assert list_paths(after) == list_withheld(before)
        assert after.steps == ()
        promised = outcomes[before.name].pending if before.name in outcomes else before.pending
        assert after.pending == promised


@pytest.mark.parametrize("name", WORLDS)
def test_when_a_change_is_refused_the_report_is_true_and_the_next_apply_completes(
    name: str,
) -> None:
    world = read_world(name)
    former, complete = MemoryHost(world.snapshot), MemoryHost(world.snapshot)
    world.apply(complete, world.plan(complete))
    end = list_rest(world.plan(complete))
    for host, planned, failed in refuse_each_change(world):
        check_report(host, former, complete, planned, failed)
        repair(host)
        outcomes = world.apply(host, world.plan(host))
        assert [outcome.error for outcome in outcomes if outcome.error] == [], failed
        assert list_rest(world.plan(host)) == end, failed
        assert list_volumes(host) == list_volumes(complete), failed


@pytest.mark.parametrize("name", WORLDS)
def test_when_nothing_can_be_undone_either_no_volume_is_lost(name: str) -> None:
    world = read_world(name)
    before = list_volumes(MemoryHost(world.snapshot))
    for host, planned, failed in refuse_each_change(world, for_ever=True):
        partial = {name for action in planned.actions for name in find_partial(action)}
        now = list_volumes(host)
        for path, size in before.items():
            assert now.get(path, -1) >= size or posixpath.basename(path) in partial, failed


@pytest.mark.parametrize("name", DELETIONS)
def test_what_is_deleted_is_gone_and_nothing_else(name: str) -> None:
    world = read_world(name)
    host = MemoryHost(world.snapshot)
    planned = world.plan_deletions(host)
    assert [outcome.error for outcome in world.apply(host, planned)] == [None] * len(
        [action for action in planned.actions if action.steps]
    )
    doomed = {action.name for action in planned.actions if action.steps}
    assert set(host.views) == set(world.snapshot.domains) - doomed
    gone = {
        step.path for action in planned.actions for step in action.steps if hasattr(step, "path")
    }
    assert set(list_volumes(host)) == set(list_volumes(MemoryHost(world.snapshot))) - gone


@pytest.mark.parametrize("name", DELETIONS)
def test_a_deletion_that_was_refused_is_completed_by_the_next(name: str) -> None:
    world = read_world(name)
    expected = MemoryHost(world.snapshot)
    changes = world.apply(expected, world.plan_deletions(expected)) and expected.writes
    for number in range(len(changes)):
        host = MemoryHost(world.snapshot)
        refuse(host, number)
        [failed] = [one for one in world.apply(host, world.plan_deletions(host)) if one.error]
        assert failed.name in host.views, failed
        repair(host)
        world.apply(host, world.plan_deletions(host))
        assert set(host.views) == set(expected.views), failed
        assert list_volumes(host) == list_volumes(expected), failed


def refuse(host: MemoryHost, number: int, *, for_ever: bool = False) -> None:
    """Have the host refuse the change of that number, and all after it if `for_ever`."""
    numbers = itertools.count()

    def watch(_call: str) -> None:
        now = next(numbers)
        if now == number or (for_ever and now > number):
            raise TerminalError(REFUSAL)

    host.watch = watch


def repair(host: MemoryHost) -> None:
    """Have the host refuse nothing any more."""
    host.watch = lambda _call: None


def refuse_each_change(
    world: RecordedWorld, *, for_ever: bool = False
) -> Iterator[Tuple[MemoryHost, Plan, Outcome]]:
    """Carry the plan out as often as it makes changes, and refuse another one each time."""
    clean = MemoryHost(world.snapshot)
    planned = world.plan(clean)
    world.apply(clean, planned)
    for number in range(len(clean.writes)):
        host = MemoryHost(world.snapshot)
        refuse(host, number, for_ever=for_ever)
        failed = [outcome for outcome in world.apply(host, planned) if outcome.error]
        assert failed, f"change {number}, {clean.writes[number]}, was refused and not missed"
        assert for_ever or len(failed) == 1, "one failure stopped another object"
        yield host, planned, failed[0]


def check_report(
    host: MemoryHost, former: MemoryHost, complete: MemoryHost, planned: Plan, failed: Outcome
) -> None:
    """Hold a report of a failure against the host; `complete` is one where all was carried out."""
    action = next(one for one in planned.actions if one.name == failed.name)
    error = failed.error or ""
    assert REFUSAL in error
    if failed.kept == ("definition",):
        assert error.startswith("defined but not started")
        assert describe_stored(host, failed) == describe_stored(complete, failed)
        assert not host.domains.read_domain(failed.name).is_active
    elif "what was done before that stays" in error:
        assert describe_stored(host, failed) == describe_stored(complete, failed), failed
    elif "already done" in error:
        assert describe_stored(host, failed) == describe_stored(former, failed), failed
        assert set(failed.kept) <= set(list_paths(action)) - set(list_withheld(action))
    elif "the guest was started again as it was" in error:
        assert describe_stored(host, failed) == describe_stored(former, failed), failed
        assert host.domains.read_domain(failed.name).is_active
    else:
        assert (failed.kept, describe(host, action)) == ((), describe(former, action)), failed


def describe(host: MemoryHost, action: Action) -> Tuple[object, ...]:
    """Return what the action could have changed: its domain, and its volumes."""
    names = {step.name for step in action.steps if isinstance(step, CreateVolume)}
    names -= find_partial(action)
    own = {path: size for path, size in list_volumes(host).items() if path in action_paths(action)}
    made = {path for path in list_volumes(host) if posixpath.basename(path) in names}
    view = host.views.get(action.name)
    if not isinstance(view, DomainView):
        return view, own, made
    live = view.live_xml and digest_devices(view.live_xml)
    known = replace(view, persistent_xml="", live_xml=live, disk_sizes={})
    return known, describe_stored(host, action), own, made


def find_partial(action: Action) -> FrozenSet[str]:
    """Return the volumes that an earlier run never finished, and seeds: both are made anew."""
    partial = (DeletePartial, DeleteSeed)
    return frozenset(step.name for step in action.steps if isinstance(step, partial))


def action_paths(action: Action) -> FrozenSet[str]:
    """Return the images that the action makes larger."""
    return frozenset(step.path for step in action.steps if isinstance(step, ResizeVolume))


def describe_stored(host: MemoryHost, known: Union[Action, Outcome]) -> Optional[str]:
    """Return what stands for the stored definition, our mark left out."""
    view = host.views.get(known.name)
    return digest_devices(view.persistent_xml) if isinstance(view, DomainView) else None


def digest_devices(xml: str) -> str:
    """Return what stands for a configuration, whatever the order of its devices: libvirt has its own."""
    root = parse(drop_owner(xml))
    for devices in root.findall("devices"):
        devices[:] = sorted(devices, key=lambda device: re.sub(r"\s+", "", fragment(device)))
    return re.sub(r"\s+", "", serialise(root))


def list_volumes(host: MemoryHost) -> Dict[str, int]:
    """Return path → size of every volume."""
    pools = [pool for pool in host.pools.values() if isinstance(pool, PoolView)]
    return {volume.path: volume.capacity for pool in pools for volume in pool.volumes.values()}


def list_paths(action: Action) -> List[str]:
    """Return the paths of the action's changes."""
    return [change.path for change in action.changes]


def list_withheld(action: Action) -> List[str]:
    """Return the paths of what is withheld."""
    return [change.path for change in action.changes if change.effect is Effect.WITHHELD]


def list_rest(plan: Plan) -> Rest:
    """Return what a plan says, but for what it needs to know of the domains."""
    return [
        (
            action.name,
            action.action.value,
            tuple(
                (change.path, change.observed, change.desired, change.effect)
                for change in action.changes
            ),
            action.pending,
        )
        for action in plan.actions
    ]


def test_every_kind_of_step_is_carried_out_somewhere() -> None:
    kinds = set()
    for name in WORLDS:
        world = read_world(name)
        host = MemoryHost(world.snapshot)
        actions = world.plan(host).actions
        if world.gone:
            actions += world.plan_deletions(host).actions
        kinds |= {type(step) for action in actions for step in action.steps}
    # What is imported is no part of a recorded host: tests/unit/imports carries that out. No agent
    # of a recorded guest answers: tests/unit/planning/test_driver_installation.py.
    elsewhere = {VerifyImport, ImportDisk, ConvertMachine, InstallDriver}
    assert kinds | elsewhere == set(PERFORM)
