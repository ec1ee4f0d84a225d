"""`history` and `rollback`: former definitions, and the way back to one."""

from __future__ import annotations

import argparse
import shlex
from typing import Optional, Sequence, Tuple

from reconciler.cli.console import Console, Exit, find_caller
from reconciler.cli.daemon_state import (
    Whereabouts,
    find_chronicle,
    find_histories,
    find_history,
    find_last,
    find_measurements,
    read_state,
    whereabouts_of,
)
from reconciler.cli.names import parse_keys
from reconciler.cli.plans import Prepared
from reconciler.cli.progress import carry_out
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.control.ports import Host
from reconciler.control.service_ports import DaemonMemory
from reconciler.core.frozen import frozen, replace
from reconciler.core.history import DONE, ChangeRecord, choose, find_interrupted
from reconciler.core.key import FORMER_KIND, Key, show_key
from reconciler.core.measurements.values import Measurement
from reconciler.core.plan import Action, ActionKind
from reconciler.core.records import Suspension
from reconciler.core.render.history import render_history, render_history_json, render_past
from reconciler.core.render.json import render_json
from reconciler.core.render.text import render_text
from reconciler.core.render.words import escape
from reconciler.core.secrets import fill_secrets
from reconciler.core.units import show_time
from reconciler.errors import RefusedError, TransientError, UsageError
from reconciler.kinds.api import find_kind
from reconciler.kinds.machine.rollback import RollbackPlan, find_kept_otherwise, plan_way_back

NOTHING = "<domain/>"  # where no secret is


def show_history(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print a line for each change, newest first; the one that is asked for in full."""

    def ask() -> tuple[str, str]:
        host = services.connect(uri_of(options, services, console))
        return host.domains.host, host.domains.uri

    if options.definition:
        return _print_definition(options, console, services, ask)
    folder = find_history(options, console, services, ask)
    history = services.reach_history(folder)
    [key] = parse_keys([options.name], history.list_keys())
    entries = history.list(key)
    if options.number is not None:
        entries = (choose(entries, options.number, options.name),)
    if options.format == "json":
        console.write(render_history_json(key, entries))
    elif options.number is not None:
        console.write(render_past(entries[0], console.style()))
    elif entries:
        measured = _find_measured(key, options, console, services)
        console.write(render_history(entries, console.style(), measured))
    else:
        console.error(f"{escape(options.name)}: no change of it is recorded in {escape(folder)}")
        return Exit.FAILED
    return Exit.DONE


def _find_measured(
    key: Key, options: argparse.Namespace, console: Console, services: Services
) -> Sequence[Measurement]:
    """Return what was measured in a machine and is kept; nothing where that cannot be read."""
    if key.kind != FORMER_KIND:
        return ()
    try:
        found, _ = find_measurements(options, console, services).list()
    except TransientError:
        return ()
    return [each for each in found if each.environment.machine == key.name]


def _print_definition(
    options: argparse.Namespace, console: Console, services: Services, ask: Whereabouts
) -> int:
    """Print a former definition, or the last one that is known, as `virsh define` takes it."""
    if options.format == "json":
        raise UsageError("--definition prints XML; drop --format json")
    found: Optional[str] = None
    folders = find_histories(options, console, services, ask)
    known = frozenset().union(*(services.reach_history(each).list_keys() for each in folders))
    [key] = parse_keys([options.name], known)
    if options.number is None:
        last = find_last(key, folders, services)
        found = last.xml if last is not None else None
    else:
        folder = find_history(options, console, services, ask)
        entries = services.reach_history(folder).list(key)
        former = choose(entries, options.number, options.name).former
        found = former.xml if former is not None else None
    if found is None:
        what = f" before change {options.number}" if options.number is not None else ""
        where = ", ".join(map(escape, folders))
        console.error(f"{escape(options.name)}: no definition{what} is known in {where}")
        return Exit.FAILED
    xml, missing = fill_secrets(found, NOTHING)
    for place in missing:
        console.error(f"{place}: the former secret is not stored; set it again")
    console.write(xml if xml.endswith("\n") else f"{xml}\n")
    return Exit.DONE


QUESTION = "Roll back?"
SHORT = 12  # characters of a commit


def roll_back(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Take back one change and all after it, asking first unless `--yes`."""
    if options.format == "json" and not options.dry_run:
        raise UsageError("--format json requires --dry-run")
    host = services.connect(uri_of(options, services, console))
    history = services.reach_history(find_history(options, console, services, whereabouts_of(host)))
    [key] = parse_keys([options.name], history.list_keys())
    _refuse_other_kind(key)
    entries = history.list(key)
    past, way = _plan(options, host, entries, services)
    if read_state(options, console, services) is not None:
        way = _say_suspended(way, past.name)
    [action] = way.plan.actions
    if options.format == "json":
        console.write(render_json(way.plan))
        return Exit.DONE
    console.write(render_text(way.plan, console.style(), verbose=True))
    if action.action is not ActionKind.UPDATE:
        unfinished = None if options.number is not None else find_interrupted(entries)
        if unfinished is not None and action.action is ActionKind.NONE and not options.dry_run:
            history.end(replace(unfinished, outcome=DONE))  # only its end was not written down
        return _do_nothing(action, console)
    if options.dry_run:
        return Exit.DONE
    if not options.yes and not console.confirm(QUESTION, "nothing was changed"):
        console.line("Nothing was changed.")
        return Exit.FAILED
    console.line()
    return _go_back(Going(options, host, past, way), console, services)


def _refuse_other_kind(key: Key) -> None:
    kind, name = find_kind(key.kind), shlex.quote(show_key(key))
    if not kind.can_roll_back:
        raise RefusedError(
            f"{show_key(key)}: a change of a {kind.word} cannot be rolled back; to see what was "
            f"before: virt-reconciler history {name}; then change the manifest"
        )


@frozen
class Going:
    """One way back that is taken."""

    options: argparse.Namespace
    host: Host
    past: ChangeRecord
    way: RollbackPlan


def _plan(
    options: argparse.Namespace, host: Host, entries: Sequence[ChangeRecord], services: Services
) -> Tuple[ChangeRecord, RollbackPlan]:
    past = choose(entries, options.number, options.name)
    now = services.clock.local()  # windows are in the host's local time
    way = plan_way_back(host, past, entries, now)
    notes = _say_where(past, entries)
    unfinished = None if options.number is not None else find_interrupted(entries)
    if unfinished is not None:
        begun = f"resumes the interrupted rollback (change {unfinished.number})"
        notes = (begun, *notes)
    actions = tuple(replace(action, notes=(*notes, *action.notes)) for action in way.plan.actions)
    return past, replace(way, plan=replace(way.plan, actions=actions))


def _say_suspended(way: RollbackPlan, name: str) -> RollbackPlan:
    """Say before anybody is asked that the machine is suspended, so that it stays as it will be."""
    resume = f"virt-reconciler resume {shlex.quote(name)}"
    note = f"the daemon does not change it from now on, until: {resume}"
    actions = tuple(replace(action, notes=(*action.notes, note)) for action in way.plan.actions)
    return replace(way, plan=replace(way.plan, actions=actions))


def _say_where(past: ChangeRecord, entries: Sequence[ChangeRecord]) -> Tuple[str, ...]:
    later = sorted(
        entry.number for entry in entries if entry.number >= past.number and entry.counts
    )
    what = f"change {later[0]}" if len(later) == 1 else f"changes {', '.join(map(str, later))}"
    revision = f" at {past.cause.revision[:SHORT]}" if past.cause.revision else ""
    by = f"by {past.cause.who}{revision}, {show_time(past.at)}"
    return (f"back to before change {past.number} ({by}); takes back {what}",)


def _do_nothing(action: Action, console: Console) -> int:
    if action.action is ActionKind.NONE:
        console.line("Nothing to roll back: the definition is the same as then.")
        return Exit.DONE
    console.line("Nothing can be rolled back now: every difference is withheld.")
    return Exit.REFUSED


def _go_back(going: Going, console: Console, services: Services) -> int:
    """Have the daemon keep off first; it may go on if nothing came of it."""
    memory = _find_memory(going, console, services)
    was_suspended = memory is not None and going.past.key in memory.suspended()
    if memory is not None:
        _suspend(memory, going, console, services)
    way, past = going.way, going.past
    prepared = Prepared(
        host=going.host,
        desired=way.desired,
        observation=way.observation,
        plan=way.plan,
        problems=(),
    )
    chronicle = find_chronicle(going.options, prepared, console, services, past.number)
    carried = carry_out(prepared, chronicle, console, services)
    if carried.failed:
        if memory is not None and not was_suspended:
            memory.resume(past.key)
        return carried.status
    return _say_end(going, memory, console)


def _say_end(going: Going, memory: Optional[DaemonMemory], console: Console) -> int:
    name = escape(going.past.name)
    if memory is not None:
        console.line(
            f"{name}: suspended, so that the daemon does not change it back; `resume {name}` "
            "brings it back to its manifest"
        )
    otherwise = find_kept_otherwise(going.host, going.way)
    if otherwise:
        console.error(f"{name}: libvirt stored another definition: {otherwise}")
        return Exit.FAILED
    return Exit.DONE


def _find_memory(going: Going, console: Console, services: Services) -> Optional[DaemonMemory]:
    """Return the memory of the daemon that looks after this libvirt, if one ever did."""
    state = read_state(going.options, console, services)
    if state is None:
        console.note("no daemon manages this host from here, so nothing was suspended")
        return None
    return services.reach_memory(state)


def _suspend(memory: DaemonMemory, going: Going, console: Console, services: Services) -> None:
    """Order it. Raises TransientError if this user may not: the daemon would undo the change."""
    past, now = going.past, services.clock.wall()
    former = memory.suspended().get(past.key)
    who = find_caller(console.environ)
    why = f"rolled back to before change {past.number}"
    since = former.at if former is not None else now
    try:
        memory.suspend(Suspension(name=past.name, at=since, by=who, why=why, kind=past.kind))
    except TransientError as error:
        raise TransientError(
            f"{past.name}: nothing was changed, because the daemon could not be suspended for it: "
            f"{error}"
        ) from error
