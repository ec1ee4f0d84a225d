"""A clone's pass plans nothing for the machine that it is cloned from, whatever that may not do."""

from __future__ import annotations

import pytest

from reconciler.core import events
from reconciler.core.conditions import READY
from tests.lab.keys import vm
from tests.unit.cli.fakes import manifest

from .test_guests import KEY, World

DISKS = [{"name": "root", "size": "1GiB"}]
CLONE = [{"name": "root", "source": {"clone": {"machine": "web01"}}}]


class Clones(World):
    """A machine that is off, and the manifest of its clone."""

    def __init__(self) -> None:
        super().__init__(power="stopped", disks=DISKS)
        self.services.files = {
            "web01.yaml": manifest("web01", power="stopped", disks=DISKS),
            "web02.yaml": manifest("web02", power="stopped", disks=CLONE),
        }
        self.host.writes.clear()


@pytest.mark.parametrize("is_migrated", [True, False])
def test_an_origin_that_may_not_be_made_here_is_not_made_for_its_clone(
    *, is_migrated: bool
) -> None:
    world = Clones()
    if is_migrated:
        world.loop.domain_left("web01")
    else:
        world.loop.shared.suspended |= {KEY}
    del world.host.views["web01"]
    world.publish(identity="two")
    world.loop.domain_changed("web01")
    world.work()
    assert world.host.writes == []
    record = world.store.records[vm("web02")]
    assert record.condition(READY).reason == (
        "disks[root].source.clone: no machine 'web01' on this host: virsh list --all --name"
    )


def test_a_clone_is_made_as_soon_as_its_origin_is_there() -> None:
    world = Clones()
    origin = world.host.views.pop("web01")
    world.loop.domain_left("web01")
    world.publish(identity="two")
    world.work()
    world.host.views["web01"] = origin
    world.loop.domain_changed("web01")
    world.work()
    assert world.store.records[vm("web02")].condition(READY).holds


def test_a_clone_whose_turn_comes_before_its_origin_is_created_and_was_changed_by_nobody() -> None:
    world = Clones()
    del world.host.views["web01"]
    files = dict(world.services.files)
    world.services.files = {**files, "app.yaml": manifest("app", power="stopped", disks=CLONE)}
    del world.services.files["web02.yaml"]
    world.publish(identity="two")
    world.work()
    assert sorted(world.host.views) == ["app", "web01"]
    assert world.journal.lines(events.DRIFT.name) == []
    created = [event.object for event in world.journal.events if event.kind is events.CHANGED]
    assert created == [vm("web01"), vm("app")]
