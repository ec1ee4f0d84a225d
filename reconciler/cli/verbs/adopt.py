"""`adopt`: take ownership of domains that are already as their manifests say."""

from __future__ import annotations

import argparse
from typing import Mapping, Sequence

from reconciler.cli.carrying_out import carry_out
from reconciler.cli.console import Console
from reconciler.cli.daemon_conflicts import withhold_conflicts
from reconciler.cli.daemon_state import find_chronicle
from reconciler.cli.names import list_names
from reconciler.cli.plans import Wish, prepare, trouble
from reconciler.cli.services import Services
from reconciler.cli.settings import uri_of
from reconciler.core.frozen import replace
from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.render.text import render_text
from reconciler.errors import RefusedError, UsageError

# What an adoption itself writes; any other change means that the domain is not as wanted.
MARK = "metadata.owner"
GENERATION = "metadata.generation"


def run(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Adopt the named domains, or none of them if one is not as its manifest says."""
    names = sorted(set(options.names))
    uri = uri_of(options, services, console)
    prepared = prepare(Wish(options.paths, uri, frozenset(names)), console, services)
    chosen = _choose(prepared.plan, names)
    _refuse_changes(chosen, console)
    todo, conflicts = withhold_conflicts(replace(prepared, plan=chosen), options, console, services)
    if conflicts:
        raise RefusedError(f"nothing was adopted: {_explain(todo.plan, conflicts[0])}")
    if not _has_work(chosen, console):
        return trouble(prepared.problems, 0)
    chronicle = find_chronicle(options, todo, console, services)
    carried = carry_out(todo, chronicle, console, services)
    return carried.status if carried.failed else trouble(prepared.problems, 0)


def _choose(plan: Plan, names: Sequence[str]) -> Plan:
    """Keep the actions of the named machines."""
    found: Mapping[str, Action] = {action.name: action for action in plan.actions}
    missing = [name for name in names if name not in found]
    if missing:
        raise UsageError(f"no manifest for this host names {list_names(missing)}")
    return replace(plan, actions=tuple(found[name] for name in names))


def _refuse_changes(plan: Plan, console: Console) -> None:
    absent = [action.name for action in plan.actions if action.action is ActionKind.CREATE]
    if absent:
        raise RefusedError(
            f"nothing was adopted: {list_names(absent)}: no such domain on this host; `apply` "
            "creates it"
        )
    unfit = [action for action in plan.actions if not _is_fit(action)]
    if not unfit:
        return
    console.write(render_text(replace(plan, actions=tuple(unfit)), console.style()))
    raise RefusedError(
        f"nothing was adopted: not like their manifests: {list_names([x.name for x in unfit])}; "
        "change the manifests, or use `apply --adopt` to adopt and change"
    )


def _is_fit(action: Action) -> bool:
    if action.action is ActionKind.ADOPT:
        return all(change.path == MARK for change in action.changes)
    if action.action is ActionKind.UPDATE:  # ours already: only what is applied is written anew
        return {change.path for change in action.changes} == {GENERATION}
    return action.action is ActionKind.NONE


def _explain(plan: Plan, name: str) -> str:
    return next(f"{name}: {action.reason}" for action in plan.actions if action.name == name)


def _has_work(plan: Plan, console: Console) -> bool:
    for action in plan.actions:
        if action.action is ActionKind.NONE:
            console.line(f"{action.name}: is already managed")
    return any(one.steps for one in plan.actions)
