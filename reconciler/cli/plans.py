"""What `plan`, `apply` and `adopt` have in common: from paths to a plan, and its exit status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, FrozenSet, Optional, Sequence, Tuple

from reconciler.cli.console import Console, Exit
from reconciler.cli.names import list_names
from reconciler.cli.services import Services
from reconciler.control.ports import Host
from reconciler.core.frozen import frozen, replace
from reconciler.core.manifest import Desired
from reconciler.core.plan import ActionKind, Plan, PlanOptions
from reconciler.core.render.words import Summary, count, escape
from reconciler.core.units import read_time, show_span
from reconciler.errors import InvalidManifestError, Problem
from reconciler.kinds.machine.elsewhere import Background
from reconciler.kinds.machine.observe import ObservedHost, observe

if TYPE_CHECKING:
    from reconciler.core.host_snapshot import HostSnapshot

STALE = 24 * 3600.0  # seconds; of a host that is looked after, much is another by then


@frozen
class Prepared:
    """A plan, what it was made from, and the problems of manifests that are not in it."""

    host: Host
    desired: Desired
    observation: ObservedHost
    plan: Plan
    problems: Tuple[Problem, ...]


def _recall_nothing(_host: Host) -> Background:
    return Background()


@frozen
class Wish:
    """What the command line asks for; `revision`: the Git commit shall be in the plan.

    `against` is the file of a snapshot that stands for the host. `recall` returns what is known of
    machines that a host has no more; nothing is known where a snapshot stands for it. `here` names
    machines that no other host has.
    """

    paths: Sequence[str]
    uri: Optional[str]
    adopt: FrozenSet[str] = frozenset()
    adopt_all: bool = False
    revision: bool = False
    against: Optional[str] = None
    recall: Callable[[Host], Background] = _recall_nothing
    here: FrozenSet[str] = frozenset()


def prepare(wish: Wish, console: Console, services: Services) -> Prepared:
    """Load, connect, observe, plan. Problems and what failed are told on standard error."""
    loaded = services.load_manifests(wish.paths)
    desired = loaded.desired
    if loaded.problems and not (desired.machines or desired.hosts):
        raise InvalidManifestError(loaded.problems)
    for problem in sorted(loaded.problems):
        console.complain(escape(str(problem)))
    if loaded.problems:
        console.error(f"{count(len(loaded.problems), 'problem')}: not in this plan")
    host, desired, taken_at = reach(wish, desired, console, services)
    background = wish.recall(host) if taken_at is None else Background()
    observation = observe(host, desired, background=background)
    plan = observation.plan(plan_options(wish, services))
    plan = replace(plan, taken_at=taken_at, left_out=len(loaded.problems))
    _tell_failed(plan, console)
    return Prepared(host, desired, observation, plan, loaded.problems)


def reach(
    wish: Wish, desired: Desired, console: Console, services: Services
) -> Tuple[Host, Desired, Optional[str]]:
    """Return the host to plan for, the manifests to hold against it, and how old a snapshot is.

    A snapshot has no secrets, and so what is held against it must have none.
    """
    if wish.against is None:
        return services.connect(wish.uri), desired, None
    from reconciler.adapters.recorded import RecordedHost  # noqa: PLC0415 - start-up time
    from reconciler.core.host_snapshot import hide_desired  # noqa: PLC0415

    snapshot = _open_snapshot(wish.against, console, services)
    return RecordedHost(snapshot), hide_desired(desired), snapshot.taken_at


def _open_snapshot(path: str, console: Console, services: Services) -> HostSnapshot:
    """Read a snapshot, and say how old it is."""
    from reconciler.adapters.text_files import read_text  # noqa: PLC0415 - start-up time
    from reconciler.core.host_snapshot import read_snapshot  # noqa: PLC0415

    snapshot = read_snapshot(read_text(path), escape(path))
    age = services.clock.wall() - read_time(snapshot.taken_at)
    stale = "; take a newer one" if age > STALE else ""
    host = escape(snapshot.host)
    console.note(f"{escape(path)} shows {host} as it was {show_span(age)} ago{stale}")
    return snapshot


def plan_options(wish: Wish, services: Services) -> PlanOptions:
    """Return what was asked for, at this moment."""
    now = services.clock.local()  # windows are in the host's local time
    revision = services.read_revision(wish.paths) if wish.revision else None
    return PlanOptions(wish.adopt, wish.adopt_all, now, revision, here=wish.here)


def _tell_failed(plan: Plan, console: Console) -> None:
    failed = [action.name for action in plan.actions if action.action is ActionKind.FAILED]
    if failed:
        console.error(
            f"{len(failed)} of {len(plan.actions)} could not be planned: {list_names(failed)}"
        )


def trouble(problems: Sequence[Problem], failed: int) -> Exit:
    """Return the status of what went wrong: a failure outranks an invalid manifest."""
    if failed:
        return Exit.FAILED
    return Exit.INVALID if problems else Exit.DONE


def detailed(summary: Summary) -> Exit:
    """Return the status of `--detailed-exitcode` for a plan without trouble."""
    if summary.is_empty:
        return Exit.DONE
    return Exit.DISTURBING_CHANGES if summary.disturbing else Exit.CHANGES
