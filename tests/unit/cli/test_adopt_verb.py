"""`adopt`: ownership is taken only where nothing else would change."""

from __future__ import annotations

from reconciler.core.plan import ActionKind, Change, Effect, SetMetadata

from .fakes import FakeParts, action, call, plan_of

MARK = Change("metadata.owner", None, "vm1", Effect.LIVE)
STEPS = (SetMetadata("<m/>", live=True),)
FIT = action("vm1", ActionKind.ADOPT, changes=(MARK,), steps=STEPS)
UNFIT = action(
    "vm2",
    ActionKind.ADOPT,
    changes=(Change("cpus.count", 1, 2, Effect.LIVE), MARK),
    steps=STEPS,
)
OWNED = action("vm3", ActionKind.NONE)
OTHER = action("vm4", ActionKind.UPDATE, steps=STEPS)
BROKEN = action("vm5", ActionKind.FAILED, reason="no pool")
PLAN = plan_of(FIT, UNFIT, OWNED, OTHER, BROKEN)


def test_fit_domain_is_adopted_and_no_other_is_touched() -> None:
    parts = FakeParts(planned=PLAN)
    result = call(parts, "adopt", "vm1", "-f", "p")
    assert result.status == 0
    assert [one.actions for one in parts.executed] == [(FIT,)]
    assert parts.options[0].adopt == frozenset({"vm1"})
    assert "vm1: adopted\n" in result.out


def test_domain_that_differs_is_refused_with_what_differs() -> None:
    parts = FakeParts(planned=PLAN)
    result = call(parts, "adopt", "vm1", "vm2", "-f", "p")
    assert (result.status, parts.executed) == (4, [])
    assert "cpus.count: 1 → 2" in result.out
    assert "nothing was adopted: not like their manifests: vm2" in result.err


def test_domain_that_cannot_be_planned_is_refused() -> None:
    assert call(FakeParts(planned=PLAN), "adopt", "vm5", "-f", "p").status == 4


def test_owned_domain_is_no_error() -> None:
    parts = FakeParts(planned=PLAN)
    result = call(parts, "adopt", "vm3", "-f", "p")
    assert (result.status, parts.executed) == (0, [])
    assert "vm3: is already managed\n" in result.out


def test_an_owned_domain_whose_manifest_says_the_same_in_other_words_is_no_error() -> None:
    news = Change("metadata.generation", "a", "b", Effect.LIVE)
    worded = action("vm1", ActionKind.UPDATE, changes=(news,), steps=STEPS)
    parts = FakeParts(planned=plan_of(worded))
    result = call(parts, "adopt", "vm1", "-f", "p")
    assert (result.status, [one.actions for one in parts.executed]) == (0, [(worded,)])


def test_name_without_manifest_is_wrong_usage() -> None:
    parts = FakeParts(planned=PLAN)
    result = call(parts, "adopt", "vm1", "vm9", "-f", "p")
    assert (result.status, parts.executed) == (64, [])
    assert "no manifest for this host names vm9" in result.err


def test_manifest_without_a_domain_says_that_there_is_none() -> None:
    parts = FakeParts(planned=plan_of(FIT, action("vm6", ActionKind.CREATE, steps=STEPS)))
    result = call(parts, "adopt", "vm1", "vm6", "-f", "p")
    assert (result.status, parts.executed) == (4, [])
    assert "nothing was adopted: vm6: no such domain on this host; `apply` creates it" in result.err
