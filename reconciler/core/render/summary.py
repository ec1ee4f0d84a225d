"""Count a plan: the numbers of its last line, of its JSON summary and behind its exit status.

One count for all three, so that they can never disagree. Knows no output format.
"""

from __future__ import annotations

from collections import Counter
from typing import Iterable

from reconciler.core.frozen import frozen
from reconciler.core.plan import Action, ActionKind, DeleteVolume, Effect, Plan, Shutdown

DISTURBING = frozenset({Effect.RESTART, Effect.DESTRUCTIVE})


@frozen
class Summary:
    """Objects by what becomes of them; each is counted once among the first five.

    `withheld` is everything that is not done: the objects that nothing is done to although they are
    not known to be as the manifests say, and the changes that are withheld in the others
    (`withheld_changes`). Those that could not be planned (`failed`) and those that nobody allowed
    to be taken over (`foreign`) are among the objects. `next_boot` and `restart` are objects with
    such a change, `volumes` is the number of volumes deleted.
    """

    create: int = 0
    update: int = 0
    adopt: int = 0
    delete: int = 0
    none: int = 0
    withheld: int = 0
    failed: int = 0
    foreign: int = 0
    next_boot: int = 0
    restart: int = 0
    volumes: int = 0
    withheld_changes: int = 0
    disturbing: int = 0

    @property
    def todo(self) -> int:
        """Objects that an apply would do something to."""
        return self.create + self.update + self.adopt + self.delete

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do and nothing held back."""
        return not (self.todo or self.withheld)


def summarise(plan: Plan) -> Summary:
    """Count the plan's actions."""
    actions = plan.actions
    kinds = Counter(action.action for action in actions)
    foreign = sum(map(is_foreign, actions))
    acting = [action for action in actions if not is_idle(action)]
    held = sum(_count(one, Effect.WITHHELD) for one in acting)
    return Summary(
        create=kinds[ActionKind.CREATE],
        update=kinds[ActionKind.UPDATE],
        adopt=kinds[ActionKind.ADOPT] - foreign,
        delete=kinds[ActionKind.DELETE],
        none=kinds[ActionKind.NONE],
        withheld=kinds[ActionKind.WITHHELD] + kinds[ActionKind.FAILED] + foreign + held,
        failed=kinds[ActionKind.FAILED],
        foreign=foreign,
        next_boot=_count_with(acting, Effect.NEXT_BOOT),
        restart=sum(restarts(one) or one.awaits_window for one in acting),
        volumes=_count_volumes(actions),
        withheld_changes=held,
        disturbing=sum(map(disturbs, acting)),
    )


def is_foreign(action: Action) -> bool:
    """Whether the object is not ours and nobody allowed to take it over."""
    return action.action is ActionKind.ADOPT and not action.steps


def is_busy(action: Action) -> bool:
    """Whether the object is left alone for now, because another run works on it."""
    return action.action is ActionKind.WITHHELD and action.transient


def is_idle(action: Action) -> bool:
    """Whether an apply leaves the object alone."""
    idle = (ActionKind.NONE, ActionKind.WITHHELD, ActionKind.FAILED)
    return action.action in idle or is_foreign(action)


def restarts(action: Action) -> bool:
    """Whether the action power-cycles a running guest."""
    return _count(action, Effect.RESTART) > 0


def shuts_down(action: Action) -> bool:
    """Whether the action ends a running guest, to start it again or not."""
    return any(isinstance(step, Shutdown) for step in action.steps)


def count_volumes(action: Action) -> int:
    """Return how many volumes the action deletes."""
    return sum(isinstance(step, DeleteVolume) for step in action.steps)


def disturbs(action: Action) -> bool:
    """Whether a running guest notices more than a device coming or going, now or in its window."""
    later = action.awaits_window and not is_idle(action)
    return (
        later or shuts_down(action) or any(change.effect in DISTURBING for change in action.changes)
    )


def _count(action: Action, effect: Effect) -> int:
    return sum(change.effect is effect for change in action.changes)


def _count_with(actions: Iterable[Action], effect: Effect) -> int:
    return sum(_count(action, effect) > 0 for action in actions)


def _count_volumes(actions: Iterable[Action]) -> int:
    return sum(map(count_volumes, actions))
