"""A plan as text, in the reading order of Terraform's: what happens to whom, then the sum.

Every line of a change carries its effect word in one column, so that the eye and grep find what
would disturb a guest. Objects that stay as they are are counted, and listed only when asked for.
The last line is frozen by the public contract.
"""

from __future__ import annotations

from typing import Iterator, List

from reconciler.core.plan import Action, ActionKind, Change, Effect, Plan, Start
from reconciler.core.render.style import EFFECT_COLOURS, SYMBOLS, Style
from reconciler.core.render.summary import (
    Summary,
    count_volumes,
    is_foreign,
    restarts,
    shuts_down,
    summarise,
)
from reconciler.core.render.values import escape, show_path, show_value


def render_text(plan: Plan, style: Style, *, verbose: bool = False) -> str:
    """Return the plan as lines; `verbose` also lists what stays unchanged."""
    width = max((len(one.effect.value) for one in _changes(plan)), default=0)
    blocks = [
        "\n".join(_block(one, width, style))
        for one in plan.actions
        if verbose or one.pending or one.action is not ActionKind.NONE
    ]
    summary = summarise(plan)
    end = [*_remarks(plan, summary), style.paint(last_line(summary), "bold")]
    return "\n\n".join([style.paint(_title(plan), "bold"), *blocks, "\n".join(end)]) + "\n"


def last_line(summary: Summary) -> str:
    """Return the frozen line."""
    return (
        f"Plan: {summary.create} to create, {summary.update + summary.adopt} to change "
        f"({summary.next_boot} next-boot, {summary.restart} restart), "
        f"{summary.delete} to delete ({summary.volumes} volumes), "
        f"{summary.none} unchanged, {summary.withheld} withheld."
    )


def object_name(action: Action) -> str:
    """Return the object's name, with its kind where it is not a machine."""
    name = escape(action.name)
    return name if action.kind == "VirtualMachine" else f"{action.kind} {name}"


def count(number: int, what: str) -> str:
    """Return like `1 change`, `2 changes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def waiting(action_pending: tuple[str, ...]) -> str:
    """Say what waits for the guest's next cold start."""
    verb = "waits" if len(action_pending) == 1 else "wait"
    paths = ", ".join(show_path(one) for one in action_pending)
    return f"restart required: {paths} {verb} for the next cold start"


def _changes(plan: Plan) -> Iterator[Change]:
    return (change for action in plan.actions for change in action.changes)


def _title(plan: Plan) -> str:
    revision = f", manifests at {escape(plan.revision[:12])}" if plan.revision else ""
    return f"{escape(plan.host)} ({escape(plan.uri)}){revision}"


def _block(action: Action, width: int, style: Style) -> Iterator[str]:
    symbol = SYMBOLS[action.action]
    name = style.paint(object_name(action), "bold")
    yield f"{style.paint_symbol(symbol)} {name}: {_headline(action)}"
    for change in action.changes:
        yield f"    {_line(change, width, style, action.reason)}"
    if action.pending and action.action is not ActionKind.NONE:
        yield f"    {style.paint(waiting(action.pending), 'yellow')}"
    for note in action.notes:
        yield f"    {style.paint(f'note: {escape(note)}', 'dim')}"


def _headline(action: Action) -> str:
    reason = escape(action.reason)
    if action.action is ActionKind.FAILED:
        return f"cannot be planned: {reason}"
    if action.action is ActionKind.NONE:
        return waiting(action.pending) if action.pending else "unchanged"
    if is_foreign(action):
        return reason
    words = [*_deeds(action), *([reason] if reason else [])]
    return ", ".join(words)


def _deeds(action: Action) -> Iterator[str]:
    starts = any(isinstance(step, Start) for step in action.steps)
    if action.action is ActionKind.CREATE:
        yield "will be created and started" if starts else "will be created"
    elif action.action is ActionKind.DELETE:
        yield from _delete_deeds(action)
    elif action.action is ActionKind.WITHHELD:
        yield f"{count(len(action.changes), 'change')} withheld" if action.changes else "withheld"
    else:
        yield from _change_deeds(action)
        if shuts_down(action):
            restart = starts or restarts(action)
            yield "the running guest is restarted" if restart else "the guest is shut down"


def _delete_deeds(action: Action) -> Iterator[str]:
    volumes = count_volumes(action)
    yield f"will be deleted with {count(volumes, 'volume')}" if volumes else "will be deleted"
    if shuts_down(action):
        yield "the guest is shut down first"


def _change_deeds(action: Action) -> Iterator[str]:
    withheld = sum(one.effect is Effect.WITHHELD for one in action.changes)
    marks = action.action is ActionKind.ADOPT
    if marks:
        yield "will be adopted"
    done = len(action.changes) - withheld - marks
    if done > 0 or not marks:
        yield count(max(done, 0), "change")
    if withheld:
        yield f"{withheld} withheld"


def _line(change: Change, width: int, style: Style, said: str) -> str:
    """Return a change's line; a reason that the headline has `said` is not repeated."""
    symbol = _symbol(change)
    colour = EFFECT_COLOURS.get(change.effect, "")
    effect = style.paint(f"{change.effect.value:<{width}}", colour)
    reason = "" if change.reason in ("", said) else f"  # {escape(change.reason)}"
    field = f"{_field(change, style)}{style.paint(reason, 'dim')}"
    return f"{style.paint_symbol(symbol)} {effect}  {field}"


def _symbol(change: Change) -> str:
    if change.effect is Effect.WITHHELD:
        return "!"
    if change.observed is None:
        return "+"
    return "-" if change.desired is None else "~"


def _field(change: Change, style: Style) -> str:
    old, new = (show_value(change.path, one) for one in (change.observed, change.desired))
    path = show_path(change.path)
    if change.observed is None or old == new:  # made anew as it was
        return f"{path}: {new}"
    if change.desired is None:
        return f"{path}: {old} {style.arrow} (none)"
    return f"{path}: {old} {style.arrow} {new}"


def _remarks(plan: Plan, summary: Summary) -> List[str]:
    """Return what the frozen line has no place for."""
    lines = []
    if not plan.actions:
        lines.append("None of the manifests is for this host.")
    elif summary.is_empty:
        lines.append(_no_changes(plan))
    if summary.failed:
        lines.append(f"{summary.failed} of the withheld could not be planned.")
    if summary.foreign:
        lines.append(f"{summary.foreign} of the withheld would have to be adopted first.")
    if summary.withheld_changes:
        changes = count(summary.withheld_changes, "change")
        lines.append(f"{changes} withheld in objects that change otherwise.")
    return lines


def _no_changes(plan: Plan) -> str:
    waits = sum(bool(one.pending) for one in plan.actions)
    if not waits:
        return "No changes: the host is as the manifests say."
    guests = count(waits, "guest")
    return f"No changes: all is stored as the manifests say; {guests} yet to be restarted."
