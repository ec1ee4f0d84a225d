"""Decide which objects go because their manifests went. Pure, and the one place that decides it.

That a manifest is not there proves little: a folder may be empty by mistake, a path wrong, a state
lost. So an object is deleted only if all of these hold, and each failure is kept visible:

- this daemon saw its manifest at an earlier revision (its record), and all manifests could be read
  now (a complete snapshot) without it;
- the object of that name is there, can be read, carries our mark made for itself, and is the one
  that was recorded (UUID);
- the spec last applied to it, in its own mark, allows it, and no later one was seen;
- it is not suspended, and it is not too many at once: a person has to confirm those.

An orphan stays as it is, mark and all, so that a reverted commit takes it up again. Nothing happens
to it, so it counts neither as deleted nor as left against the rails.
"""

from __future__ import annotations

from typing import FrozenSet, List, Mapping, Optional, Sequence, Tuple, Union

from reconciler.core.conditions import READY
from reconciler.core.frozen import frozen
from reconciler.core.key import Key, show_key
from reconciler.core.manifest_files import ManifestSet
from reconciler.core.records import Record
from reconciler.core.settings import PruneRails
from reconciler.core.world import Unknown

ORPHAN = "orphan"  # of `lifecycle.deletion`: what has no manifest stays as it is
NAMES_SHOWN = 5
NEVER_SEEN = "no manifest, and no earlier revision is known that had one: nothing is done"


@frozen
class Remnant:
    """What an object of ours on the host says of itself, in its own mark.

    `deletion` is what was last applied says of its end, `generation` of which manifest.
    """

    uuid: str
    deletion: str
    generation: str


@frozen
class KnownObject:
    """What is known when it is decided.

    `found` is one complete listing of the host, with None for what is not ours: what lacks in it is
    absent for certain. Where the listing failed, nothing is decided at all. `confirmed` is the
    identity of the snapshot whose deletions a person has confirmed. `settled` says that this
    snapshot was in force for a whole resync: a file that is away for a minute while somebody edits
    it is not gone.
    """

    records: Mapping[Key, Record]
    snapshot: ManifestSet
    found: Mapping[Key, Union[Remnant, Unknown, None]]
    settled: bool
    confirmed: str = ""
    suspended: FrozenSet[Key] = frozenset()


@frozen
class Deletion:
    """An object to be deleted; `policy` is a word of its manifest, like `undefine`."""

    key: Key
    uuid: str
    policy: str


@frozen
class KeptObject:
    """A machine without a manifest to which nothing is done, and why."""

    key: Key
    reason: str


@frozen
class Pruning:
    """What was decided.

    `deletions` are carried out now. `held` would be, and wait: for a person if `blocked` says why,
    else for the next resync. `left` stay as they are for good. `absent` are records whose domain is
    gone for certain: there is nothing to remember of them.
    """

    deletions: Tuple[Deletion, ...] = ()
    held: Tuple[Deletion, ...] = ()
    left: Tuple[KeptObject, ...] = ()
    absent: Tuple[Key, ...] = ()
    blocked: str = ""


# What a record of a machine says for which the daemon has no manifest, or one of another host.
ELSEWHERE = "its manifest is for another host; the domain here is not changed"
_NOT_FOLLOWED = ("no manifest", "orphaned:", ELSEWHERE)


def is_followed(record: Record) -> bool:
    """Whether the daemon keeps the machine as a manifest says."""
    return not record.condition(READY).reason.startswith(_NOT_FOLLOWED)


def decide(known: KnownObject, rails: PruneRails) -> Pruning:
    """Return what is pruned now, what waits for whom, and what stays."""
    judged = [(key, _judge(key, known)) for key in _find_gone(known)]
    wanted = tuple(outcome for _, outcome in judged if isinstance(outcome, Deletion))
    if not known.snapshot.is_complete:
        # Any of these may be one of the manifests that could not be read.
        return Pruning(held=wanted, blocked=_describe_problems(known) if wanted else "")
    left = tuple(outcome for _, outcome in judged if isinstance(outcome, KeptObject))
    absent = tuple(key for key, outcome in judged if outcome is None)
    if known.confirmed and known.confirmed == known.snapshot.identity:
        return Pruning(wanted, (), left, absent)
    blocked = _find_rail(wanted, known, rails)
    if blocked or not known.settled:
        return Pruning(deletions=(), held=wanted, left=left, absent=absent, blocked=blocked)
    return Pruning(wanted, (), left, absent)


def _find_gone(known: KnownObject) -> List[Key]:
    """Return the machines, known or owned, that no manifest names.

    One that is placed on another host now still has its manifest, and is not deleted here.
    """
    desired = known.snapshot.desired.objects
    owned = {key for key, remnant in known.found.items() if isinstance(remnant, Remnant)}
    return sorted(key for key in owned.union(known.records) if key not in desired)


def _judge(key: Key, known: KnownObject) -> Union[Deletion, KeptObject, None]:
    """Return what is to become of one machine without a manifest; None if it is gone."""
    if key not in known.found:
        return None
    remnant = known.found[key]
    if isinstance(remnant, Unknown):
        return KeptObject(
            key, f"no manifest; cannot be read, so nothing is changed: {remnant.reason}"
        )
    if remnant is None:
        return KeptObject(key, "no manifest, and the object is not managed: nothing is done")
    reason = _find_hindrance(key, remnant, known)
    return (
        Deletion(key, remnant.uuid, remnant.deletion) if reason is None else KeptObject(key, reason)
    )


def _find_hindrance(key: Key, remnant: Remnant, known: KnownObject) -> Optional[str]:
    """Return why nothing is done to the object, or None if it may be deleted."""
    record = known.records.get(key)
    if record is None or not record.seen_at or record.uuid is None:
        return f"orphaned: {NEVER_SEEN}"
    if record.seen_at in (known.snapshot.identity, known.snapshot.revision):
        return "no manifest, although this revision had one before: nothing is done"
    if record.uuid != remnant.uuid:
        return f"no manifest, and another object has its name (UUID {remnant.uuid})"
    if key in known.suspended:
        return "no manifest; suspended: nothing is done"
    return _find_permission(remnant, record)


def _find_permission(remnant: Remnant, record: Record) -> Optional[str]:
    """Return why what was last applied does not allow the deletion, or None if it does."""
    if remnant.deletion == ORPHAN:
        return "orphaned: its manifest is gone; lifecycle.deletion is orphan, so it stays"
    if record.generation not in (None, remnant.generation):
        return (
            "orphaned: its manifest is gone, and its lifecycle.deletion is unknown because it "
            "was never applied in full; it stays"
        )
    return None


def _find_rail(wanted: Sequence[Deletion], known: KnownObject, rails: PruneRails) -> str:
    """Return why so many are not deleted without a person's word; empty if they may be."""
    if not wanted:
        return ""
    desired = known.snapshot.desired.objects
    stay = sum(
        isinstance(sighting, Remnant) and key in desired for key, sighting in known.found.items()
    )
    total = len(wanted) + stay
    if not stay:
        return _describe(wanted, total, "no managed machine would be left")
    if len(wanted) > rails.most:
        return _describe(wanted, total, f"prune.most allows {rails.most} at once")
    if len(wanted) / total > rails.share:
        return _describe(wanted, total, f"prune.share allows {rails.share:.0%} of them at once")
    return ""


def _describe(wanted: Sequence[Deletion], total: int, why: str) -> str:
    machines = "machine has" if total == 1 else "machines have"
    return (
        f"{len(wanted)} of {total} owned {machines} no manifest any more and would be deleted "
        f"({_list_names(wanted)}), but {why}; nothing is pruned until the manifests are back or "
        "a person confirms with `virt-reconciler prune`"
    )


def _describe_problems(known: KnownObject) -> str:
    count = len(known.snapshot.problems)
    problems = "1 problem" if count == 1 else f"{count} problems"
    return (
        f"the manifests have {problems}, so a missing manifest may exist: nothing is pruned "
        f"until they are fixed; first: {known.snapshot.problems[0]}"
    )


def _list_names(wanted: Sequence[Deletion]) -> str:
    shown = ", ".join(show_key(deletion.key) for deletion in wanted[:NAMES_SHOWN])
    more = len(wanted) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
