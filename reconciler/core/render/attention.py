"""What of a plan a reviewer must not miss, whatever the format. Knows no layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from reconciler.core.plan import Action, ActionKind, Effect, Plan
from reconciler.core.render.rows import Row, find_rows
from reconciler.core.render.summary import DISTURBING, disturbs, is_foreign, is_idle

_POWER = "power"


@dataclass(frozen=True)
class Attention:
    """Objects whose running guest is disturbed, those deleted, and those not done as asked.

    An object may be among the first and the last; what is deleted is among the second alone.
    """

    disturbed: Tuple[Action, ...]
    deleted: Tuple[Action, ...]
    held: Tuple[Action, ...]


def find_attention(plan: Plan) -> Attention:
    """Sort out the plan's actions, in its order."""
    deleted = tuple(one for one in plan.actions if one.action is ActionKind.DELETE)
    others = [one for one in plan.actions if one.action is not ActionKind.DELETE]
    return Attention(
        tuple(one for one in others if not is_idle(one) and disturbs(one)),
        deleted,
        tuple(one for one in others if _is_held(one)),
    )


def _is_held(action: Action) -> bool:
    kinds = (ActionKind.WITHHELD, ActionKind.FAILED)
    held = any(one.effect is Effect.WITHHELD for one in action.changes)
    return action.action in kinds or is_foreign(action) or held


def disturbing_rows(action: Action) -> Tuple[Row, ...]:
    """Return the changes that disturb the running guest, now or in its maintenance window."""
    later = {Effect.NEXT_BOOT} if action.awaits_window else set()
    effects = DISTURBING | later
    return tuple(one for one in find_rows(action) if one.effect in effects or one.path == _POWER)


def held_rows(action: Action) -> Tuple[Row, ...]:
    """Return the changes that are not done."""
    return tuple(one for one in find_rows(action) if one.effect is Effect.WITHHELD)
