"""The way back to a former definition, of a machine whose definition somebody took away. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.core.history import ChangeCause, ChangeRecord, FormerDomain
from reconciler.core.names import Owner
from reconciler.core.plan import Action, ActionKind, Define
from reconciler.core.world import DomainView, GuestState, World
from reconciler.errors import TransientError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.planning.rollback import find_target, plan_rollback
from tests.unit.domain.samples import Q35
from tests.unit.planning.worlds import UUID, domain

FORMER = domain(memory="524288")
PRESENT = domain()


def go_back(view: DomainView) -> Action:
    """Return what leads back to the former memory."""
    past = ChangeRecord(
        "vm", 0.0, ChangeCause("me", "apply"), "update", former=FormerDomain(FORMER, UUID), number=1
    )
    reading = read(view)
    target = find_target(past, reading, {})
    world = World(
        "kvm01", "qemu:///system", {"vm": reading}, {"default": True}, machines={Q35.machine: Q35}
    )
    return plan_rollback(target, reading, world, None)


UNDEFINED = DomainView("vm", UUID, GuestState.RUNNING, PRESENT, PRESENT, persistent=False)


def test_the_definition_is_stored_again_before_the_rollback_changes_it() -> None:
    action = go_back(UNDEFINED)
    assert action.action is ActionKind.UPDATE
    first = action.changes[0]
    assert (first.path, first.desired) == ("definition", f"stored again, UUID {UUID}")
    assert [step.xml for step in action.steps if isinstance(step, Define)] == [PRESENT, FORMER]


def test_a_domain_that_is_not_ours_is_not_stored_but_named_with_the_command() -> None:
    foreign = set_owner(PRESENT, Owner("other", "g1"))
    view = replace(UNDEFINED, persistent_xml=foreign, live_xml=foreign)
    with pytest.raises(TransientError, match="store one: virsh dumpxml --inactive"):
        go_back(view)


def test_a_guest_that_arrives_by_migration_is_waited_for() -> None:
    view = replace(UNDEFINED, state=GuestState.PAUSED, state_reason="migrating")
    with pytest.raises(TransientError, match="migrates it; apply again when that is done"):
        go_back(view)
