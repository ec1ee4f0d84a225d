"""Carry out a plan with a person watching: progress, one result line for each object, the sum."""

from __future__ import annotations

from typing import Sequence

from reconciler.cli.console import Console, Exit
from reconciler.cli.names import list_names
from reconciler.cli.plans import Prepared
from reconciler.cli.progress import ProgressBoard
from reconciler.cli.services import Services
from reconciler.control.change_recorder import ChangeRecorder
from reconciler.control.executor import execute_in_lanes
from reconciler.control.ports import Reporter
from reconciler.core.frozen import frozen, replace
from reconciler.core.plan import Action, ActionKind, Outcome
from reconciler.errors import BusyError


@frozen
class Carried:
    """How many objects failed; `busy` of them because another run works on them."""

    failed: int
    busy: int

    @property
    def status(self) -> Exit:
        """The exit status."""
        if not self.failed:
            return Exit.DONE
        return Exit.REFUSED if self.failed == self.busy else Exit.FAILED


def carry_out(
    prepared: Prepared,
    chronicle: ChangeRecorder,
    console: Console,
    services: Services,
    lanes: int = 1,
) -> Carried:
    """Execute the plan, write down what is done, and return how many of its objects failed.

    `lanes` is the number of objects that are worked on at a time.
    """
    board = ProgressBoard(console, services.clock)
    quiet = replace(chronicle, tell=board.note)

    def report_on(action: Action) -> Reporter:
        return quiet.on(prepared.host, board.report_on(action))

    try:
        outcomes = execute_in_lanes(
            prepared.host, prepared.desired, prepared.plan, report_on, services.clock, lanes
        )
    except KeyboardInterrupt:
        board.interrupted()
        raise
    console.line(sum_up(outcomes))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    return Carried(len(failed), sum(isinstance(one.cause, BusyError) for one in failed))


def sum_up(outcomes: Sequence[Outcome]) -> str:
    """Return the last line of an apply; what failed and was not all put back counts twice."""
    failed = [outcome.name for outcome in outcomes if outcome.error is not None]
    counts = ", ".join(_count(outcomes, *row) for row in _ROWS)
    names = f" ({list_names(failed)})" if failed else ""
    return f"Applied: {counts}, {len(failed)} failed{names}."


# Kind, the word for it, and the word for one that failed and of which something stays.
_ROWS = (
    (ActionKind.CREATE, "created", "not started"),
    (ActionKind.UPDATE, "changed", "in part"),
    (ActionKind.ADOPT, "adopted", "in part"),
    (ActionKind.DELETE, "deleted", "in part"),
)


def _count(outcomes: Sequence[Outcome], kind: ActionKind, word: str, partly: str) -> str:
    """Return like `2 created`, or `2 created (1 not started)` where the start of one failed."""
    alike = [
        outcome
        for outcome in outcomes
        if outcome.action is kind and (outcome.error is None or outcome.kept)
    ]
    parts = sum(one.error is not None for one in alike)
    return f"{len(alike)} {word}" + (f" ({parts} {partly})" if parts else "")
