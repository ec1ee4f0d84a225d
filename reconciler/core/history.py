"""A change that was carried out, as it is kept: what was before, what was done, who did it. Pure.

Holds no secret: each is hidden where an entry is made. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.key import FORMER_KIND, Key
from reconciler.core.names import Owner
from reconciler.core.plan import (
    Action,
    ActionKind,
    Change,
    Define,
    Effect,
    Outcome,
    Shutdown,
    Start,
    Step,
    Value,
)
from reconciler.core.secrets import hide_secrets, hide_sides, hide_text
from reconciler.core.world import DomainView
from reconciler.errors import RefusedError

UNFINISHED, DONE, FAILED = "unfinished", "done", "failed"
DAEMON = "daemon"
FOLDER = "history"  # in the daemon's state, or in a person's


@frozen
class RecordedChange:
    """One field as it was planned; `effect` is the word of the plan."""

    path: str
    observed: Value
    desired: Value
    effect: str
    reason: str = ""


@frozen
class FormerDomain:
    """The domain before the change: its stored definition, and what libvirt keeps beside it."""

    xml: str
    uuid: str
    running: bool = False
    autostart: bool = False


@frozen
class ChangeCause:
    """Who or what caused a change: a user or `daemon`, by which verb, at which revision.

    `back_to` is the number of the change that a rollback took back, None for everything else.
    """

    who: str
    verb: str
    revision: Optional[str] = None
    back_to: Optional[int] = None


@frozen
class ChangeRecord:
    """One change of one object. `number` counts from 1 and is never given twice.

    `former` is None for a creation. `outcome` is `unfinished` until the end was written down.
    `kept` are the paths of what stays of a change that failed.
    """

    name: str
    at: float
    cause: ChangeCause
    action: str
    changes: Tuple[RecordedChange, ...] = ()
    steps: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = ()
    former: Optional[FormerDomain] = None
    number: int = 0
    outcome: str = UNFINISHED
    error: str = ""
    kept: Tuple[str, ...] = ()
    kind: str = FORMER_KIND

    @property
    def key(self) -> Key:
        """The object's kind and name."""
        return Key(self.kind, self.name)

    @property
    def counts(self) -> bool:
        """Whether something was done, as far as is known, and not put back."""
        return self.outcome != FAILED or bool(self.kept)


@frozen
class LastKnown:
    """A machine's definition as it was last seen, to bring it back when libvirt has it no more.

    `at` is since when it was like that. Holds no secret.
    """

    name: str
    at: float
    uuid: str
    xml: str
    autostart: bool = False
    kind: str = FORMER_KIND

    @property
    def key(self) -> Key:
        """The object's kind and name."""
        return Key(self.kind, self.name)

    def says_same(self, other: LastKnown) -> bool:
        """Whether both describe the machine alike, whenever they were written."""
        return replace(self, at=other.at) == other


def keep_last(view: DomainView, owner: Optional[Owner], now: float) -> Optional[LastKnown]:
    """Return what is to be kept of a domain; None of one that is not ours, or not finished.

    The stored definition, which a transient domain has not.
    """
    if owner is None or owner.name != view.name or owner.creating or not view.persistent:
        return None
    return LastKnown(
        name=view.name,
        at=now,
        uuid=view.uuid,
        xml=hide_secrets(view.persistent_xml),
        autostart=view.autostart,
    )


def find_newest(last: Optional[LastKnown], entries: Sequence[ChangeRecord]) -> Optional[LastKnown]:
    """Return the newest definition that is known: the one that was kept, or one before a change."""
    former = next((entry for entry in entries if entry.former is not None and entry.counts), None)
    if former is None or former.former is None or (last is not None and last.at >= former.at):
        return last
    found = former.former
    return LastKnown(former.name, former.at, found.uuid, found.xml, found.autostart)


def remember(
    action: Action, former: Optional[DomainView], cause: ChangeCause, now: float
) -> ChangeRecord:
    """Return the entry of an action that is about to be carried out."""
    return ChangeRecord(
        name=action.name,
        at=now,
        cause=cause,
        action=action.action.value,
        changes=tuple(_past(change) for change in action.changes),
        steps=tuple(type(step).__name__ for step in action.steps),
        notes=tuple(map(hide_text, action.notes)),
        # What an interrupted creation left is nothing to go back to.
        former=None if former is None or action.action is ActionKind.CREATE else _former(former),
        kind=action.kind,
    )


def conclude(past: ChangeRecord, outcome: Outcome) -> ChangeRecord:
    """Return the entry with how the action ended."""
    ended = DONE if outcome.error is None else FAILED
    kept = tuple(map(hide_text, outcome.kept))
    return replace(past, outcome=ended, error=hide_text(outcome.error or ""), kept=kept)


def is_same_try(one: ChangeRecord, other: ChangeRecord) -> bool:
    """Whether the other is one more try of what failed: it takes its place, and pushes none out."""
    if one.counts:
        return False
    return (one.cause, one.action, one.changes) == (other.cause, other.action, other.changes)


def choose(entries: Sequence[ChangeRecord], number: Optional[int], name: str) -> ChangeRecord:
    """Return the change that is to be taken back, the last one if no number is given.

    A rollback that was interrupted goes on to where it was going. A change that was finished by a
    second try only is taken back from before the first. `entries` are newest first. Raises
    RefusedError if there is none such.
    """
    unfinished = find_interrupted(entries)
    if number is None and unfinished is not None:
        number = unfinished.cause.back_to
    if number is None:
        found = _find_begun(entries)
        why = f"{name}: no change is known that could be taken back"
    else:
        found = next((entry for entry in entries if entry.number == number), None)
        there = ", ".join(str(entry.number) for entry in entries) or "none"
        why = f"{name}: there is no change {number} in its history; there are: {there}"
    if found is None:
        raise RefusedError(why)
    return found


def find_interrupted(entries: Sequence[ChangeRecord]) -> Optional[ChangeRecord]:
    """Return the newest change if it is a rollback whose end was not written down."""
    newest = next((entry for entry in entries if entry.counts), None)
    if newest is None or newest.outcome != UNFINISHED or newest.cause.back_to is None:
        return None
    return newest


def _find_begun(entries: Sequence[ChangeRecord]) -> Optional[ChangeRecord]:
    """Return the newest change, or the first of the unfinished tries that it completes."""
    found: Optional[ChangeRecord] = None
    for entry in entries:
        if not entry.counts:
            continue
        if found is not None and not _completes(found, entry):
            break
        found = entry
    return found


def _completes(later: ChangeRecord, earlier: ChangeRecord) -> bool:
    """Whether the later change is one more try of the earlier, which was interrupted."""
    same = [
        (record.cause.verb, record.cause.revision, record.cause.back_to)
        for record in (later, earlier)
    ]
    return earlier.outcome == UNFINISHED and same[0] == same[1]


def find_former_sizes(entries: Sequence[ChangeRecord], since: int) -> Mapping[str, int]:
    """Return disk → size in bytes before the change `since`, for those that were grown since."""
    sizes = {}
    for entry in sorted(entries, key=lambda entry: entry.number, reverse=True):
        if entry.number < since or not entry.counts:
            continue
        for change in entry.changes:
            disk = change.path[len("disks[") : -len("].size")]
            is_size = change.path == f"disks[{disk}].size"
            if is_size and change.effect != Effect.WITHHELD.value and _is_size(change.observed):
                sizes[disk] = int(change.observed or 0)
    return sizes


def as_action(past: ChangeRecord) -> Action:
    """Return the action as it was planned, to be shown; its steps are not to be carried out."""
    return Action(
        kind=past.kind,
        name=past.name,
        action=ActionKind(past.action),
        changes=tuple(
            Change(
                change.path,
                change.observed,
                change.desired,
                Effect(change.effect),
                reason=change.reason,
            )
            for change in past.changes
        ),
        steps=tuple(_SHOWN.get(step, Define("")) for step in past.steps),
        notes=past.notes,
    )


# The steps that a plan's words depend on.
_SHOWN: Mapping[str, Step] = {"Start": Start(), "Shutdown": Shutdown(0, force=False)}


def _past(change: Change) -> RecordedChange:
    observed, desired = hide_sides(change.path, change.observed, change.desired)
    path, reason = hide_text(change.path), hide_text(change.reason)
    return RecordedChange(
        path=path, observed=observed, desired=desired, effect=change.effect.value, reason=reason
    )


def _former(view: DomainView) -> FormerDomain:
    return FormerDomain(
        hide_secrets(view.persistent_xml), view.uuid, view.is_active, view.autostart
    )


def _is_size(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
