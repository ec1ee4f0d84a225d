"""What `plan`, `apply` and `adopt` have in common: from paths to a plan, and its exit status."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Callable, FrozenSet, Optional, Sequence, Tuple

from reconciler.cli.console import Console, Exit
from reconciler.cli.names import list_names
from reconciler.cli.services import Services
from reconciler.core.faults import isolate
from reconciler.core.frozen import frozen, replace
from reconciler.core.kinds import has_planned
from reconciler.core.manifest import Desired
from reconciler.core.plan import ActionKind, Plan, PlanOptions
from reconciler.core.render.words import Summary, count, escape
from reconciler.core.units import read_time, show_span
from reconciler.errors import InvalidManifestError, Problem, ReconcilerError
from reconciler.kinds.machine.elsewhere import Background
from reconciler.kinds.machine.observe import ObservedHost, observe

if TYPE_CHECKING:
    from reconciler.control.ports import Host
    from reconciler.core.host_snapshot import HostSnapshot
    from reconciler.kinds.machine.answers import Views

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
    aborts: FrozenSet[str] = frozenset()


class HostAhead:
    """A host whose domains a thread lists while the manifests are read: libvirt works meanwhile.

    What fails there is raised by whoever asks for it. What was not started is done when asked for.
    """

    def __init__(self, connect: Callable[[], Host]) -> None:
        """Do nothing yet."""
        self._connect = connect
        self._thread: Optional[threading.Thread] = None
        self._host: Optional[Host] = None
        self._views: Optional[Views] = None
        self._error: Optional[ReconcilerError] = None

    def start(self) -> None:
        """Connect and list, once. The end of the process does not wait for it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()

    def _read(self) -> None:
        try:
            self._host = isolate(self._connect)
            self._views = isolate(self._host.domains.list_domains)
        except ReconcilerError as error:
            self._error = error

    def wait(self) -> Host:
        """Return the host. Raises what connecting to it raises."""
        if self._thread is not None:
            self._thread.join()
        if self._host is None and self._error is not None:
            raise self._error
        self._host = self._host or self._connect()
        return self._host

    def list_domains(self) -> Views:
        """Return every domain of the host."""
        host = self.wait()
        if self._error is not None:
            raise self._error
        return host.domains.list_domains() if self._views is None else self._views


def prepare(wish: Wish, console: Console, services: Services) -> Prepared:
    """Load, connect, observe, plan. Problems and what failed are told on standard error."""
    ahead = HostAhead(functools.partial(services.connect, wish.uri))
    # Without a manifest that can be planned, libvirt is not needed.
    on_sound = ahead.start if wish.against is None else None
    loaded = services.load_manifests(wish.paths, on_sound)
    desired = loaded.desired
    if loaded.problems and not has_planned(desired):
        raise InvalidManifestError(loaded.problems)
    for problem in sorted(loaded.problems):
        console.complain(escape(str(problem)))
    if loaded.problems:
        console.error(f"{count(len(loaded.problems), 'problem')}: not in this plan")
    host, desired, taken_at = reach(wish, desired, console, services, ahead.wait)
    background = wish.recall(host) if taken_at is None else Background()
    list_domains = ahead.list_domains if taken_at is None else None
    observation = observe(host, desired, background=background, list_domains=list_domains)
    plan = observation.plan(plan_options(wish, services))
    plan = replace(plan, taken_at=taken_at, left_out=len(loaded.problems))
    _tell_failed(plan, console)
    return Prepared(host, desired, observation, plan, loaded.problems)


def reach(
    wish: Wish,
    desired: Desired,
    console: Console,
    services: Services,
    connect: Callable[[], Host],
) -> Tuple[Host, Desired, Optional[str]]:
    """Return the host to plan for, the manifests to hold against it, and how old a snapshot is.

    A snapshot has no secrets, and so what is held against it must have none.
    """
    if wish.against is None:
        return connect(), desired, None
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
    return PlanOptions(
        wish.adopt, wish.adopt_all, now, revision, here=wish.here, aborts=wish.aborts
    )


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
