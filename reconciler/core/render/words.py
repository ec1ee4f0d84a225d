"""What is said of a plan and its values in every format that people read. Knows no layout.

Names and values come from manifests and from other people's domains: whatever in them a terminal
would obey is escaped here, and what `core.secrets` knows to be a secret is hidden, so nothing else
needs to think of it.

What is counted is counted once for all formats, so that they can never disagree.
"""

from __future__ import annotations

from collections import Counter
from typing import Callable, Iterable, Iterator, List, Tuple

from reconciler.core.field_table import TABLES
from reconciler.core.fields import SIZE
from reconciler.core.frozen import frozen, regex
from reconciler.core.key import FORMER_KIND
from reconciler.core.plan import (
    Action,
    ActionKind,
    DeleteVolume,
    Effect,
    Plan,
    Shutdown,
    Start,
    Value,
)
from reconciler.core.secrets import hide_text, hide_value
from reconciler.core.units import format_size

_SIZES = frozenset(
    f"{prefix}{field.name}"
    for prefix, table in TABLES.items()
    for field in table
    if field.notation is SIZE
)
_BRACKETS = regex(r"(\[.*\])")  # the name of a device, or an XPath
_UNDERSCORE = regex(r"_(\w)")
_SPACE = regex(r"\s+")


def show_value(path: str, value: Value) -> str:
    """Return the value as the manifest would spell it."""
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return format_size(value) if _BRACKETS.sub("[]", path) in _SIZES else str(value)
    return escape(hide_value(path, value)) or "(empty)"


def say_value(path: str, value: Value) -> str:
    """Return the value for the middle of a sentence: `80MiB`, `empty`, `not set`."""
    if value is None:
        return "not set"
    return "empty" if value == "" else show_value(path, value)


def show_path(path: str) -> str:
    """Return the path in the manifest's spelling: `guestAgent`, not `guest_agent`."""
    parts = _BRACKETS.split(path)
    return escape("".join(part if part[:1] == "[" else _spell(part) for part in parts))


def _spell(names: str) -> str:
    """Return fields in camel case; what has a slash is a path in the XML."""
    return names if "/" in names else _UNDERSCORE.sub(lambda found: found[1].upper(), names)


def escape(text: Value) -> str:
    """Return the text on one line without secrets, invisible characters by their codes."""
    return escape_line(_SPACE.sub(" ", hide_text(str(text))).strip())


def escape_line(line: str) -> str:
    """Return a line as it is laid out, invisible characters by their codes."""
    return line if line.isprintable() else "".join(map(_escape_one, line))


def _escape_one(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


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
    paths = ", ".join(show_path(path) for path in action.pending)
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
    held = sum(_count(action, Effect.WITHHELD) for action in acting)
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
        restart=sum(restarts(action) or action.awaits_window for action in acting),
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
