"""What is said of a plan and its objects, in every format that people read. Knows no layout."""

from __future__ import annotations

from typing import Callable, Iterator, List, Tuple

from reconciler.core.key import FORMER_KIND
from reconciler.core.plan import Action, ActionKind, Effect, Plan, Start
from reconciler.core.render.summary import Summary, count_volumes, is_foreign, shuts_down
from reconciler.core.render.values import escape, show_path

SHORT = 12  # characters of a commit
NO_HOST = "no host"


def last_line(summary: Summary) -> str:
    """Return the line whose form the public contract freezes."""
    return (
        f"Plan: {summary.create} to create, {summary.update + summary.adopt} to change "
        f"({summary.next_boot} next-boot, {summary.restart} restart), "
        f"{summary.delete} to delete ({summary.volumes} volumes), "
        f"{summary.none} unchanged, {summary.withheld} withheld."
    )


def place(plan: Plan, mark: Callable[[str], str] = str) -> str:
    """Return where the plan is for; `mark` sets names off from the words around them."""
    if not plan.host:
        return f"{NO_HOST}: as if the host matched the base"
    return f"{mark(escape(plan.host))} ({mark(escape(plan.uri))})"


def made_of(plan: Plan, mark: Callable[[str], str] = str) -> str:
    """Return what the plan was made of, to follow on the place; empty if that is not known."""
    revision = f", manifests at {mark(escape(plan.revision[:SHORT]))}" if plan.revision else ""
    base = f", compared with {mark(escape(plan.base))}" if plan.base else ""
    taken = f", host as of {mark(escape(plan.taken_at))}" if plan.taken_at else ""
    return revision + base + taken


def object_name(action: Action) -> str:
    """Return the object's name, with its kind where it is not a machine."""
    name = escape(action.name)
    return name if action.kind == FORMER_KIND else f"{action.kind} {name}"


def count(number: int, what: str) -> str:
    """Return like `1 change`, `2 changes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def waiting(action: Action) -> str:
    """Say what waits for the guest's next cold start, and whether that is planned already."""
    verb = "waits" if len(action.pending) == 1 else "wait"
    paths = ", ".join(show_path(one) for one in action.pending)
    until = "restart in the maintenance window" if action.awaits_window else "cold start"
    return f"restart required: {paths} {verb} for the next {until}"


def headline(action: Action) -> str:
    """Return what becomes of the object, and why."""
    words = [*deeds(action), *([escape(action.reason)] if action.reason else [])]
    between = ": " if action.action is ActionKind.FAILED else ", "
    return between.join(words)


def deeds(action: Action) -> Tuple[str, ...]:
    """Return what becomes of the object, in our own words only."""
    return tuple(_deeds(action))


def _deeds(action: Action) -> Iterator[str]:
    if action.action is ActionKind.NONE:
        yield waiting(action) if action.pending else "unchanged"
    elif action.action is ActionKind.FAILED:
        yield "cannot be planned"
    elif action.action is ActionKind.CREATE:
        yield "will be created and started" if _starts(action) else "will be created"
    elif action.action is ActionKind.DELETE:
        yield from _delete_deeds(action)
    elif action.action is ActionKind.WITHHELD:
        yield f"{count(len(action.changes), 'change')} withheld" if action.changes else "withheld"
    elif not is_foreign(action):
        yield from _change_deeds(action)


def _delete_deeds(action: Action) -> Iterator[str]:
    volumes = count_volumes(action)
    yield f"will be deleted with {count(volumes, 'volume')}" if volumes else "will be deleted"
    if shuts_down(action):
        yield "the guest is shut down first"


def _change_deeds(action: Action) -> Iterator[str]:
    withheld = sum(change.effect is Effect.WITHHELD for change in action.changes)
    marks = action.action is ActionKind.ADOPT
    if marks:
        yield "will be adopted"
    done = len(action.changes) - withheld - marks
    if done > 0 or not marks:
        yield count(max(done, 0), "change")
    if withheld:
        yield f"{withheld} withheld"
    if shuts_down(action):
        starts = _starts(action)
        yield "the running guest is restarted" if starts else "the guest is shut down"
    elif action.awaits_window:
        yield "the running guest is restarted in the next maintenance window"


def _starts(action: Action) -> bool:
    return any(isinstance(step, Start) for step in action.steps)


def remarks(plan: Plan, summary: Summary) -> List[str]:
    """Return what the frozen line has no place for."""
    lines = []
    if not plan.actions and plan.base:
        lines.append("No changes: both revisions describe the same machines.")
    elif not plan.actions:
        lines.append("None of the manifests is for this host.")
    elif summary.is_empty:
        lines.append(_no_changes(plan))
    if summary.failed:
        lines.append(f"{summary.failed} of the withheld could not be planned.")
    if summary.foreign:
        lines.append(f"{summary.foreign} of the withheld would have to be adopted first.")
    if summary.withheld_changes:
        verb = "is a change" if summary.withheld_changes == 1 else "are changes"
        lines.append(
            f"{summary.withheld_changes} of the withheld {verb} in objects that will be changed."
        )
    return lines


def _no_changes(plan: Plan) -> str:
    waits = sum(bool(action.pending) for action in plan.actions)
    if plan.left_out:
        problems = count(plan.left_out, "problem")
        return f"No changes planned, but {problems} of manifests left out: fix them and plan again."
    if not waits:
        return "No changes: the host matches the manifests."
    guests = count(waits, "guest")
    return f"No changes: the stored definitions match the manifests; {guests} yet to be restarted."
