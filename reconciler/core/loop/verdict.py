"""What a pass found out about an object, as the conditions that people read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from reconciler.core.plan import Action, ActionKind, Effect
from reconciler.core.planning.disk_chains import find_snapshot_notes
from reconciler.core.status import Condition

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
RESTART_REQUIRED = "RestartRequired"


@dataclass(frozen=True)
class Verdict:
    """`ready` is None when it is not known; a reason that is not empty makes its condition hold."""

    ready: Optional[bool]
    reason: str = ""
    reconciling: str = ""
    stalled: str = ""
    pending: Tuple[str, ...] = ()

    def conditions(self) -> Tuple[Condition, ...]:
        """Return the four conditions."""
        return (
            Condition(READY, self.ready, self.reason),
            Condition(RECONCILING, bool(self.reconciling), self.reconciling),
            Condition(STALLED, bool(self.stalled), self.stalled),
            Condition(RESTART_REQUIRED, bool(self.pending), ", ".join(self.pending)),
        )


def unknown(reason: str, *, again: str = "") -> Verdict:
    """Say that nothing is known of the object now; `again` is set when it is tried again."""
    return Verdict(None, reason, reconciling=again)


def failed(reason: str, *, again: bool) -> Verdict:
    """Say that what was to be done failed, and whether it is tried again."""
    return Verdict(
        ready=False,
        reason=reason,
        reconciling=f"tried again after: {reason}" if again else "",
        stalled="" if again else reason,
    )


def planned(action: Action) -> Verdict:
    """Judge an object by its plan, all that the plan does being done."""
    if action.action is ActionKind.FAILED:
        return failed(action.reason, again=action.transient)
    if action.transient and action.reason:
        return Verdict(ready=False, reason=f"withheld: {action.reason}", reconciling=action.reason)
    if action.action is ActionKind.ADOPT:
        return failed(action.reason or "not ours yet", again=False)
    held = [one for one in action.changes if one.effect is Effect.WITHHELD]
    if action.action is ActionKind.WITHHELD and not held:
        return Verdict(ready=False, reason=f"withheld: {action.reason}", pending=action.pending)
    reasons = "; ".join(
        one.reason if one.reason.startswith(one.path) else f"{one.path}: {one.reason}"
        for one in held
    )
    reason = f"withheld: {reasons}" if held else find_snapshot_notes(action.notes)
    again = reason if action.transient and held else ""
    return Verdict(not held, reason, reconciling=again, pending=action.pending)
