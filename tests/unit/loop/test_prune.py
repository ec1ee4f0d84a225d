"""What is pruned: only what is certain to be wanted gone, and never many at once unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Dict, Optional, Tuple, Union

import pytest

from reconciler.core.key import Key
from reconciler.core.machine import Machine
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.names import Owner
from reconciler.core.prune import Deletion, KnownObject, Pruning, Remnant, decide
from reconciler.core.records import Record
from reconciler.core.settings import PruneRails
from reconciler.core.world import DomainView, GuestState, Reading, Unknown
from reconciler.errors import Problem
from reconciler.kinds.machine.sightings import read_remnant
from tests.lab.keys import vm

NAMES = tuple(f"vm{number}" for number in range(10))
RAILS = PruneRails()
WIDE = PruneRails(most=100, share=1.0)
PROBLEM = Problem("vm3.yaml", 3, 5, "spec.cpus", "is required")


def uuid(name: str) -> str:
    return f"uuid-of-{name}"


def reading(name: str, deletion: Optional[str] = "undefine", **owner: Any) -> Reading:
    lifecycle = {} if deletion is None else {"lifecycle": {"deletion": deletion}}
    mark = Owner(**{"name": name, "generation": "g1", "spec": json.dumps(lifecycle), **owner})
    return Reading(
        DomainView(name, uuid(name), GuestState.OFF, ""), Machine(name), owner=mark
    )  # fmt: skip


def snapshot(*names: str, **more: Any) -> ManifestSet:
    place = Place("vm.yaml", 1, 1)
    machines = tuple(MachineManifest(Machine(name), "g1", "{}", place) for name in names)
    return ManifestSet(
        **{"identity": "two", "desired": Desired.of(*machines), "revision": "two", **more}
    )


def known(*present: str, **more: Any) -> KnownObject:
    """Return ten owned machines, all seen at revision one, of which these have manifests now."""
    found: Dict[Key, Union[Remnant, Unknown, None]] = {
        vm(name): read_remnant(reading(name)) for name in NAMES
    }
    records = {
        vm(name): Record(name, generation="g1", uuid=uuid(name), seen_at="one") for name in NAMES
    }
    return KnownObject(
        **{
            "records": records, "snapshot": snapshot(*present), "found": found,
            "settled": True, **more,
        }
    )  # fmt: skip


def without(*gone: str, **more: Any) -> KnownObject:
    return known(*(name for name in NAMES if name not in gone), **more)


def change(state: KnownObject, name: str, **fields: Any) -> KnownObject:
    """Return what is known with another record of one machine."""
    return replace(
        state, records={**state.records, vm(name): replace(state.records[vm(name)], **fields)}
    )


def reread(state: KnownObject, name: str, found: Union[Reading, Unknown, None]) -> KnownObject:
    """Return what is known with another reading of one domain, or none."""
    remnant = read_remnant(found) if isinstance(found, Reading) else found
    others = {key: one for key, one in state.found.items() if key != vm(name)}
    if found is None:
        return replace(state, found=others)
    return replace(state, found={**others, vm(name): remnant})


def deleted(pruning: Pruning) -> Tuple[str, ...]:
    return tuple(deletion.key.name for deletion in pruning.deletions)


def reason(pruning: Pruning, name: str) -> str:
    """Return why nothing is done to it."""
    assert pruning.deletions == pruning.held == ()
    assert pruning.blocked == ""
    return {one.key: one.reason for one in pruning.left}[vm(name)]


@pytest.mark.parametrize("policy", ["undefine", "deleteDisks"])
def test_a_machine_whose_manifest_went_is_deleted_as_its_own_mark_says(policy: str) -> None:
    state = reread(without("vm3"), "vm3", reading("vm3", policy))
    assert decide(state, RAILS) == Pruning((Deletion(vm("vm3"), uuid("vm3"), policy),))


def test_nothing_is_pruned_while_every_manifest_is_there() -> None:
    assert decide(known(*NAMES), RAILS) == Pruning()


@pytest.mark.parametrize("policy", ["orphan", None, "everything"])
def test_an_orphan_stays_and_is_shown(policy: Optional[str]) -> None:
    state = reread(without("vm3"), "vm3", reading("vm3", policy))
    assert reason(decide(state, RAILS), "vm3").startswith("orphaned: ")


@pytest.mark.parametrize("spec", ["", "[]", '{"lifecycle": "undefine"}', '{"lifecycle": []}', "{"])
def test_a_mark_that_makes_no_sense_allows_nothing(spec: str) -> None:
    state = reread(without("vm3"), "vm3", reading("vm3", spec=spec))
    assert "orphan" in reason(decide(state, RAILS), "vm3")


# What is certain of a machine, each doubted once.
DOUBTS: Dict[str, Tuple[KnownObject, str]] = {
    "the state was lost": (without("vm3", records={}), "no earlier revision is known"),
    "its manifest was never seen": (change(without("vm3"), "vm3", seen_at=None), "no earlier revision is known"),
    "its UUID was never seen": (change(without("vm3"), "vm3", uuid=None), "no earlier revision is known"),
    "it was seen at this very commit, with another path": (
        change(without("vm3"), "vm3", seen_at="two"), "this revision had one before"
    ),
    "another domain has its name": (change(without("vm3"), "vm3", uuid="x"), "another object"),
    "its domain is not owned any more": (
        reread(without("vm3"), "vm3", replace(reading("vm3"), owner=None)), "not managed"
    ),
    "its domain is a copy of another": (
        reread(without("vm3"), "vm3", replace(reading("vm3"), owner=reading("vm4").owner)), "not managed"
    ),
    "its domain cannot be read": (
        reread(without("vm3"), "vm3", Unknown("timed out")), "nothing is changed: timed out"
    ),
    "its last manifest was never applied in full": (
        change(without("vm3"), "vm3", generation="g2"), "never applied in full"
    ),
    "it is suspended": (without("vm3", suspended=frozenset({vm("vm3")})), "suspended"),
}  # fmt: skip


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("confirmed", ["", "two"], ids=["unasked", "confirmed"])
def test_in_doubt_nothing_is_done_even_if_a_person_confirmed(doubt: str, confirmed: str) -> None:
    state, words = DOUBTS[doubt]
    assert words in reason(decide(replace(state, confirmed=confirmed), WIDE), "vm3")


def test_a_machine_placed_elsewhere_still_has_its_manifest() -> None:
    state = known(*NAMES)
    machines = tuple(replace(machine, host="other") for machine in state.snapshot.desired.machines)
    moved = replace(state.snapshot, desired=Desired.of(*machines))
    assert decide(replace(state, snapshot=moved), WIDE) == Pruning()


def test_a_record_whose_domain_is_gone_for_certain_is_forgotten() -> None:
    pruning = decide(reread(without("vm3"), "vm3", None), RAILS)
    assert pruning == Pruning(absent=(vm("vm3"),))


@pytest.mark.parametrize("confirmed", ["", "two"], ids=["unasked", "confirmed"])
def test_one_bad_manifest_keeps_everything(confirmed: str) -> None:
    state = without("vm3", confirmed=confirmed)
    state = reread(state, "vm4", None)
    broken = replace(snapshot(*NAMES[5:]), problems=(PROBLEM,))
    pruning = decide(replace(state, snapshot=broken), WIDE)
    assert [*pruning.deletions, *pruning.absent, *pruning.left] == []
    assert "the manifests have 1 problem" in pruning.blocked
    assert "first: vm3.yaml:3:5: spec.cpus: is required" in pruning.blocked


def test_a_bad_manifest_alone_blocks_nothing_that_would_be_pruned() -> None:
    state = replace(known(), snapshot=snapshot(problems=(PROBLEM,)))
    orphans = {vm(name): read_remnant(reading(name, "orphan")) for name in NAMES}
    assert decide(replace(state, found=orphans), RAILS) == Pruning()


def blocked(pruning: Pruning) -> str:
    """Return why a person has to confirm."""
    assert pruning.deletions == ()
    assert pruning.held
    assert "`virt-reconciler prune`" in pruning.blocked
    return pruning.blocked


@pytest.mark.parametrize("rails", [RAILS, WIDE])
def test_an_empty_tree_is_never_believed(rails: PruneRails) -> None:
    text = blocked(decide(known(), rails))
    assert "10 of 10 owned machines have no manifest any more" in text
    assert "vm0, vm1, vm2, vm3, vm4 and 5 more" in text
    assert "no managed machine would be left" in text


def test_the_last_machine_is_never_deleted_unasked() -> None:
    state = known(found={vm("vm0"): read_remnant(reading("vm0"))})
    assert "1 of 1 owned machine has no manifest" in blocked(decide(state, WIDE))


def test_manifests_of_other_machines_only_are_as_good_as_none() -> None:
    assert "no managed machine" in blocked(decide(known("other1", "other2"), WIDE))


@pytest.mark.parametrize(
    ("gone", "most", "share", "words"),
    [
        (1, 1, 0.1, ""),
        (1, 1, 0.09, "prune.share allows 9% of them at once"),
        (2, 1, 1.0, "prune.most allows 1 at once"),
        (2, 2, 0.2, ""),
        (3, 5, 0.2, "prune.share allows 20% of them at once"),
        (1, 0, 1.0, "prune.most allows 0 at once"),
        (9, 100, 1.0, ""),
    ],
)
def test_both_rails_hold(gone: int, most: int, share: float, words: str) -> None:
    pruning = decide(without(*NAMES[:gone]), PruneRails(most, share))
    if words:
        assert words in blocked(pruning)
    else:
        assert deleted(pruning) == NAMES[:gone]


def test_one_orphan_among_them_does_not_open_the_rail() -> None:
    special = reread(known(), "vm0", reading("vm0", "orphan"))
    assert "9 of 9 owned machines" in blocked(decide(special, WIDE))
    kept = reread(known("vm0"), "vm0", reading("vm0", "orphan"))
    assert "9 of 10 owned machines" in blocked(decide(kept, RAILS))


def test_long_orphaned_machines_do_not_make_the_share_look_small() -> None:
    state = without("vm0", *NAMES[2:])
    for name in NAMES[2:]:
        state = reread(state, name, reading(name, "orphan"))
    assert "1 of 2 owned machines" in blocked(decide(state, RAILS))


def test_what_a_person_confirmed_is_pruned_at_exactly_that_snapshot() -> None:
    state = replace(known(), confirmed="two")
    assert deleted(decide(state, RAILS)) == NAMES
    for identity, revision in (("three", "three"), ("three", "two"), ("", "two")):
        other = replace(state.snapshot, identity=identity, revision=revision)
        assert blocked(decide(replace(state, snapshot=other), RAILS))
    nobody = replace(state, confirmed="", snapshot=replace(state.snapshot, identity=""))
    assert blocked(decide(nobody, RAILS))


def test_a_manifest_that_is_away_for_a_moment_deletes_nothing() -> None:
    state = without("vm3", settled=False)
    pruning = decide(state, RAILS)
    assert (pruning.deletions, pruning.blocked) == ((), "")
    assert [one.key.name for one in pruning.held] == ["vm3"]
    assert deleted(decide(replace(state, confirmed="two"), RAILS)) == ("vm3",)
