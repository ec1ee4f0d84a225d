"""One change as every format for people shows it: what, from what to what, why. Knows no layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

from reconciler.core.plan import Action, Change, Effect, Value
from reconciler.core.render.unified import unify
from reconciler.core.render.values import escape, show_path, show_value
from reconciler.core.render.words import count
from reconciler.core.secrets import hide_sides


@dataclass(frozen=True)
class Row:
    """`old` is None where there was none, or the same that is made anew.

    `lines` is the diff of values of several lines. All is as it may be shown: one line each,
    nothing secret, nothing that a terminal obeys.
    """

    symbol: str
    effect: Effect
    path: str
    old: Optional[str]
    new: str
    reason: str
    lines: Tuple[str, ...] = ()

    def say(self, arrow: str = "→") -> str:
        """Return the change without its effect and reason."""
        values = self.new if self.old is None else f"{self.old} {arrow} {self.new}"
        return f"{self.path}: {values}"


def find_rows(action: Action) -> Tuple[Row, ...]:
    """Return the rows of an object; a reason that its headline gives is not repeated."""
    return tuple(_rows(action))


def _rows(action: Action) -> Iterator[Row]:
    for one in action.changes:
        old, new = hide_sides(one.path, one.observed, one.desired)
        diff = unify(old, new)
        is_new = one.observed is None or one.observed == one.desired
        yield Row(
            _symbol(one),
            one.effect,
            show_path(one.path),
            None if is_new else _show(one.path, old, diff.before),
            _show(one.path, new, diff.after),
            "" if one.reason == action.reason else escape(one.reason),
            diff.lines,
        )


def _symbol(change: Change) -> str:
    if change.effect is Effect.WITHHELD:
        return "!"
    if change.observed is None:
        return "+"
    return "-" if change.desired is None else "~"


def _show(path: str, value: Value, lines: int) -> str:
    return count(lines, "line") if lines > 1 else show_value(path, value)
